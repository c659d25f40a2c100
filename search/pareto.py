"""Pareto fronts, hypervolume and the knee of a front (computed by moocore)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import moocore
import numpy as np

from search.evaluation import Evaluation
from search.objectives import Constraint, Objective, violation


def pareto_front(
    evaluations: Sequence[Evaluation], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> list[Evaluation]:
    """Feasible evaluations that no other feasible one dominates, best in the first objective first.

    Of several with equal scores in every objective one is kept: the one evaluated first. An evaluation
    with a score that is not a number is never on the front.
    """
    feasible = [e for e in evaluations if violation(objectives, e.metrics, constraints) == 0.0]
    if not feasible:
        return []
    costs = cost_matrix(objectives, [e.metrics for e in feasible])
    kept = np.flatnonzero(moocore.is_nondominated(costs, keep_weakly=False))
    order = sorted(kept, key=lambda i: (tuple(costs[i]), i))
    return [feasible[i] for i in order]


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
    """The point of a front nearest to its ideal point, every objective scaled to the front's range.

    The ideal point has the best value of each objective; "nearest" is Euclidean. None for an empty front.
    """
    if not front:
        return None
    costs = cost_matrix(objectives, [e.metrics for e in front])
    span = np.ptp(costs, axis=0)
    scaled = (costs - costs.min(axis=0)) / np.where(span > 0, span, 1.0)
    return front[int(np.argmin((scaled**2).sum(axis=1)))]


def cost_matrix(objectives: Sequence[Objective], rows: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Metrics of several architectures as costs, shape (num_rows, num_objectives), less is better."""
    return np.array(
        [[objective.cost(row[objective.metric]) for objective in objectives] for row in rows], dtype=float
    ).reshape(len(rows), len(objectives))
