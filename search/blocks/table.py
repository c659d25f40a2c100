"""BlockTable: what every alternative of every block adds to each metric, and how far to trust that.

A metric's *damage* is how much worse a network is than the largest one, on the scale on which layers add up
(`Metric.adds`): nats of cross-entropy or divergence, logarithms of accuracy, milliseconds, bytes. It is the sum over
blocks of what each alone does inside the largest network, and terms for pairs of blocks; a curve then says how that sum
and what is measured go together, because damages rarely add up in full (Puzzle's own scores are sub-additive). The
curve rises, so it changes no ranking.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from search.blocks.solver import Limit, Terms
from search.metrics import METRICS, Adds, Goal, Source

# Values whose logarithm or inverse is asked for are at least so large.
LEAST = 1e-9
# The rank correlation, over so many combinations, from which a ranking is trusted.
TRUSTED_TAU, TRUSTED_COMBINATIONS = 0.7, 8


@dataclass(frozen=True, slots=True)
class Trust:
    """How predictions of a metric turned out on networks that had no part in them.

    Attributes:
        combinations: networks that differ from the largest in several blocks.
        tau: Kendall's, of predicted and true values; None where there is no order.
        error: mean of |predicted - true| / true, each counted as 2 at most: what is useless may be off by any factor.
        margin: share of the value that 9 of 10 errors stay within.
        sum_alone: `error` of the plain sums, without curve and pairs.
    """

    combinations: int
    tau: float | None
    error: float
    margin: float
    sum_alone: float

    @property
    def is_exact(self) -> bool:
        """Whether the number is what it is."""
        return self.margin == 0 and self.error == 0


@dataclass(frozen=True)
class Quantity:
    """One metric over the blocks of a space.

    Attributes:
        goal: the direction that is better.
        adds: see `Metric.adds`.
        largest: the largest network's value.
        damage: damage of each network, before the curve.
        curve: a and b of `sign(s) a |s|^b`, from a sum to the damage that is measured.
        scores: whose single scores are added up: the metric itself, or `kl_divergence`.
        source: how the single scores were obtained.
    """

    metric: str
    goal: Goal
    adds: Adds
    largest: float
    damage: Terms
    curve: tuple[float, float]
    scores: str
    source: Source
    trust: Trust

    def values(self, networks: np.ndarray) -> np.ndarray:
        """The metric of networks, shape (num_networks,).

        Args:
            networks: an alternative for each block, shape (num_networks, num_blocks), int.
        """
        return from_damage(self, self.damaged(networks))

    def damaged(self, networks: np.ndarray) -> np.ndarray:
        """Damages of networks."""
        sums, (a, b) = self.damage.of(networks), self.curve
        return np.asarray(np.sign(sums) * a * np.abs(sums) ** b)

    def limit(self, value: float) -> Limit:
        """That the metric is no worse than a value."""
        damage, (a, b) = float(to_damage(self, np.array([value]))[0]), self.curve
        most = math.copysign((abs(damage) / a) ** (1 / b), damage)
        # An excess counts by its share of the limit, as `search.objectives.violation` has it, where costs are plain.
        scale = abs(value) if self.adds == "plain" and (a, b) == (1.0, 1.0) else 1.0
        return Limit(self.damage, most, scale or 1.0)

    def ends(self, value: float) -> tuple[float, float]:
        """The values that the true one lies between, 9 times of 10; of accuracies at most 1."""
        most = 1.0 if self.goal == "maximize" and self.adds == "log" else math.inf
        return max(0.0, value * (1 - self.trust.margin)), min(value * (1 + self.trust.margin), most)


def on_scale(values: np.ndarray, goal: Goal, adds: Adds) -> np.ndarray:
    """Values as costs that add up over layers; less is better."""
    sign = -1.0 if goal == "maximize" else 1.0
    if adds == "inverse":
        return np.asarray(-sign / np.maximum(values, LEAST))
    return np.asarray(sign * (np.log(np.maximum(values, LEAST)) if adds == "log" else values))


def to_damage(one: Quantity, values: np.ndarray) -> np.ndarray:
    """How much worse values are than the largest network's."""
    return np.asarray(on_scale(values, one.goal, one.adds) - on_scale(np.array([one.largest]), one.goal, one.adds))


def from_damage(one: Quantity, damages: np.ndarray) -> np.ndarray:
    """The values that are so much worse than the largest network's."""
    costs = damages + on_scale(np.array([one.largest]), one.goal, one.adds)
    sign = -1.0 if one.goal == "maximize" else 1.0
    if one.adds == "inverse":
        return np.asarray(1 / np.maximum(-sign * costs, LEAST))
    if one.adds == "log":
        return np.asarray(np.exp(np.minimum(sign * costs, 700.0)))
    return np.asarray(sign * costs)


def adds_of(metric: str) -> Adds:
    """The scale of a metric; of one that nobody knows the value itself."""
    known = METRICS.get(metric)
    return "plain" if known is None else known.adds


@dataclass(frozen=True)
class BlockTable:
    """Every metric that adds up over the blocks of a space.

    Attributes:
        sizes: alternatives of each block.
        quantities: by metric.
        left_out: metric -> why it is not there.
    """

    sizes: tuple[int, ...]
    quantities: Mapping[str, Quantity]
    left_out: Mapping[str, str]

    def distrust(self, metrics: list[str]) -> list[str]:
        """Why the ranking by these metrics should not be trusted, as sentences; empty: it may be."""
        said = []
        for metric in metrics:
            trust = self.quantities[metric].trust
            if trust.is_exact:
                continue
            if trust.combinations < TRUSTED_COMBINATIONS:
                said.append(
                    f"{metric} was compared on {trust.combinations} combinations, of at least "
                    f"{TRUSTED_COMBINATIONS}: give the search more evaluations."
                )
            elif trust.tau is None or trust.tau < TRUSTED_TAU:
                tau = "none" if trust.tau is None else f"{trust.tau:.2f}"
                said.append(
                    f"Predictions of {metric} rank held-out combinations with a tau of {tau}, of at least "
                    f"{TRUSTED_TAU}: blocks depend on one another too much. Search with 'winnow', or measure several."
                )
        return said
