"""The front over measured networks with the better of their weights, beside the one that was measured before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.evaluating import evaluation_of
from pipeline.front import as_measured
from pipeline.workshop import Workshop
from search.evaluation import Evaluation, numbers
from search.fidelities.correlation import rank_correlations
from search.final_front import final_front
from search.pareto import hypervolume
from search_space.architecture import Architecture
from service.store.records import FrontRecord, HealedFront, HealedNetwork, OnHealedFront


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network that a job has evaluated, in the numbers that are shown of it."""

    architecture: Architecture
    metrics: dict[str, float]


def _shown(shop: Workshop) -> dict[str, Evaluation]:
    """Every network of the job, its reference among them, in the numbers that are shown of it."""
    finalists = {one.architecture_id: one for one in shop.reporter.finalists()}
    found = {}
    for row in shop.reporter.every_evaluation():
        one = evaluation_of(shop.searched.architecture(**row.values), row)
        finalist = finalists.get(row.architecture_id)
        found[row.architecture_id] = one if finalist is None else as_measured(one, finalist)
    return found


def candidates(shop: Workshop) -> dict[str, Candidate]:
    """Every network of the job by its id."""
    return {name: Candidate(one.architecture, dict(one.metrics)) for name, one in _shown(shop).items()}


def healed_front(shop: Workshop, front: FrontRecord, healed: Sequence[HealedNetwork], metric: str) -> HealedFront:
    """Sort the measured networks and the healed ones out again, each with the better of its weights.

    Args:
        metric: what networks before and after are compared by.
    """
    objectives, constraints = shop.spec.goals
    after = {one.architecture_id: numbers(one.after or {}) for one in healed if one.better}
    measured = {one.architecture_id for part in (front.points, front.beaten, front.beyond, healed) for one in part}
    shown = {name: one for name, one in _shown(shop).items() if name in measured}
    best = [replace(one, metrics=after[name], intervals={}) if name in after else one for name, one in shown.items()]
    found = final_front(best, objectives, constraints)
    corner = final_front(list(shown.values()), objectives, constraints).worst
    worst = [corner[objective.metric] for objective in objectives]
    volumes = [hypervolume(each, objectives, worst, constraints) for each in (list(shown.values()), best)]
    scores = [(one.before.get(metric), (one.after or {}).get(metric)) for one in healed]
    return HealedFront(
        points=tuple(
            OnHealedFront(architecture_id=point.architecture.id, healed=point.architecture.id in after)
            for point in found.points
        ),
        knee=None if found.knee is None else found.knee.architecture.id,
        hypervolume_before=volumes[0] if math.isfinite(volumes[0]) else None,
        hypervolume_after=volumes[1] if math.isfinite(volumes[1]) else None,
        rank_correlation=rank_correlations([(a, b) for a, b in scores if a is not None and b is not None])[0],
    )
