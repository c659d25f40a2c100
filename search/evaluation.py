"""Evaluation: what one architecture scored, and how each number was obtained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from search.intervals import Interval
from search.metrics import Source
from search_space.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of one architecture.

    Attributes:
        metrics: metric name -> value, in the unit that the metric's name carries.
        source: how the numbers were obtained: one word for all, or one per metric.
        intervals: 95 %, of the metrics that are known to be of a sample; the others are exact, or nobody knows.
    """

    architecture: Architecture
    metrics: Mapping[str, float]
    source: Source | Mapping[str, Source] = Source.MEASURED
    intervals: Mapping[str, Interval] = field(default_factory=dict, compare=False)

    def source_of(self, metric: str) -> Source:
        """How this metric's number was obtained."""
        return self.source if isinstance(self.source, str) else self.source[metric]

    @property
    def sources(self) -> dict[str, Source]:
        """How each metric's number was obtained."""
        return {metric: self.source_of(metric) for metric in self.metrics}


def numbers(stored: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics as they were stored: null, which stands for what JSON cannot say, is not a number."""
    return {name: math.nan if value is None else value for name, value in stored.items()}
