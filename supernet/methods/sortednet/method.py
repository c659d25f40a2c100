"""SortedNet: nested sub-models, trained by random draws without a teacher (arXiv 2309.00255).

With `exits`, the sorted fine-tuning of language models (arXiv 2309.08968): every depth in one pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from search_space.architecture import Architecture
from search_space.nesting import Nesting
from search_space.space import SearchSpace
from supernet.data.dataset import Batch
from supernet.methods.sortednet.options import SortedNetOptions, depths_of
from supernet.network import Supernet
from supernet.passes import Passes


@dataclass(frozen=True, slots=True)
class SortedNet:
    """A step draws sub-models and averages the gradients of their own task losses.

    The paper minimises the expected loss over the draws; the average over a step's draws is its estimate,
    whatever their number. Whether a draw has a mini-batch of its own is not settled by what we could read
    (arXiv 2309.00255), so it is an option.
    """

    options: SortedNetOptions = field(default_factory=SortedNetOptions)

    def prepare(self, supernet: Supernet) -> None:
        """Check that there are exits where they are asked for; initial weights stay as they are.

        Raises:
            ValueError: the shallower networks are not the first layers of the deepest one.
        """
        self.options.check(supernet.space)

    def architectures(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        """The sub-models of one step."""
        nesting = None if self.options.dimensions == "free" else Nesting(space, self.options.dimensions)
        ends = [space.largest(), nesting.smallest() if nesting else space.smallest()]
        fixed = ends[: self.options.draws] if self.options.distribution == "sandwich" else []
        drawn = [(nesting or space).sample(rng) for _ in range(self.options.draws - len(fixed))]
        return [*fixed, *drawn]

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad` and return the mean loss, and those of fixed members.

        Args:
            rng: decides the draws.

        Raises:
            ValueError: the batch has fewer than two examples a draw.
        """
        if self.options.exits:
            return self._sorted_fine_tuning(passes, batch)
        losses = []
        for architecture, part in zip(self.architectures(passes.space, rng), self._parts(batch), strict=True):
            loss = passes.task_loss(passes.run(part, architecture), part, self.options.label_smoothing)
            passes.backward(
                loss * (len(part) / len(batch) if self.options.batches == "fresh" else 1 / self.options.draws)
            )
            losses.append(loss.detach())
        named = {"loss_random": torch.stack(losses).mean()}
        if self.options.distribution == "sandwich":
            named |= dict(zip(("loss_largest", "loss_smallest"), losses, strict=False))
        return named

    def _parts(self, batch: Batch) -> list[Batch]:
        if self.options.batches == "same":
            return [batch] * self.options.draws
        if len(batch) < 2 * self.options.draws:
            raise ValueError(
                f"A batch of {len(batch)} cannot be cut into {self.options.draws} draws of at least 2 examples; "
                "take a larger batch, fewer draws or fewer micro-batches."
            )
        bounds = np.linspace(0, len(batch), self.options.draws + 1).round().astype(int).tolist()
        return [batch.part(slice(low, high)) for low, high in pairwise(bounds)]

    def _sorted_fine_tuning(self, passes: Passes, batch: Batch) -> dict[str, Tensor]:
        """L = 1/|B| * sum over exits n of L_n: sub-models of n layers share the last norm and the head."""
        depths = depths_of(passes.space)
        losses = [
            passes.task_loss(output, batch, self.options.label_smoothing) for output in passes.run_exits(batch, depths)
        ]
        mean = torch.stack(losses).mean()
        passes.backward(mean)
        return {
            "loss_largest": losses[-1].detach(),
            "loss_smallest": losses[0].detach(),
            "loss_random": mean.detach(),
        }


METHOD = SortedNet
