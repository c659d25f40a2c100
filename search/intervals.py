"""Intervals: between which ends a number would fall had other examples of the same kind been drawn, 95 %.

Each is of one network by itself. Two networks are scored on the same examples, so their difference is known better than
two intervals say: what does not overlap differs, what overlaps may.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

# Lower and upper end, in the metric's unit.
Interval: TypeAlias = tuple[float, float]
NORMAL_95 = 1.959964


def wilson(right: float, counted: int) -> Interval:
    """The interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22: 209-212), sound for shares near 0 and 1 too.

    Raises:
        ValueError: nothing was counted.
    """
    if counted < 1:
        raise ValueError(f"A share of {counted} examples has no interval; count at least one.")
    share, z2 = right / counted, NORMAL_95 * NORMAL_95
    middle = (share + z2 / (2 * counted)) / (1 + z2 / counted)
    half = NORMAL_95 / (1 + z2 / counted) * math.sqrt(share * (1 - share) / counted + z2 / (4 * counted * counted))
    return (0.0 if right == 0 else middle - half), (1.0 if right == counted else middle + half)


def mean_of_shares(shares: Sequence[tuple[float, int]]) -> Interval:
    """The interval of a mean of several shares, each of its own examples: Wilson's intervals, squared and added.

    The lower end is p - sqrt(sum (p_i - l_i)^2) / n, the upper likewise (Newcombe 1998, Stat. Med. 17: 873-890, whose
    method 10 it is for a difference; Zou and Donner 2008 for any sum). For one share it is Wilson's.

    Args:
        shares: right ones and examples of each.
    """
    ends = [wilson(right, counted) for right, counted in shares]
    each = [right / counted for right, counted in shares]
    mean = sum(each) / len(each)
    below = math.sqrt(sum((share - low) ** 2 for share, (low, _) in zip(each, ends, strict=True))) / len(each)
    above = math.sqrt(sum((high - share) ** 2 for share, (_, high) in zip(each, ends, strict=True))) / len(each)
    return max(0.0, mean - below), min(1.0, mean + above)


def ratio_error(totals: Sequence[float], counts: Sequence[float]) -> float:
    """Standard error of sum(totals) / sum(counts), where a draw gives both, as a text gives its loss and its tokens.

    The ratio estimator (Cochran 1977, Sampling Techniques, section 6.4): tokens of one text are not independent, texts
    are. Infinite for fewer than two draws.
    """
    if len(totals) < 2 or not math.isfinite(sum(totals)):
        return math.inf
    every = max(1.0, math.fsum(counts))
    mean, draws = math.fsum(totals) / every, len(totals)
    left = math.fsum((total - mean * count) ** 2 for total, count in zip(totals, counts, strict=True))
    return math.sqrt(draws / (draws - 1) * left) / every


def around(value: float, error: float) -> Interval | None:
    """A normal interval around a mean; None where its standard error is not known."""
    if not (math.isfinite(value) and math.isfinite(error)):
        return None
    return value - NORMAL_95 * error, value + NORMAL_95 * error


def ends_of(metric: str, metrics: Mapping[str, float], intervals: Mapping[str, Interval]) -> Interval:
    """A metric's interval; the number itself where it is exact, or where nothing is known of its spread."""
    return intervals.get(metric, (metrics[metric], metrics[metric]))
