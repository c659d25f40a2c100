"""Problem: what a search looks for and what it may start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from search.evaluation import Evaluation
from search.objectives import Constraint, Objective, limits_of
from search_space.architecture import Architecture
from search_space.space import SearchSpace

ExactCost = Callable[[Architecture], float]


@dataclass(frozen=True)
class Problem:
    """A space, what counts as good in it, and what is known beforehand.

    Attributes:
        objectives: 1 to 4.
        constraints: limits on metrics that are not objectives.
        exact_costs: metric -> function that gives it exactly and at once; one that answers many networks faster
            together says so with a method `many` (see `exact_values`). Such a metric is never learned: an
            algorithm that weighs candidates calls the function, which costs no evaluation of the budget.
        warm_start: evaluations of the same supernet (or table) that another search has made. They are learned
            from, never asked again, and do not count as evaluations.
        seeds: architectures to ask for first.

    Raises:
        ValueError: no objectives or more than four, a metric twice, an architecture of another space, or a
            warm start that lacks a metric.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    exact_costs: Mapping[str, ExactCost] = field(default_factory=dict)
    warm_start: tuple[Evaluation, ...] = ()
    seeds: tuple[Architecture, ...] = ()

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("A search needs at least one objective.")
        if len(self.objectives) > 4:
            raise ValueError(f"Got {len(self.objectives)} objectives; a search can have at most 4.")
        metrics = [objective.metric for objective in self.objectives]
        twice = sorted({metric for metric in metrics if metrics.count(metric) > 1})
        if twice:
            raise ValueError(f"Objective {twice[0]!r} is listed twice; list each metric once.")
        limits_of(self.objectives, self.constraints)
        for architecture in (*self.seeds, *(evaluation.architecture for evaluation in self.warm_start)):
            if architecture not in self.space:
                raise ValueError(f"{architecture!r} is not of space {self.space.name!r}.")
        for evaluation in self.warm_start:
            missing = [metric for metric in self.metrics if metric not in evaluation.metrics]
            if missing:
                raise ValueError(
                    f"The stored evaluation of {evaluation.architecture!r} has no {missing[0]!r}; "
                    "a warm start needs every metric of the objectives and constraints."
                )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that an evaluation must have, objectives first."""
        return (*(o.metric for o in self.objectives), *(c.metric for c in self.constraints))


def exact_values(cost: ExactCost, architectures: Sequence[Architecture]) -> list[float]:
    """An exact cost of several architectures: together where the function can, as a predictor can."""
    many = getattr(cost, "many", None)
    return list(many(architectures)) if many is not None else [cost(one) for one in architectures]


@dataclass(frozen=True)
class CostOf:
    """An exact cost in a space whose architectures stand for others: the cost of what `to` makes of each."""

    cost: ExactCost
    to: Callable[[Architecture], Architecture]

    def __call__(self, architecture: Architecture) -> float:
        """Cost of one architecture."""
        return self.cost(self.to(architecture))

    def many(self, architectures: Sequence[Architecture]) -> list[float]:
        """Costs of several, together where the cost can."""
        return exact_values(self.cost, [self.to(one) for one in architectures])
