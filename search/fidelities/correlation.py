"""How well a low fidelity ranks networks as a higher one does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from search.fidelities.known import Fidelities
from search.ranking import kendall_tau, spearman_rho

# Networks without which a correlation says nothing.
LEAST = 3


@dataclass(frozen=True, slots=True)
class Correlation:
    """Rank correlation of a metric between two levels, over the networks that have scores at both.

    These are the networks that climbed, which are better than most and nearer to each other: over all networks the
    correlation may be another.

    Attributes:
        low, high: levels.
        networks: how many.
        kendall, spearman: tau-b and rho; None of fewer than three networks, or where all of a level are equal.
    """

    metric: str
    low: int
    high: int
    networks: int
    kendall: float | None
    spearman: float | None


def correlations(known: Fidelities) -> list[Correlation]:
    """One for every metric that weights decide and every two levels, if a network has reached the higher."""
    metrics = [metric for metric in known.metrics if metric in known.healed]
    found = []
    for metric in metrics:
        for low, high in combinations(range(len(known.levels)), 2):
            both = [
                (known.levels[low][name].metrics[metric], one.metrics[metric])
                for name, one in known.levels[high].items()
                if name in known.levels[low]
            ]
            numbers = [pair for pair in both if all(map(math.isfinite, pair))]
            if numbers:
                found.append(Correlation(metric, low, high, len(numbers), *rank_correlations(numbers)))
    return found


def rank_correlations(pairs: Sequence[tuple[float, float]]) -> tuple[float | None, float | None]:
    """Kendall's tau-b and Spearman's rho; None of fewer than three networks, or where one ranking is all ties."""
    if len(pairs) < LEAST:
        return None, None
    one, other = zip(*pairs, strict=True)
    return kendall_tau(one, other), spearman_rho(one, other)
