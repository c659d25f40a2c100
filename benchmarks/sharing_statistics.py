"""What a comparison of sliced networks with the same ones trained alone is summed up in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

# Limits of MACs under which the best network is looked for: those of the networks of these ranks, counted from 0.
LIMIT_RANKS = (4, 8, 11, 15, 19)


def tau(scores: Sequence[float], truth: Sequence[float], groups: Sequence[int] | None = None) -> float:
    """Kendall's tau-a over all pairs, or over pairs of one group; 0 where there is no pair.

    Args:
        groups: number of every network's group.
    """
    signs = [
        np.sign(scores[i] - scores[j]) * np.sign(truth[i] - truth[j])
        for i, j in combinations(range(len(truth)), 2)
        if groups is None or groups[i] == groups[j]
    ]
    return float(np.mean(signs)) if signs else 0.0


def jackknife(statistic: Callable[[list[int]], float], count: int) -> float:
    """Standard error of a statistic of `count` networks, from leaving out one at a time (Efron and Stein, 1981)."""
    left = np.array([statistic([i for i in range(count) if i != out]) for out in range(count)])
    return float(np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum()))


def tau_and_error(
    scores: Sequence[float], truth: Sequence[float], groups: Sequence[int] | None = None
) -> dict[str, float]:
    """Tau with its standard error over the choice of networks."""

    def of(index: list[int]) -> float:
        chosen = None if groups is None else [groups[i] for i in index]
        return tau([scores[i] for i in index], [truth[i] for i in index], chosen)

    return {"tau": tau(scores, truth, groups), "error": jackknife(of, len(truth))}


def regrets(scores: Sequence[float], truth: Sequence[float], macs: Sequence[int]) -> list[float]:
    """Under each limit of MACs: the best network's true accuracy less that of the network with the best score."""
    found = []
    for rank in LIMIT_RANKS:
        limit = sorted(macs)[min(rank, len(macs) - 1)]
        allowed = [i for i, cost in enumerate(macs) if cost <= limit]
        found.append(float(max(truth[i] for i in allowed) - truth[max(allowed, key=lambda i: scores[i])]))
    return found


def differences(sliced: np.ndarray, alone: np.ndarray) -> dict[str, Any]:
    """Sliced minus alone, in points.

    Args:
        sliced, alone: accuracies in percent, (seeds, networks); seeds may differ in number.

    Returns:
        Mean and worst over networks of the mean over seeds, with standard errors over seeds (that of the mean takes
        each seed's mean over networks as one number; None where a side has one seed).
    """
    each = sliced.mean(0) - alone.mean(0)
    worst = int(each.argmin())
    return {
        "mean": float(each.mean()),
        "mean_error": _error(sliced.mean(1), alone.mean(1)),
        "worst": float(each[worst]),
        "worst_error": _error(sliced[:, worst], alone[:, worst]),
        "worst_network": worst,
        "each": [round(float(value), 2) for value in each],
    }


def _error(*samples: np.ndarray) -> float | None:
    """Standard error of a difference of means of independent samples."""
    if any(len(sample) < 2 for sample in samples):
        return None
    return float(np.sqrt(sum(sample.var(ddof=1) / len(sample) for sample in samples)))


def ranking(scores: np.ndarray, truth: np.ndarray, macs: Sequence[int], groups: Sequence[int]) -> dict[str, Any]:
    """How well scores rank networks, beside their MACs.

    Args:
        scores: of sliced networks on validation images, (seeds, networks).
        truth: test accuracies of networks alone, mean over seeds, (networks,).
        macs, groups: of every network; the group is its band of MACs.
    """
    real = truth.tolist()
    kinds = {"": None, "_in_bands": groups}
    found: dict[str, Any] = {}
    for suffix, chosen in kinds.items():
        each = [tau_and_error(seed.tolist(), real, chosen) for seed in scores]
        found[f"tau{suffix}"] = float(np.mean([one["tau"] for one in each]))
        found[f"tau{suffix}_error"] = float(np.mean([one["error"] for one in each]))
        by_macs = tau_and_error(macs, real, chosen)
        found[f"tau{suffix}_of_macs"], found[f"tau{suffix}_of_macs_error"] = by_macs["tau"], by_macs["error"]
    found["regret"] = [round(float(v), 2) for v in np.mean([regrets(s.tolist(), real, macs) for s in scores], axis=0)]
    found["regret_of_macs"] = [round(v, 2) for v in regrets(macs, real, macs)]
    return found
