"""Training methods of the benchmarks of sharing: BigNAS with one thing changed, which no job can ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from search_space.architecture import Architecture
from search_space.nesting import Nesting
from search_space.space import SearchSpace
from supernet.data import Batch
from supernet.losses import divergence
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.methods.single.method import Single
from supernet.methods.single.options import SingleOptions
from supernet.methods.sortednet.method import SortedNet
from supernet.methods.sortednet.options import SortedNetOptions
from supernet.options import MethodOptions
from supernet.passes import Passes
from supernet.trainer import TrainingMethod
from supernet.uses import divided_by_uses


@dataclass(frozen=True, slots=True)
class LateBigNAS(BigNAS):
    """Late shrinking without its re-sorting of channels: the largest network alone, then sandwiches (arXiv 2407.06167).

    Attributes:
        start: steps before the first sandwich.
    """

    start: int = 0

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """A step of the largest network, or of a sandwich."""
        if passes.step < self.start:
            return Single(SingleOptions(label_smoothing=self.options.label_smoothing)).step(passes, batch, rng)
        # Not super(): a dataclass with slots is made anew, and super() would look for the old one.
        return BigNAS.step(self, passes, batch, rng)


@dataclass(frozen=True, slots=True)
class Members(BigNAS):
    """A sandwich of other members.

    Attributes:
        smallest_every: the smallest network is in one of so many steps, and a random one in the others; 0: in none.
        together: random members change the widths and depths of all stages together.
        fixed: genes of the members between the largest and the smallest, the same ones in every step; empty: random.
    """

    smallest_every: int = 1
    together: bool = False
    fixed: tuple[tuple[int, ...], ...] = ()

    def architectures(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        """The biggest, random ones, and perhaps the smallest."""
        over: Any = Nesting(space, "width_depth") if self.together else space
        biggest, *_, smallest = BigNAS.architectures(self, space, rng)
        with_smallest = self.smallest_every > 0 and int(rng.integers(self.smallest_every)) == 0
        if self.fixed:
            return [biggest, *(space.from_genes(genes) for genes in self.fixed), smallest]
        drawn = [over.sample(rng) for _ in range(self.options.num_random + (not with_smallest))]
        return [biggest, *drawn, *([smallest] if with_smallest else [])]


@dataclass(frozen=True, slots=True)
class Taught(BigNAS):
    """A sandwich whose students learn from the largest network and from labels.

    Attributes:
        labels: their share of a student's loss; the largest network's prediction has the rest.
        temperature: that softens both predictions.
    """

    labels: float = 0.0
    temperature: float = 1.0

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one sandwich's gradients to `.grad`."""
        biggest, *others = members = self.architectures(passes.space, rng)
        with divided_by_uses(passes.supernet, members, self.options.use_power):
            output = passes.run(batch, biggest)
            loss = passes.task_loss(output, batch, self.options.label_smoothing)
            passes.backward(loss)
            taught, losses = output.logits().detach(), {"loss_largest": loss.detach()}
            for architecture in others:
                student = passes.run(batch, architecture)
                loss = (1 - self.labels) * divergence(student.logits(), taught, self.temperature)
                loss = loss + self.labels * passes.task_loss(student, batch, self.options.label_smoothing)
                passes.backward(loss)
                losses["loss_smallest"] = loss.detach()
        return losses


# What a recipe calls a method -> its class, and the record of its options.
METHODS: dict[str, tuple[Callable[..., TrainingMethod], type[MethodOptions]]] = {
    "alone": (Single, SingleOptions),
    "bignas": (BigNAS, BigNASOptions),
    "late": (LateBigNAS, BigNASOptions),
    "members": (Members, BigNASOptions),
    "taught": (Taught, BigNASOptions),
    "sortednet": (SortedNet, SortedNetOptions),
}


def make_method(name: str, options: Mapping[str, Any]) -> TrainingMethod:
    """A method by what recipes call it; options that its record does not have are those of the changed method."""
    method, record = METHODS[name]
    own = {key: value for key, value in options.items() if key not in record.model_fields}
    return method(record(**{key: value for key, value in options.items() if key not in own}), **own)
