"""BigNAS: sandwich rule with in-place distillation (arXiv 2003.11142, sections 3.1 and 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.network import Supernet


@dataclass(frozen=True, slots=True)
class BigNAS:
    """One step trains the biggest, some random and the smallest sub-network on the same batch.

    Only the biggest sees the labels. The others learn its prediction of the same step, detached, at
    temperature 1 and with no label term. Gradients are summed, not averaged (bignas.md, 1.5).

    Attributes:
        num_random: random sub-networks in a sandwich; 2 in the paper, so four networks a step.
        label_smoothing: of the biggest network's loss.
    """

    num_random: int = 2
    label_smoothing: float = 0.1

    def prepare(self, supernet: Supernet) -> None:
        """Zero the last scale of every residual block, so that the full learning rate is stable."""
        supernet.zero_last_scales()

    def architectures(self, space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
        """The sandwich of one step, biggest first."""
        middle = [space.sample(rng) for _ in range(self.num_random)]
        return [space.largest(), *middle, space.smallest()]

    def step(self, supernet: Supernet, x: Tensor, y: Tensor, rng: np.random.Generator) -> dict[str, float]:
        """Add one sandwich's gradients to `.grad` and return the loss of each member.

        Args:
            x: a batch of inputs.
            y: its labels, shape (N,).
            rng: decides the random sub-networks.
        """
        biggest, *others = self.architectures(supernet.space, rng)
        logits_NK = supernet(x, biggest)
        loss = F.cross_entropy(logits_NK, y, label_smoothing=self.label_smoothing)
        loss.backward()
        losses = [loss.item()]
        teacher_NK = logits_NK.detach().softmax(dim=1)
        for architecture in others:
            loss = distillation_loss(supernet(x, architecture), teacher_NK)
            loss.backward()
            losses.append(loss.item())
        middle = losses[1:-1]
        return {
            "loss_largest": losses[0],
            "loss_smallest": losses[-1],
            **({"loss_random": sum(middle) / len(middle)} if middle else {}),
        }


def distillation_loss(logits_NK: Tensor, teacher_NK: Tensor) -> Tensor:
    """Mean cross-entropy between the teacher's probabilities and the student's prediction.

    It equals the Kullback-Leibler divergence up to the teacher's entropy, which has no gradient.
    """
    return F.cross_entropy(logits_NK, teacher_NK)


METHOD = BigNAS
