"""Trainer: steps, schedule, optimizer and exact resume, whatever the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from search_space.space import SearchSpace
from supernet.data import Split
from supernet.network import Supernet
from supernet.randomness import derived_rng


class TrainingMethod(Protocol):
    """What a file of `supernet/methods` must offer (see `bignas.py`)."""

    def prepare(self, supernet: Supernet) -> None:
        """Set initial values of a fresh supernet's weights."""

    def step(self, supernet: Supernet, x: Tensor, y: Tensor, rng: np.random.Generator) -> dict[str, float]:
        """Add one step's gradients to `.grad`; return what to show as the training curve."""


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How the weights are optimised.

    The learning rate follows BigNAS's exponential decay with constant ending (section 3.2):
    `max(learning_rate * lr_decay ** (epoch / lr_decay_epochs), lr_floor * learning_rate)`, with
    `epoch` continuous.

    Attributes:
        clip_norm: largest norm of the summed gradient; 0 switches clipping off.
    """

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    lr_decay: float
    lr_decay_epochs: float
    lr_floor: float
    weight_decay: float
    momentum: float
    clip_norm: float

    def rate(self, epoch: float) -> float:
        """Learning rate at a (fractional) epoch."""
        decayed: float = self.learning_rate * self.lr_decay ** (epoch / self.lr_decay_epochs)
        return max(decayed, self.lr_floor * self.learning_rate)


# RMSProp's constants are those of the BigNAS recipe (bignas.md, 1.2).
OPTIMIZERS: dict[str, Callable[[list[torch.nn.Parameter], TrainingOptions], torch.optim.Optimizer]] = {
    "rmsprop": lambda weights, o: torch.optim.RMSprop(
        weights, o.learning_rate, alpha=0.9, eps=1e-3, momentum=o.momentum, weight_decay=o.weight_decay
    ),
    "sgd": lambda weights, o: torch.optim.SGD(
        weights, o.learning_rate, momentum=o.momentum, nesterov=o.momentum > 0, weight_decay=o.weight_decay
    ),
    "adamw": lambda weights, o: torch.optim.AdamW(weights, o.learning_rate, weight_decay=o.weight_decay),
}


class Trainer:
    """Trains a supernet step by step; between any two steps it can be saved and resumed exactly.

    Everything random about step `n` (its batch, its sub-networks) is derived from the seed and `n`, so
    the state of a run is its tensors and the number of steps done.

    Args:
        supernet: fresh; `method.prepare` is called on it.
        train: on the supernet's device.
        seed: decides batches and sub-networks (initial weights are the caller's).
    """

    def __init__(
        self, supernet: Supernet, method: TrainingMethod, train: Split, options: TrainingOptions, seed: int
    ) -> None:
        self.supernet, self.method, self.train, self.options, self.seed = (
            supernet,
            method,
            train,
            options,
            seed,
        )
        self.steps_per_epoch = max(1, len(train) // options.batch_size)
        self.num_steps = options.epochs * self.steps_per_epoch
        self.steps_done = 0
        method.prepare(supernet)
        self.optimizer = OPTIMIZERS[options.optimizer](list(supernet.parameters()), options)

    @property
    def space(self) -> SearchSpace:
        """The supernet's space."""
        return self.supernet.space

    def step(self) -> dict[str, float]:
        """Do the next step; return the losses of its members and the learning rate."""
        epoch, within = divmod(self.steps_done, self.steps_per_epoch)
        order = derived_rng(self.seed, "batches", epoch).permutation(len(self.train))
        batch = torch.from_numpy(order[within * self.options.batch_size :][: self.options.batch_size])
        batch = batch.to(self.train.y.device)
        rate = self.options.rate(self.steps_done / self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.supernet.train()
        self.optimizer.zero_grad(set_to_none=True)
        rng = derived_rng(self.seed, "sub-networks", self.steps_done)
        losses = self.method.step(self.supernet, self.train.x[batch], self.train.y[batch], rng)
        if self.options.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), self.options.clip_norm)
        self.optimizer.step()
        self.steps_done += 1
        return {**losses, "learning_rate": rate}

    # --- exact resume ---------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimizer state as a flat dict (what a checkpoint stores besides `steps_done`)."""
        tensors = {f"supernet.{name}": value for name, value in self.supernet.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
        return tensors

    def restore(self, tensors: dict[str, Tensor], steps_done: int) -> None:
        """Continue from what `tensors` gave after `steps_done` steps."""
        self.supernet.load_state_dict(_below("supernet.", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _below("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.steps_done = steps_done


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
