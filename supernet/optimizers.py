"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.tensor import DTensor


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How the weights are optimised, and how a step is run.

    Attributes:
        batch_size: examples of a step, over all processes.
        micro_batches: parts into which a process cuts its share of a batch; gradients add up.
        schedule: one of `SCHEDULES`; see `rate`.
        warmup_epochs: epochs in which the rate rises from 0.
        clip_norm: largest norm of the summed gradient; 0 switches clipping off.
        clip_value: largest element of the summed gradient; 0 switches clipping off.
        ema_decay: of the exponential moving average of the weights, a step; 0: none is kept.
        precision: of the passes, `float32` or `bfloat16`; the weights stay in float32.
        sharded: spread weights, gradients and optimizer state over the processes (FSDP2).
        activation_checkpointing: recompute the inside of blocks in the backward pass.
        compile: torch.compile the blocks of the biggest and the smallest network.
        lora_rank, lora_alpha: train low-rank updates instead of the weights (see `LowRankUpdate`); 0: off.
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
    micro_batches: int = 1
    schedule: str = "exponential"
    warmup_epochs: float = 0.0
    clip_value: float = 0.0
    ema_decay: float = 0.0
    precision: str = "float32"
    activation_checkpointing: bool = False
    sharded: bool = False
    compile: bool = False
    lora_rank: int = 0
    lora_alpha: float = 16.0

    def rate(self, epoch: float) -> float:
        """Learning rate at a (fractional) epoch, never below the floor once it is warm."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        share: float = max(SCHEDULES[self.schedule](self, epoch), self.lr_floor)
        return self.learning_rate * share


def exponential(options: TrainingOptions, epoch: float) -> float:
    """`lr_decay ** (epoch / lr_decay_epochs)`: BigNAS's decay, whose constant ending is the floor (section 3.2)."""
    decayed: float = options.lr_decay ** (epoch / options.lr_decay_epochs)
    return decayed


def cosine(options: TrainingOptions, epoch: float) -> float:
    """From 1 after the warm-up to 0 at the end (Loshchilov and Hutter, arXiv 1608.03983, one cycle)."""
    done = (epoch - options.warmup_epochs) / (options.epochs - options.warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def constant(_options: TrainingOptions, _epoch: float) -> float:
    """1."""
    return 1.0


# Share of the full learning rate at an epoch.
SCHEDULES: dict[str, Callable[[TrainingOptions, float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
}


def decayed(weights: list[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices and kernels decay; biases and normalisation, which have one dimension, do not.

    So AlphaNet trains its supernets (arXiv 2102.07954) and GPT-like models are trained: a scale that decays to
    zero switches a channel off and regularises nothing. Weights that are spread over processes are updated
    apart from whole ones, as torch's fused updates want it.
    """
    groups = []
    for spread in (False, True):
        for matrices in (True, False):
            members = [w for w in weights if isinstance(w, DTensor) is spread and (w.dim() >= 2) is matrices]
            groups.append({"params": members, "weight_decay": weight_decay if matrices else 0.0})
    return [group for group in groups if group["params"]]


# RMSProp's constants are those of the BigNAS recipe (arXiv 2003.11142).
OPTIMIZERS: dict[str, Callable[[list[torch.nn.Parameter], TrainingOptions], torch.optim.Optimizer]] = {
    "rmsprop": lambda weights, o: torch.optim.RMSprop(
        decayed(weights, o.weight_decay), o.learning_rate, alpha=0.9, eps=1e-3, momentum=o.momentum
    ),
    "sgd": lambda weights, o: torch.optim.SGD(
        decayed(weights, o.weight_decay), o.learning_rate, momentum=o.momentum, nesterov=o.momentum > 0
    ),
    "adamw": lambda weights, o: torch.optim.AdamW(decayed(weights, o.weight_decay), o.learning_rate),
}
