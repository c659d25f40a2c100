"""Healing: a network that was cut out of a larger one learns to answer as that one does (knowledge distillation).

Hinton et al., arXiv 1503.02531; of pruned networks Minitron, arXiv 2407.14679, section 3. Parent and network see the
same examples, augmented alike; the parent answers as it would be shipped, with its own statistics and no dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from search_space.architecture import Architecture
from search_space.operations import alone
from search_space.space import SearchSpace
from supernet import losses
from supernet.answers import Answers
from supernet.data.dataset import Batch
from supernet.flat import own_tensors
from supernet.network import Network, Supernet
from supernet.options import DistillationOptions
from supernet.passes import Output, Passes
from supernet.trainer import Trainer

# The submodule of a network that heals which is no part of it: from its hidden states to those of its parent.
PROJECTION = "projection"


def by_itself(space: SearchSpace, architecture: Architecture, network: Network, device: torch.device) -> Supernet:
    """A supernet that holds the weights of one network alone, with the values of an extracted one."""
    made = Supernet(alone(space, architecture)).to(device)
    for name, block in network.named_children():
        made.slot(name).block.load_state_dict(block.state_dict())
    return made


def healed_tensors(supernet: Supernet) -> dict[str, Tensor]:
    """What is kept of a network that was healed: its own weights."""
    return {name: value for name, value in own_tensors(supernet).items() if not name.startswith(f"{PROJECTION}.")}


@dataclass(frozen=True, slots=True)
class Parent:
    """Who teaches.

    Attributes:
        name: for people.
        supernet: supernet that holds its weights alone, which nothing changes.
    """

    name: str
    supernet: Supernet
    architecture: Architecture


class Healing:
    """A training method whose one network learns from its parent (see `DistillationOptions` for the loss).

    Args:
        architecture: architecture of the network; the supernet that is trained holds its weights alone.
        example: one of the training's, from which the sizes of hidden states are found out.
        precision: precision of the parent's passes.
        answers: keep the parent's for the next network that sees the same batches; None: it is always asked.

    Raises:
        ValueError: the parent answers in another number of classes or tokens, or its hidden states have other places.
    """

    def __init__(
        self,
        options: DistillationOptions,
        architecture: Architecture,
        parent: Parent,
        example: Batch,
        precision: str = "float32",
        answers: Answers | None = None,
    ) -> None:
        self._answers = answers
        self.options, self.architecture, self.parent, self._example = options, architecture, parent, example
        self._teacher = Passes(parent.supernet, precision)
        self._has_teacher = options.labels < 1 or options.hidden > 0
        parent.supernet.eval().requires_grad_(False)

    def prepare(self, supernet: Supernet) -> None:
        """Compare the network's answer with the parent's; where hidden states are, give it a projection that leaves the
        channels that both have as they are."""
        supernet.eval()
        with torch.no_grad():
            answers = [
                passes.run_tapped(self._example, architecture)
                for passes, architecture in (
                    (Passes(supernet), self.architecture),
                    (self._teacher, self.parent.architecture),
                )
            ]
        (mine, states), (theirs, their_states) = ((output.logits(), hidden) for output, hidden in answers)
        if mine.shape != theirs.shape:
            raise ValueError(
                f"The {self.parent.name} answers with {theirs.shape[-1]:,} numbers, and the network with "
                f"{mine.shape[-1]:,}: their classes or vocabularies differ, so it cannot be the teacher."
            )
        if not self.options.hidden:
            return
        if self._example.is_pairs:
            raise ValueError("healing.hidden compares the states of one body, and pairs have two towers; set it to 0.")
        if states.shape[:-1] != their_states.shape[:-1]:
            raise ValueError(
                f"healing.hidden compares states place by place, but the network's have shape "
                f"{tuple(states.shape[1:-1])} where the {self.parent.name}'s have {tuple(their_states.shape[1:-1])}; "
                "set it to 0."
            )
        projection = nn.Linear(states.shape[-1], their_states.shape[-1], bias=False)
        nn.init.eye_(projection.weight)
        supernet.add_module(PROJECTION, projection.to(states.device))

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad` and return the losses."""
        options, shown = self.options, dict[str, Tensor]()
        output, states = passes.run_tapped(batch, self.architecture)
        loss = torch.zeros((), device=batch.device)
        if self._has_teacher:
            with torch.no_grad():
                theirs, their_states = self._taught(batch)
        if options.labels < 1:
            if options.top is None:
                compared = partial(losses.divergence, temperature=options.temperature)
            else:
                compared = partial(losses.divergence_of_top, top=options.top, temperature=options.temperature)
            divergence = output.mean_loss(compared, theirs)
            loss, shown["loss_parent"] = (1 - options.labels) * divergence, divergence.detach()
        if options.labels:
            on_labels = passes.task_loss(output, batch)
            loss, shown["loss_labels"] = loss + options.labels * on_labels, on_labels.detach()
        if options.hidden:
            distance = self._distance(passes.supernet, states, their_states, batch.mask)
            scale = (loss / distance.clamp_min(torch.finfo(distance.dtype).tiny)).detach()
            loss, shown["loss_hidden"] = loss + options.hidden * scale * distance, distance.detach()
        passes.backward(loss)
        return {"loss": loss.detach(), **shown}

    def _taught(self, batch: Batch) -> tuple[Output, Tensor]:
        """What the parent answers, and its hidden states where they are compared."""
        if self._answers is None:
            return self._teacher.run_tapped(batch, self.parent.architecture)

        def ask() -> dict[str, Tensor]:
            output, states = self._teacher.run_tapped(batch, self.parent.architecture)
            return {"answer": output.hidden, **({"states": states} if self.options.hidden else {})}

        known = self._answers.of(batch, ask)
        output = self._teacher.answer_of(known["answer"], batch, self.parent.architecture)
        return output, known.get("states", output.hidden)

    def _distance(self, supernet: Supernet, states: Tensor, their_states: Tensor, mask: Tensor | None) -> Tensor:
        """Between hidden states, of tokens that are no padding."""
        if mask is not None and states.shape[:2] == mask.shape:
            states, their_states = states[mask], their_states[mask]
        return losses.hidden_distance(supernet.get_submodule(PROJECTION)(states), their_states)


class HealingTrainer(Trainer):
    """A trainer that remembers with its weights which validation was best, and whether it is to end early.

    Attributes:
        best_step: the step that has the best score so far; 0: nothing is validated yet.
        seconds: that earlier runs spent.
    """

    best_step: int = 0
    seconds: float = 0.0

    def tensors(self) -> dict[str, Tensor]:
        """See `Trainer`."""
        numbers = {"num_steps": self.num_steps, "best_step": self.best_step, "seconds": self.seconds}
        own = {f"healing.{name}": torch.tensor(float(value), dtype=torch.float64) for name, value in numbers.items()}
        return {**super().tensors(), **own}

    def restore(self, tensors: dict[str, Tensor], steps_done: int) -> None:
        """See `Trainer`."""
        super().restore(tensors, steps_done)
        self.num_steps, self.best_step = (int(tensors[f"healing.{name}"]) for name in ("num_steps", "best_step"))
        self.seconds = float(tensors["healing.seconds"])
