"""How likely each network is to be on the true front, where some of its numbers are guesses.

The front of guesses is too good to be true: of many networks those are on it whose errors were lucky (the optimizer's
curse: Smith and Winkler 2006, Management Science 52: 311-322). So the truth is drawn again and again from what is
believed of every network, and what is counted is how often each is on the front of a draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from search.evaluation import Evaluation
from search.objectives import Constraint, Objective

DRAWS = 200
# Standard deviations that a network may be better than believed, and another worse, to be worth drawing.
FAR = 3.0


@dataclass(frozen=True, slots=True)
class Belief:
    """A network, and how far its numbers may be off.

    Attributes:
        spread: metric -> standard deviation of what is believed of it; exact where it is not named.
    """

    evaluation: Evaluation
    spread: Mapping[str, float]


def chances(
    beliefs: Sequence[Belief],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    rng: np.random.Generator,
) -> np.ndarray:
    """For each network the share of draws in which it keeps all limits and none dominates it, shape (num_networks,).

    Errors are normal and independent. The first of equal ones counts, as in `pareto_front`.
    """
    found = np.zeros(len(beliefs))
    if not beliefs:
        return found
    judged: list[Objective | Constraint] = [*objectives, *constraints]
    signs = np.array([1.0 if each.goal == "minimize" else -1.0 for each in judged])
    limits = np.array([np.inf if each.limit is None else each.cost(each.limit) for each in judged])
    mean = signs * np.array([[b.evaluation.metrics[each.metric] for each in judged] for b in beliefs], dtype=float)
    std = np.array([[b.spread.get(each.metric, 0.0) for each in judged] for b in beliefs], dtype=float)
    usable = np.flatnonzero(np.isfinite(mean).all(axis=1))
    near = usable[_may_be_on_it(mean[usable], std[usable], limits, len(objectives))]
    if not len(near):
        return found
    draws = DRAWS if std[near].any() else 1
    for _ in range(draws):
        drawn = mean[near] + std[near] * rng.standard_normal((len(near), len(judged)))
        feasible = np.flatnonzero((drawn <= limits).all(axis=1))
        if len(feasible):
            kept = moocore.is_nondominated(drawn[feasible][:, : len(objectives)], keep_weakly=False)
            found[near[feasible[kept]]] += 1 / draws
    return found


def _may_be_on_it(mean: np.ndarray, std: np.ndarray, limits: np.ndarray, num_objectives: int) -> np.ndarray:
    """Which networks are worth drawing: those that would be on the front if they were far better than believed."""
    best, worst = mean - FAR * std, mean + FAR * std
    safe = worst[(worst <= limits).all(axis=1)][:, :num_objectives]
    if len(safe):
        safe = safe[moocore.is_nondominated(safe, keep_weakly=False)]
    kept = np.asarray((best <= limits).all(axis=1))
    for point in safe:
        optimistic = best[:, :num_objectives]
        kept = kept & ~((point <= optimistic).all(axis=1) & (point < optimistic).any(axis=1))
    return kept
