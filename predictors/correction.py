"""Correction: what networks that were measured say of the predictions of others.

Between the measurements that a predictor learned from and those of the finalists a machine drifts, and networks of a
front are those whose errors were lucky. Both show as a ratio of measured and predicted that is not 1 in the mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Correction:
    """The ratios of one metric, by architecture id."""

    ratios: dict[str, float] = field(default_factory=dict)

    def add(self, architecture_id: str, predicted: float, measured: float) -> None:
        """A network that was predicted and then measured; numbers that are no numbers say nothing."""
        if math.isfinite(measured) and math.isfinite(predicted) and predicted > 0:
            self.ratios[architecture_id] = measured / predicted

    def factor(self, architecture_id: str) -> float:
        """What a prediction is to be multiplied by: the mean ratio of all other networks, never its own; 1 if there is
        none."""
        others = self._others(architecture_id)
        return math.fsum(others) / len(others) if others else 1.0

    def factor_spread(self, architecture_id: str) -> float:
        """Standard error of `factor`; 0 where one ratio or none is known."""
        others = self._others(architecture_id)
        return _deviation(others) / math.sqrt(len(others)) if len(others) > 1 else 0.0

    @property
    def bias(self) -> float:
        """Mean of (measured - predicted) / predicted of all of them."""
        return math.fsum(self.ratios.values()) / len(self.ratios) - 1 if self.ratios else 0.0

    @property
    def spread(self) -> float:
        """Standard deviation of that."""
        return _deviation(list(self.ratios.values()))

    def _others(self, architecture_id: str) -> list[float]:
        return [ratio for name, ratio in self.ratios.items() if name != architecture_id]


def _deviation(values: Iterable[float]) -> float:
    known = list(values)
    if len(known) < 2:
        return 0.0
    mean = math.fsum(known) / len(known)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1))
