"""From probabilities to one network: argmax per block, or the most likely network that keeps a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from proxyless.expected_latency import Latencies

# Steps into which the room above the cheapest network is cut. A network is charged at most one step too much per
# block, so with 20 blocks the budget is used to within 0.2 % of that room.
BUDGET_STEPS = 10_000
# Share of the budget that a derived network takes at least, where there is one.
SPENT = 0.95


def most_likely(probabilities: Sequence[np.ndarray]) -> tuple[int, ...]:
    """The option with the highest probability, of every block (1812.00332, section 3.2)."""
    return tuple(int(p.argmax()) for p in probabilities)


def most_likely_within(
    probabilities: Sequence[np.ndarray], latencies: Latencies, budget_ms: float, spent: float = SPENT
) -> tuple[int, ...]:
    """The most likely network that takes at most the budget and at least a share of it.

    The distribution was driven to expect the budget, but its mode may take much less: an undecided block falls to
    its cheapest likely option, and what it leaves unused could have made the network better. The product of
    probabilities is maximised exactly over the networks whose latencies, rounded up to a step each, lie in the range: a
    knapsack with one item per block, by dynamic programming.

    Args:
        spent: the share of the budget; 0: any network that keeps it. Where no network lies in the range, the most
            likely one that keeps the budget is taken.

    Raises:
        ValueError: not even the cheapest network keeps the budget.
    """
    room = budget_ms - latencies.cheapest_ms
    if room < 0:
        raise ValueError(
            f"The cheapest network takes {latencies.cheapest_ms:.4g} ms on {latencies.target!r}, "
            f"more than the budget of {budget_ms:g} ms."
        )
    path = most_likely(probabilities)
    if spent * budget_ms <= latencies.of_path(path) <= budget_ms:
        return path
    step = room / BUDGET_STEPS
    # Log-probability of the most likely choices so far that use exactly so many steps.
    best = np.full(BUDGET_STEPS + 1, -np.inf)
    best[0] = 0
    chosen = []
    for p, ms in zip(probabilities, latencies.blocks_ms, strict=True):
        extra = [0 if t == min(ms) else math.ceil((t - min(ms)) / step) if step > 0 else BUDGET_STEPS + 1 for t in ms]
        scores = np.full((len(ms), BUDGET_STEPS + 1), -np.inf)
        for option, cost in enumerate(extra):
            if cost <= BUDGET_STEPS:
                scores[option, cost:] = best[: BUDGET_STEPS + 1 - cost] + math.log(max(float(p[option]), 1e-300))
        chosen.append((scores.argmax(0), extra))
        best = scores.max(0)
    at = max(0, math.floor((spent * budget_ms - latencies.cheapest_ms) / step)) if step > 0 else 0
    if not np.isfinite(best[at:]).any():
        at = 0
    left, backwards = at + int(best[at:].argmax()), []
    for winners, extra in reversed(chosen):
        option = int(winners[left])
        backwards.append(option)
        left -= extra[option]
    return tuple(reversed(backwards))
