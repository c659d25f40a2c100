"""How the hypervolume of a search grew, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from search.objectives import Constraint, Objective, violation
from search.pareto import cost_matrix

# A corner without a limit lies so far beyond the worst of a front, as a share of its span: what is worst in one
# objective dominates something too.
BEYOND = 0.1
# Points of a course. Of more changes an even choice is kept, and the last.
MOST_POINTS = 400


@dataclass(frozen=True, slots=True)
class Box:
    """What a hypervolume is measured in: from the best that a front has in each objective to a corner.

    Attributes:
        ideal, corner: one value per objective, in the metric's own unit and direction.
    """

    ideal: tuple[float, ...]
    corner: tuple[float, ...]

    def volume(self, objectives: Sequence[Objective]) -> float:
        """In the objectives' units multiplied; 0 where a side has no length."""
        sides = [
            o.cost(worst) - o.cost(best) for o, best, worst in zip(objectives, self.ideal, self.corner, strict=True)
        ]
        return float(np.prod(np.maximum(sides, 0.0)))


def box_of(
    scores: Sequence[Mapping[str, float]], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> Box | None:
    """The box of these networks' front: its corner is each objective's limit, or else a tenth of the front's span
    beyond its worst value. None: no network keeps the limits.

    Args:
        scores: metrics of each network.
    """
    costs = cost_matrix(objectives, scores)
    costs = costs[_feasible(scores, costs, objectives, constraints)]
    if not len(costs):
        return None
    front = costs[moocore.is_nondominated(costs)]
    ideal, corner = [], []
    for objective, best, last in zip(objectives, front.min(axis=0), front.max(axis=0), strict=True):
        worst = last + BEYOND * ((last - best) or abs(last) or 1.0)
        ideal.append(float(objective.cost(best)))
        corner.append(float(objective.cost(worst)) if objective.limit is None else objective.limit)
    return Box(tuple(ideal), tuple(corner))


def hypervolume_course(
    scores: Sequence[Mapping[str, float]],
    objectives: Sequence[Objective],
    corner: Sequence[float],
    constraints: Sequence[Constraint] = (),
) -> list[tuple[int, float]]:
    """(evaluations so far, hypervolume) wherever it grew.

    Args:
        scores: metrics of each network, in the order in which they were evaluated.
        corner: that the hypervolume is measured from, as `Box` has it.
    """
    worst = np.array([objective.cost(value) for objective, value in zip(objectives, corner, strict=True)])
    costs = cost_matrix(objectives, scores)
    inside = np.flatnonzero(_feasible(scores, costs, objectives, constraints) & (costs < worst).all(axis=1))
    front = np.empty((0, len(objectives)))
    grown: list[tuple[int, np.ndarray]] = []
    for place in inside:
        one = costs[place]
        if (front <= one).all(axis=1).any():
            continue
        front = np.vstack([front[~(one <= front).all(axis=1)], one])
        grown.append((int(place) + 1, front))
    if len(grown) > MOST_POINTS:
        kept = np.linspace(0, len(grown) - 1, MOST_POINTS).round().astype(int)
        grown = [grown[place] for place in kept]
    return [(number, float(moocore.hypervolume(points, ref=worst))) for number, points in grown]


def _feasible(
    scores: Sequence[Mapping[str, float]],
    costs: np.ndarray,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
) -> np.ndarray:
    """Which networks keep all limits and have scores that are numbers, shape (num_networks,)."""
    kept: np.ndarray = np.isfinite(costs).all(axis=1)
    if constraints or any(objective.limit is not None for objective in objectives):
        for place in np.flatnonzero(kept).tolist():
            kept[place] = violation(objectives, scores[place], constraints) == 0.0
    return kept
