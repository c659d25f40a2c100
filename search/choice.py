"""Which network of a front somebody wants: rules, and when the knee needs none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.evaluation import Evaluation
from search.metrics import METRICS, OF_PAIRS
from search.objectives import Objective
from search.pareto import knee
from search.picks import Pick

# What a network is good at, as opposed to what it costs.
QUALITIES = (
    "accuracy",
    "perplexity",
    *OF_PAIRS,
    "task_accuracy",
    "task_accuracy_norm",
    "task_accuracy_bytes",
    "kl_divergence",
    "label_gradient_alignment",
)
# The knee is exported without a rule if it loses no more than this to the reference: points of accuracy, or a share of
# the perplexity.
ACCURACY_LOSS, PERPLEXITY_LOSS = 0.01, 0.05


class NoneMeets(ValueError):
    """No network of the front is under the limits; the message names the nearest."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What to choose from a front.

    Attributes:
        pick: the knee; or the most accurate network (of language models the one of the lowest perplexity); or the
            cheapest one that is as good: its score lies within the interval of the most accurate one's.
        under: metric -> the most of it that a network may have; only these are picked from.
    """

    pick: Pick
    under: Mapping[str, float] = field(default_factory=dict)


def quality_of(objectives: Sequence[Objective], metrics: Mapping[str, float]) -> str:
    """The metric that "most accurate" speaks of: the first objective that is no cost, else what networks are scored by.

    Raises:
        ValueError: there is none.
    """
    named = [objective.metric for objective in objectives if objective.metric in QUALITIES]
    found = next((metric for metric in [*named, *QUALITIES] if metric in metrics), None)
    if found is None:
        raise ValueError("These networks have no accuracy to choose by; name one, or ask for the knee.")
    return found


def choose(front: Sequence[Evaluation], objectives: Sequence[Objective], rule: Rule) -> Evaluation:
    """The network of a front that a rule means; of several equal ones the first.

    Raises:
        ValueError: a limit on something that is unknown here or better when it is larger, or an empty front.
        NoneMeets: no network is under the limits.
    """
    if not front:
        raise ValueError("The front is empty.")
    for metric, limit in rule.under.items():
        _check_limit(front, metric, limit)
    left = [one for one in front if _beyond(one, rule.under) == 0]
    if not left:
        nearest = min(front, key=lambda one: _beyond(one, rule.under))
        wanted = " and ".join(f"{metric} of at most {limit:g}" for metric, limit in rule.under.items())
        has = ", ".join(f"{metric} {nearest.metrics[metric]:g}" for metric in rule.under)
        raise NoneMeets(f"No network of the front has {wanted}. The nearest is {nearest.architecture.id} with {has}.")
    if rule.pick == "knee":
        best = knee(left, objectives)
        assert best is not None
        return best
    metric = quality_of(objectives, front[0].metrics)
    sign = 1 if METRICS[metric].goal == "maximize" else -1
    scored = [one for one in left if math.isfinite(one.metrics[metric])] or left
    best = max(scored, key=lambda one: sign * one.metrics[metric])
    return best if rule.pick == "most_accurate" else _cheapest_as_good(scored, best, objectives, metric)


def _cheapest_as_good(
    networks: Sequence[Evaluation], best: Evaluation, objectives: Sequence[Objective], metric: str
) -> Evaluation:
    """The cheapest network whose score the best one might as well have had; costs compare in the objectives' order."""
    low, high = best.intervals.get(metric, (best.metrics[metric], best.metrics[metric]))
    maximized = METRICS[metric].goal == "maximize"
    as_good = [one for one in networks if (one.metrics[metric] >= low if maximized else one.metrics[metric] <= high)]
    costs = [one for one in objectives if one.metric not in QUALITIES]

    def price(one: Evaluation) -> tuple[float, ...]:
        return tuple(cost.cost(one.metrics.get(cost.metric, math.nan)) for cost in costs)

    return min([best, *as_good], key=price) if costs else best


def is_near(metric: str, value: float, reference: float) -> bool:
    """Whether a network loses so little to the reference that nobody need be asked.

    Args:
        metric: `accuracy` or `perplexity`.
    """
    if not (math.isfinite(value) and math.isfinite(reference)):
        return False
    if metric == "perplexity":
        return value <= (1 + PERPLEXITY_LOSS) * reference
    return value >= reference - ACCURACY_LOSS - 1e-12


def stated_loss(metric: str) -> str:
    """The loss that needs no rule, in words."""
    return f"{PERPLEXITY_LOSS:.0%} more" if metric == "perplexity" else f"{ACCURACY_LOSS:g} less"


def _check_limit(front: Sequence[Evaluation], metric: str, limit: float) -> None:
    known = sorted({name for one in front for name in one.metrics if _is_cost(name)})
    if not any(metric in one.metrics for one in front):
        raise ValueError(f"No network of the front has {metric!r}. Known: {', '.join(known)}.")
    if not _is_cost(metric):
        raise ValueError(f"More of {metric} is better, so `under` cannot limit it. It can: {', '.join(known)}.")
    if not math.isfinite(limit):
        raise ValueError(f"The limit of {metric} must be a finite number; got {limit}.")


def _is_cost(name: str) -> bool:
    """Whether less of a metric is better; `test_` and `predicted_` stand before the name of what they are of."""
    known = METRICS.get(name.removeprefix("test_").removeprefix("predicted_"))
    return known is not None and known.goal == "minimize"


def _beyond(one: Evaluation, under: Mapping[str, float]) -> float:
    """How far a network is beyond limits, in shares of them; 0: under all."""
    return sum(
        Objective(metric, "minimize", limit).violation(one.metrics.get(metric, math.nan))
        for metric, limit in under.items()
    )
