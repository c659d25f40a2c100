"""ByRank: networks climb by non-dominated sorting, and within a front by the hypervolume that they add."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np

from search.evaluation import Evaluation
from search.fidelities.known import Fidelities
from search.objectives import Constraint, Objective, violation
from search.pareto import on_scales, pareto_front
from search_space.architecture import Architecture

# Up to where hypervolume counts, in ranges of a front: beyond its worst, so that its ends count too.
CORNER = 1.1


class ByRank:
    """Successive halving by the scores of the rung below (see `Chooser`)."""

    waves: tuple[float, ...] = (1.0,)
    name = "ranks"

    def choose(self, known: Fidelities, level: int, count: int) -> list[Architecture]:
        """See `Chooser`."""
        chosen = best(known.waiting(level), known.objectives, known.constraints, count)
        return [one.architecture for one in chosen]


def best(
    evaluations: Sequence[Evaluation],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    count: int,
    beside: Sequence[Evaluation] = (),
) -> list[Evaluation]:
    """So many networks: the front, then the front of the rest, and so on; those beyond limits last, the nearest first.

    If a front does not fit whole, greedy selection takes the network that adds most hypervolume, again and again
    (Guerreiro, Fonseca and Paquete 2016).

    Args:
        beside: networks that are there anyway: what they beat comes later, and what lies near them adds little.
    """
    chosen: list[Evaluation] = []
    there = list(beside)
    left = {one.architecture.id: one for one in evaluations}
    while len(chosen) < count and left:
        joint = pareto_front([*there, *left.values()], objectives, constraints)
        front = [one for one in joint if one.architecture.id in left]
        if not front:
            if not there:
                break  # the rest is beyond the limits
            there = []
            continue
        chosen += _spread(
            front, [one for one in joint if one.architecture.id not in left], objectives, count - len(chosen)
        )
        for one in front:
            del left[one.architecture.id]
    nearest = sorted(left.values(), key=lambda one: violation(objectives, one.metrics, constraints))
    return [*chosen, *nearest[: count - len(chosen)]]


def _spread(
    front: list[Evaluation], beside: list[Evaluation], objectives: Sequence[Objective], count: int
) -> list[Evaluation]:
    if len(front) <= count:
        return front
    costs = on_scales([*front, *beside], objectives)
    corner = np.full(costs.shape[1], CORNER)
    chosen = list(range(len(front), len(costs)))
    for _ in range(count):
        left = [i for i in range(len(front)) if i not in chosen]
        chosen.append(max(left, key=lambda i: (float(moocore.hypervolume(costs[[*chosen, i]], ref=corner)), -i)))
    return [front[i] for i in chosen[len(beside) :]]
