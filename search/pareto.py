"""Pareto fronts, hypervolume and the knee of a front (computed by moocore)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import moocore
import numpy as np

from search.evaluation import Evaluation
from search.intervals import ends_of
from search.metrics import METRICS
from search.objectives import Constraint, Objective, violation

# A front whose values differ by so much is scaled by ratios, whatever the metric.
MANY_TIMES = 100.0


def pareto_front(
    evaluations: Sequence[Evaluation], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> list[Evaluation]:
    """Feasible evaluations that no other feasible one dominates, best in the first objective first.

    One of several with equal scores in every objective is kept: the one evaluated first. An evaluation
    with a score that is not a number is never on the front.
    """
    return [evaluations[i] for i in front_places([e.metrics for e in evaluations], objectives, constraints)]


def front_places(
    scores: Sequence[Mapping[str, float]], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> list[int]:
    """Places in `scores` of what is on their front, in its order; see `pareto_front`.

    Args:
        scores: metrics of each network.
    """
    feasible = [i for i, metrics in enumerate(scores) if violation(objectives, metrics, constraints) == 0.0]
    if not feasible:
        return []
    costs = cost_matrix(objectives, [scores[i] for i in feasible])
    kept = np.flatnonzero(moocore.is_nondominated(costs, keep_weakly=False))
    return [feasible[i] for i in sorted(kept, key=lambda i: (tuple(costs[i]), i))]


def hypervolume(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[Objective],
    reference: Sequence[float],
    constraints: Sequence[Constraint] = (),
) -> float:
    """Volume of objective space that the feasible evaluations dominate, up to a reference point.

    Args:
        reference: one value per objective, in the metric's own unit and direction; points that are not
            better than it in every objective add nothing.
    """
    front = pareto_front(evaluations, objectives, constraints)
    if not front:
        return 0.0
    costs = cost_matrix(objectives, [e.metrics for e in front])
    worst = np.array([o.cost(value) for o, value in zip(objectives, reference, strict=True)])
    return float(moocore.hypervolume(costs, ref=worst))


def knee(front: Sequence[Evaluation], objectives: Sequence[Objective]) -> Evaluation | None:
    """The network of a front that a person would take: near the best of everything.

    1. The point nearest to the ideal one, which has the best value of each objective; every objective is scaled to the
       front's range, as a logarithm where it spans decades (`Metric.decades`), and "nearest" is Euclidean.
    2. Where another point is clearly better in some objective and loses none, it is taken instead, the one that is
       better by most of the front's range. It loses an objective unless the value of each lies within the interval
       of the other: with few examples wide intervals overlap at their ends over a difference that people see.

    None for an empty front.
    """
    if not front:
        return None
    scaled = on_scales(front, objectives)
    nearest = int(np.argmin((scaled**2).sum(axis=1)))
    best, most = nearest, 0.0
    for other, point in enumerate(front):
        ahead = [clearly_better(point, front[nearest], objective) for objective in objectives]
        if not any(ahead) or any(loses(point, front[nearest], objective) for objective in objectives):
            continue
        gain = float((scaled[nearest] - scaled[other])[ahead].sum())
        if gain > most:
            best, most = other, gain
    return front[best]


def loses(one: Evaluation, other: Evaluation, objective: Objective) -> bool:
    """Whether one is worse than another in an objective, and either's value lies outside the interval of the other."""
    value, other_value = (objective.cost(each.metrics[objective.metric]) for each in (one, other))
    if not value > other_value:
        return False

    def within(value: float, of: Evaluation) -> bool:
        low, high = ends_of(objective.metric, of.metrics, of.intervals)
        return low <= value <= high

    raw, other_raw = one.metrics[objective.metric], other.metrics[objective.metric]
    return not (within(raw, other) and within(other_raw, one))


def clearly_better(one: Evaluation, other: Evaluation, objective: Objective) -> bool:
    """Whether one is better than another in an objective by more than their intervals leave room for."""
    low, high = ends_of(objective.metric, one.metrics, one.intervals)
    other_low, other_high = ends_of(objective.metric, other.metrics, other.intervals)
    return low > other_high if objective.goal == "maximize" else high < other_low


def maybe_beaten_by(one: Evaluation, front: Sequence[Evaluation], objectives: Sequence[Objective]) -> list[Evaluation]:
    """Networks that one is clearly better than in no objective, though they are clearly better in some.

    The place of one beside them may be luck.
    """
    return [
        other
        for other in front
        if other is not one
        and any(clearly_better(other, one, objective) for objective in objectives)
        and not any(clearly_better(one, other, objective) for objective in objectives)
    ]


def on_scales(front: Sequence[Evaluation], objectives: Sequence[Objective]) -> np.ndarray:
    """Costs from 0, the best of the front, upwards; 1 is its worst, or what is useless anyway.

    Returns: shape (num_points, num_objectives).
    """
    columns = [_on_its_scale(objective, [e.metrics[objective.metric] for e in front]) for objective in objectives]
    return np.array(columns, dtype=float).T


def _on_its_scale(objective: Objective, values: Sequence[float]) -> list[float]:
    """Costs of one objective, as logarithms where they span decades."""
    known, most = METRICS.get(objective.metric), math.inf
    numbers = list(values)
    if known is not None and known.decades and min(values) >= 0:
        numbers = [math.log10(max(value, known.negligible, 1e-300)) for value in values]
        most = known.decades
    elif min(values) > 0 and max(values) >= MANY_TIMES * min(values):
        numbers = [math.log10(value) for value in values]
    costs = [objective.cost(number) for number in numbers]
    span = min(max(costs) - min(costs), most)
    return [(cost - min(costs)) / (span or 1.0) for cost in costs]


def cost_matrix(objectives: Sequence[Objective], rows: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Metrics of several architectures as costs, shape (num_rows, num_objectives), less is better."""
    return np.array(
        [[objective.cost(row[objective.metric]) for objective in objectives] for row in rows], dtype=float
    ).reshape(len(rows), len(objectives))
