"""The front of a finished search: what its measured networks are worth, compared in the numbers that are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.evaluation import Evaluation
from search.objectives import Constraint, Objective, limits_of
from search.pareto import hypervolume, knee, maybe_beaten_by, pareto_front


@dataclass(frozen=True, slots=True)
class Break:
    """A limit that a network does not keep, or a metric of it that is no finite number.

    Attributes:
        limit: None where the metric has none.
        by: how far beyond, as a share of the limit; infinite for what is no number.
    """

    metric: str
    limit: float | None
    value: float
    by: float


@dataclass(frozen=True, slots=True)
class FinalFront:
    """Measured networks, sorted out.

    Attributes:
        points: the front, best in the first objective first.
        rivals: for each point, networks of the front beside which its place may be luck (`maybe_beaten_by`).
        beaten: networks that keep all limits, each with one of the front that is at least as good in every objective.
        beyond: networks that do not keep a limit, with the limits that they break.
        knee: None for an empty front.
        hypervolume: that the front dominates, up to `worst`, in the product of the objectives' units.
        worst: the corner that the hypervolume is measured from: each objective's limit, or its worst measured value.
    """

    points: list[Evaluation]
    rivals: list[list[Evaluation]]
    beaten: list[tuple[Evaluation, Evaluation]]
    beyond: list[tuple[Evaluation, list[Break]]]
    knee: Evaluation | None
    hypervolume: float
    worst: dict[str, float]


def final_front(
    measured: Sequence[Evaluation], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> FinalFront:
    """Sort measured networks out. The first of several with equal scores in every objective is kept.

    Args:
        measured: each network once, in the numbers that are shown of it.
    """
    points = pareto_front(measured, objectives, constraints)
    on_front = {point.architecture.id for point in points}
    beaten, beyond = [], []
    for one in measured:
        if one.architecture.id in on_front:
            continue
        breaks = breaks_of(one, objectives, constraints)
        if breaks:
            beyond.append((one, breaks))
        else:
            beaten.append((one, next(point for point in points if _covers(point, one, objectives))))
    corner = [_worst(objective, measured) for objective in objectives]
    return FinalFront(
        points=points,
        rivals=[maybe_beaten_by(point, points, objectives) for point in points],
        beaten=beaten,
        beyond=beyond,
        knee=knee(points, objectives),
        hypervolume=hypervolume(points, objectives, corner) if points else 0.0,
        worst={objective.metric: value for objective, value in zip(objectives, corner, strict=True)},
    )


def breaks_of(one: Evaluation, objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()) -> list[Break]:
    """What keeps a network off any front: limits that it breaks, and scores that are no numbers."""
    judged: list[Objective | Constraint] = [*objectives, *constraints]
    found = []
    for each in judged:
        value = one.metrics[each.metric]
        by = each.violation(value)
        if by > 0:
            found.append(Break(each.metric, each.limit, value, by))
    return found


def in_words(breaks: Sequence[Break]) -> str:
    """Such as `latency_ms 5.2, 4.0 % beyond 5`."""
    said = []
    for one in breaks:
        if not math.isfinite(one.value):
            said.append(f"{one.metric} is no number")
        elif one.limit is not None:
            said.append(f"{one.metric} {one.value:.6g}, {one.by:.2%} beyond {one.limit:g}")
    return "; ".join(said)


def nearest_to_feasible(
    evaluations: Sequence[Evaluation], objectives: Sequence[Objective], constraints: Sequence[Constraint]
) -> Evaluation:
    """The network that is beyond its limits by the smallest sum of shares."""
    limited = limits_of(objectives, constraints)
    return min(evaluations, key=lambda e: sum(limit.violation(e.metrics[limit.metric]) for limit in limited))


def _covers(point: Evaluation, one: Evaluation, objectives: Sequence[Objective]) -> bool:
    return all(o.cost(point.metrics[o.metric]) <= o.cost(one.metrics[o.metric]) for o in objectives)


def _worst(objective: Objective, measured: Sequence[Evaluation]) -> float:
    if objective.limit is not None:
        return objective.limit
    values = [one.metrics[objective.metric] for one in measured if math.isfinite(one.metrics[objective.metric])]
    return max(values, key=objective.cost, default=0.0)
