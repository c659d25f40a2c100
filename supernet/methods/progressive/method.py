"""Progressive shrinking: once-for-all's training (Cai et al., arXiv 1908.09791, section 3.3).

The largest network learns first; then networks with smaller kernels join, then shallower and then narrower ones. What
differs from the paper's code is in docs/decisions/0159.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.data.dataset import Batch
from supernet.elastic import Shrunk, add_transforms, shrunk_by
from supernet.losses import divergence
from supernet.methods.progressive.options import ProgressiveOptions
from supernet.network import Supernet
from supernet.passes import NONE, Output, Passes


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the training.

    Attributes:
        elastic: what became elastic with it: `none` in the first phase, which trains the largest network alone.
        part: its length, in proportion to those of the others.
        networks: networks that a step trains.
        options: for every choice, the indices of the options that may be drawn.
    """

    elastic: Shrunk
    part: float
    networks: int
    options: tuple[tuple[int, ...], ...]


@dataclass(slots=True)
class Progressive:
    """A step trains networks drawn from what is elastic by then, on labels and on the largest network's answers.

    The teacher is the largest network as it is in this step, in training mode and without gradient. Gradients of a
    step's networks are summed. Choices that make no weight smaller, such as the resolution, are drawn once a step in
    every phase, for the teacher as well.
    """

    options: ProgressiveOptions = field(default_factory=ProgressiveOptions)
    _known: tuple[SearchSpace, list[Phase], tuple[tuple[int, ...], ...]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def prepare(self, supernet: Supernet) -> None:
        """Add transforms where kernels become elastic; the weights stay as they are.

        Raises:
            ValueError: the largest network does not hold the others, or there are no others.
        """
        self.options.check(supernet.space)
        if self.options.transforms:
            add_transforms(supernet)

    def phases(self, space: SearchSpace) -> list[Phase]:
        """The phases of a training; what a space has not, such as elastic kernels, has none."""
        return self._of(space)[0]

    def starts(self, space: SearchSpace, num_steps: int) -> list[int]:
        """For every phase, the number of steps done before its first one; a phase may be too short to have a step."""
        parts = [phase.part for phase in self.phases(space)]
        return [round(num_steps * done / sum(parts)) for done in accumulate(parts[:-1], initial=0.0)]

    def phase(self, space: SearchSpace, step: int, num_steps: int) -> Phase:
        """The phase of the step that comes after so many."""
        return self.phases(space)[bisect_right(self.starts(space, num_steps), step) - 1]

    def sorts_after(self, space: SearchSpace, num_steps: int) -> int | None:
        """See `Sorting`: before the first network is narrower, when something was learned."""
        if not self.options.sort:
            return None
        for start, phase in zip(self.starts(space, num_steps), self.phases(space), strict=True):
            if phase.elastic == "width":
                return start if 0 < start < num_steps else None
        return None

    def architectures(
        self, space: SearchSpace, rng: np.random.Generator, step: int, num_steps: int
    ) -> list[Architecture]:
        """The largest network, and those that a step draws beside it; none in the first phase."""
        phase, same = self.phase(space, step, num_steps), self._of(space)[1]
        # Choices that make nothing smaller are equal in all of them, as images of a batch have one size.
        inputs = [options[rng.integers(len(options))] for options in same]
        largest = space.from_genes(inputs)
        if phase.elastic == "none":
            return [largest]
        drawn = []
        for _ in range(phase.networks):
            genes = [options[rng.integers(len(options))] for options in phase.options]
            alike = zip(genes, inputs, same, strict=True)
            drawn.append(space.from_genes([given if gene in options else gene for gene, given, options in alike]))
        return [largest, *drawn]

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad`; return the loss on labels of the networks that it trained.

        Args:
            rng: decides the networks.
        """
        largest, *drawn = self.architectures(passes.space, rng, passes.step, passes.num_steps)
        if not drawn:
            loss = passes.task_loss(passes.run(batch, largest), batch, self.options.label_smoothing)
            passes.backward(loss)
            return {"loss_largest": loss.detach()}
        teacher, losses = self._taught(passes, batch, largest), []
        for architecture in drawn:
            student = passes.run(batch, architecture, NONE)
            loss = passes.task_loss(student, batch, self.options.label_smoothing)
            losses.append(loss.detach())
            if teacher is not None:
                loss = loss + self.options.distillation * student.mean_loss(divergence, teacher)
            passes.backward(loss)
        return {"loss_random": torch.stack(losses).mean()}

    def _taught(self, passes: Passes, batch: Batch, largest: Architecture) -> Output | None:
        """What the largest network says; None where nobody is to learn it."""
        if not self.options.distillation:
            return None
        with torch.no_grad():
            return passes.run(batch, largest, NONE).detach()

    # --- phases -----------------------------------------------------------------------------------

    def _of(self, space: SearchSpace) -> tuple[list[Phase], tuple[tuple[int, ...], ...]]:
        """The phases, and for every choice the options between which the largest network is drawn."""
        if self._known is None or self._known[0] is not space:
            found = list(self._phases(shrunk_by(space)))
            self._known = space, found, found[0].options
        return self._known[1:]

    def _phases(self, shrunk: tuple[tuple[Shrunk, ...], ...]) -> Iterator[Phase]:
        asked = self.options
        opened = tuple(_alike(kinds) for kinds in shrunk)
        yield Phase("none", asked.full_part, 1, opened)
        stages: tuple[tuple[Shrunk, bool, float, int], ...] = (
            ("kernel", True, asked.kernel_part, asked.kernel_networks),
            ("depth", False, asked.depth_middle_part, asked.depth_networks),
            ("depth", True, asked.depth_part, asked.depth_networks),
            ("width", False, asked.width_middle_part, asked.width_networks),
            ("width", True, asked.width_part, asked.width_networks),
        )
        for kind, whole, part, networks in stages:
            larger = tuple(
                tuple(sorted({*known, *_opened(kinds, kind, whole)}))
                for known, kinds in zip(opened, shrunk, strict=True)
            )
            if larger != opened:
                opened = larger
                yield Phase(kind, part, networks, opened)


def _alike(kinds: tuple[Shrunk, ...]) -> tuple[int, ...]:
    """Options that make nothing smaller, the largest among them."""
    return tuple(option for option, kind in enumerate(kinds) if kind == "none")


def _opened(kinds: tuple[Shrunk, ...], kind: Shrunk, whole: bool) -> list[int]:
    """Options of a choice that make one thing smaller: all, or those in the larger half with the largest."""
    found = [option for option, each in enumerate(kinds) if each == kind]
    return found if whole else found[(len(found) + 1) // 2 :]


METHOD = Progressive
