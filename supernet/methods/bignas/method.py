"""BigNAS: sandwich rule with in-place distillation (arXiv 2003.11142, sections 3.1 and 3.2).

With AlphaNet's divergence (arXiv 2102.07954) and AttentiveNAS's choice of the random members
(arXiv 2011.09011) as options, built from what the papers say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from search_space.architecture import Architecture
from search_space.sampling import COSTS
from search_space.space import SearchSpace
from supernet.data.dataset import Batch
from supernet.losses import adaptive_alpha_divergence, distillation_loss
from supernet.methods.bignas.options import BigNASOptions
from supernet.network import Supernet
from supernet.passes import NONE, Output, Passes, Regularisation
from supernet.uses import add_own_weights, divided_by_uses, shared_by_widths

# Of a student's logits and the teacher's probabilities.
LossOfProbabilities: TypeAlias = Callable[[Tensor, Tensor], Tensor]

# AttentiveNAS sorts its space of about 1,740 million MACs into bins of 25 million (arXiv 2011.09011).
MAC_BINS = 70
# Draws until the candidates of a bin are found; what is missing then is taken from the nearest draws.
DRAWS = 64


@dataclass(frozen=True, slots=True)
class BigNAS:
    """One step trains the largest, some random and the smallest sub-network on the same batch.

    Only the largest sees the labels. The others learn its prediction of the same step, detached, at
    temperature 1 and with no label term. Gradients are summed, as in AttentiveNAS's code, not averaged. The teacher's
    prediction is that of its training pass, dropout included, as in the published recipes.
    """

    options: BigNASOptions = field(default_factory=BigNASOptions)

    def prepare(self, supernet: Supernet) -> None:
        """Zero the last scale of every residual block, so that the full learning rate is stable.

        Raises:
            ValueError: networks that cannot honour the options.
        """
        self.options.check(supernet.space)
        supernet.zero_last_scales()
        if self.options.own_weights:
            add_own_weights(supernet)

    def architectures(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        """The sandwich of one step, largest first; candidates of AttentiveNAS's sampling come later."""
        over = self.options.sampling if self.options.sampling in COSTS else "genes"
        middle = [space.sample(rng, over) for _ in range(self.options.num_random)]
        return [space.largest(), *middle, space.smallest()]

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one sandwich's gradients to `.grad` and return the loss of each member.

        Args:
            rng: decides the random sub-networks.
        """
        members = self.architectures(passes.space, rng)
        shared = shared_by_widths(passes.supernet, self.options.own_weights)
        with shared, divided_by_uses(passes.supernet, members, self.options.use_power):
            return self._sandwich(passes, batch, members, rng)

    def _sandwich(
        self, passes: Passes, batch: Batch, members: list[Architecture], rng: np.random.Generator
    ) -> dict[str, Tensor]:
        largest, *others = members
        output = passes.run(batch, largest, Regularisation(self.options.dropout, self.options.drop_connect))
        loss = passes.task_loss(output, batch, self.options.label_smoothing)
        passes.backward(loss)
        losses = {"loss_largest": loss.detach()}
        teacher = Teacher(output)
        if self.options.sampling in ("best_up", "worst_up"):
            members[1:-1] = others[:-1] = [self._attentive(passes, batch, teacher, rng) for _ in others[:-1]]
        students = []
        for architecture in others:
            loss = self._loss(passes.run(batch, architecture, NONE), teacher)
            passes.backward(loss)
            students.append(loss.detach())
        losses["loss_smallest"] = students.pop()
        if students:
            losses["loss_random"] = torch.stack(students).mean()
        return losses

    def _loss(self, student: Output, teacher: Teacher) -> Tensor:
        if self.options.distillation == "kl":
            return teacher.teach(student, distillation_loss)
        low, high, clip = self.options.alpha_min, self.options.alpha_max, self.options.alpha_clip
        return teacher.teach(student, lambda logits, p: adaptive_alpha_divergence(logits, p, low, high, clip))

    def _attentive(self, passes: Passes, batch: Batch, teacher: Teacher, rng: np.random.Generator) -> Architecture:
        """AttentiveNAS, section 3: the best or the worst of some candidates of one bin of MACs."""
        found = same_bin(passes.space, self.options.candidates, rng)
        with torch.no_grad():
            losses = torch.stack([self._loss(passes.run(batch, candidate, NONE), teacher) for candidate in found])
        return found[int(losses.argmin() if self.options.sampling == "best_up" else losses.argmax())]


class Teacher:
    """The largest network's prediction of one batch, without gradient."""

    def __init__(self, output: Output) -> None:
        self._output = output.detach()
        # Small logits are turned into probabilities once; those of large vocabularies part by part.
        self._probabilities = self._output.logits().float().softmax(-1) if output.head is None else None

    def teach(self, student: Output, loss: LossOfProbabilities) -> Tensor:
        """Mean loss of a student whose argument is the teacher's probabilities."""
        if self._probabilities is not None:
            return student.mean_loss(loss, self._probabilities)
        return student.mean_loss(lambda logits, taught: loss(logits, taught.float().softmax(-1)), self._output)


def same_bin(space: SearchSpace, count: int, rng: np.random.Generator) -> list[Architecture]:
    """Random architectures whose MACs fall in one bin, which is that of a first random draw."""
    first = space.sample(rng)
    low, high = (total_macs(space, end) for end in (space.smallest(), space.largest()))
    width = max(1.0, (high - low) / MAC_BINS)
    target = int((total_macs(space, first) - low) / width)
    drawn: list[tuple[int, Architecture]] = []
    for _ in range(DRAWS):
        architecture = space.sample(rng)
        drawn.append((abs(int((total_macs(space, architecture) - low) / width) - target), architecture))
        if sum(distance == 0 for distance, _ in drawn) == count - 1:
            break
    nearest = sorted(drawn, key=lambda each: each[0])[: count - 1]
    return [first, *(architecture for _, architecture in nearest)]


def total_macs(space: SearchSpace, architecture: Architecture) -> int:
    """Multiply-accumulates of a network."""
    return sum(spec.macs() for spec in space.layers(architecture).values())


METHOD = BigNAS
