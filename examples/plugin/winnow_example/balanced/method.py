"""A step trains the full network and some random ones on labels, each loss with its weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from winnow.plugins import Batch, Passes, Supernet
from winnow_example.balanced.options import BalancedOptions


@dataclass(frozen=True, slots=True)
class Balanced:
    """`weight CE(full) + (1 - weight) mean CE(random)`."""

    options: BalancedOptions

    def prepare(self, supernet: Supernet) -> None:
        """Zero the last scale of every residual block, so that the full learning rate is stable."""
        supernet.zero_last_scales()

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad` and return the losses.

        Args:
            rng: decides the random sub-networks.
        """
        space, options = passes.space, self.options
        full = passes.task_loss(passes.run(batch, space.largest()), batch, options.label_smoothing)
        passes.backward(options.weight * full)
        losses = []
        for _ in range(options.num_random):
            loss = passes.task_loss(passes.run(batch, space.sample(rng)), batch, options.label_smoothing)
            passes.backward((1 - options.weight) / options.num_random * loss)
            losses.append(loss.detach())
        return {"loss_largest": full.detach(), "loss_random": torch.stack(losses).mean()}


METHOD = Balanced
