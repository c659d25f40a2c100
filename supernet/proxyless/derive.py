"""From probabilities to one network: argmax per block, or the most likely network that keeps a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from supernet.proxyless.latency import Latencies

# Steps into which the room above the cheapest network is cut. A network is charged at most one step too much per
# block, so with 20 blocks the budget is used to within 0.2 % of that room.
BUDGET_STEPS = 10_000


def most_likely(probabilities: Sequence[np.ndarray]) -> tuple[int, ...]:
    """The option with the highest probability, of every block (1812.00332, section 3.2)."""
    return tuple(int(p.argmax()) for p in probabilities)


def most_likely_within(probabilities: Sequence[np.ndarray], latencies: Latencies, budget_ms: float) -> tuple[int, ...]:
    """The most likely network that takes at most so long: argmax where that keeps the budget.

    Where it does not, the product of probabilities is maximised exactly over the networks whose latencies, rounded up
    to a step each, keep it: a knapsack with one item per block, by dynamic programming.

    Raises:
        ValueError: not even the cheapest network keeps the budget.
    """
    path = most_likely(probabilities)
    if latencies.of_path(path) <= budget_ms:
        return path
    room = budget_ms - latencies.cheapest_ms
    if room < 0:
        raise ValueError(
            f"The cheapest network takes {latencies.cheapest_ms:.4g} ms on {latencies.target!r}, "
            f"more than the budget of {budget_ms:g} ms."
        )
    best = np.zeros(BUDGET_STEPS + 1)
    chosen = []
    for p, ms in zip(probabilities, latencies.blocks_ms, strict=True):
        step = room / BUDGET_STEPS
        extra = [0 if t == min(ms) else math.ceil((t - min(ms)) / step) if step > 0 else BUDGET_STEPS + 1 for t in ms]
        scores = np.full((len(ms), BUDGET_STEPS + 1), -np.inf)
        for option, cost in enumerate(extra):
            if cost <= BUDGET_STEPS:
                log_p = math.log(max(float(p[option]), 1e-300))
                scores[option, cost:] = best[: BUDGET_STEPS + 1 - cost] + log_p
        winners = scores.argmax(0)
        best = scores.max(0)
        chosen.append((winners, extra))
    left, backwards = BUDGET_STEPS, []
    for winners, extra in reversed(chosen):
        option = int(winners[left])
        backwards.append(option)
        left -= extra[option]
    return tuple(reversed(backwards))
