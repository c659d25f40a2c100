"""Objectives, constraints and feasibility."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.metrics import Goal


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric to optimize, perhaps with a hard limit, perhaps on a target device.

    Attributes:
        limit: the worst value that is feasible: an upper bound when minimizing, a lower bound when
            maximizing. None: no limit.
        target: the device that the metric is measured on, for metrics that need one.
    """

    metric: str
    goal: Goal = "minimize"
    limit: float | None = None
    target: str | None = None

    def cost(self, value: float) -> float:
        """The value with its sign turned so that less is better."""
        return -value if self.goal == "maximize" else value

    def violation(self, value: float) -> float:
        """How far the value lies beyond the limit, relative to the limit's size; 0 if feasible.

        A value that is not a finite number is infinitely infeasible: it is no score, and is stored as none.
        """
        if not math.isfinite(value):
            return math.inf
        if self.limit is None:
            return 0.0
        return max(0.0, self.cost(value) - self.cost(self.limit)) / max(abs(self.limit), 1e-12)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A hard limit on a metric that is not optimized.

    Attributes:
        limit: the worst value that is feasible.
        goal: the direction that is better, so which side of the limit is feasible.
    """

    metric: str
    limit: float
    goal: Goal = "minimize"

    def cost(self, value: float) -> float:
        """The value with its sign turned so that less is better."""
        return -value if self.goal == "maximize" else value

    def violation(self, value: float) -> float:
        """How far the value lies beyond the limit, relative to the limit's size; 0 if feasible."""
        return Objective(self.metric, self.goal, self.limit).violation(value)


def limits_of(objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> list[Objective | Constraint]:
    """Everything that has a limit, objectives first.

    Raises:
        ValueError: a metric with two limits, or a constraint on an objective (whose own limit is the place).
    """
    known = {objective.metric for objective in objectives}
    for constraint in constraints:
        if constraint.metric in known:
            raise ValueError(
                f"Metric {constraint.metric!r} has a limit twice or is an objective already; "
                "give it one limit, in its objective if it has one."
            )
        known.add(constraint.metric)
    return [*(objective for objective in objectives if objective.limit is not None), *constraints]


def violation(
    objectives: Sequence[Objective], metrics: Mapping[str, float], constraints: Sequence[Constraint] = ()
) -> float:
    """Sum of the violations of all limits; 0 exactly when the metrics are feasible and are numbers."""
    judged: list[Objective | Constraint] = [*objectives, *constraints]
    return sum(each.violation(metrics[each.metric]) for each in judged)
