"""Exam: inputs, and what becomes of the answers that networks give to them.

Answers come batch by batch, so that many networks can be run over one batch before the next is made, and no network's
answers to everything are ever in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from search.intervals import Interval
from supernet.data.dataset import Batch


class Tally(Protocol):
    """What one network has answered so far."""

    def add(self, logits: Tensor, batch: Batch, full: Tensor | None) -> None:
        """Count the answers to the next batch.

        Args:
            full: those of the full network, where the exam compares with it.
        """

    def values(self) -> dict[str, float]:
        """Metric -> value, once every batch was counted."""

    def intervals(self) -> dict[str, Interval]:
        """Metric -> 95 % interval over examples like these; a metric whose spread is not known is left out."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What one network scores in an exam.

    Attributes:
        values: by metric.
        intervals: 95 %, of those metrics whose spread is known.
    """

    values: dict[str, float]
    intervals: dict[str, Interval]


class Exam(Protocol):
    """A fixed sequence of batches, and a tally for every network that takes it."""

    @property
    def against_full(self) -> bool:
        """Whether answers are compared with those of the full network."""

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """The same batches in the same order every time, on a device."""

    def tally(self) -> Tally:
        """For one network, with nothing counted yet."""
