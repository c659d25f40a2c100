"""Exponential moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from supernet.flat import load_tensors, own_tensors
from supernet.network import Supernet


class Average:
    """A second supernet whose weights follow the first one's: `average += (1 - d) (weights - average)`.

    The decay rises as `min(decay, (1 + n) / (10 + n))` with the number of steps n, as TensorFlow's average does,
    so that the initial weights are forgotten early.
    """

    def __init__(self, supernet: Supernet, decay: float) -> None:
        self.supernet = copy.deepcopy(supernet).requires_grad_(False)
        self.decay = decay
        self._sources = [parameter.detach() for parameter in supernet.parameters()]
        self._targets = [parameter.detach() for parameter in self.supernet.parameters()]

    @torch.no_grad()
    def update(self, steps_done: int) -> None:
        """Follow the weights after a step."""
        decay = min(self.decay, (1 + steps_done) / (10 + steps_done))
        torch._foreach_lerp_(self._targets, self._sources, 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint stores."""
        return own_tensors(self.supernet)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `tensors` gave."""
        load_tensors(self.supernet, tensors)
