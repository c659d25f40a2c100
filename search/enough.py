"""Whether so many examples tell networks apart: the width of a score's interval against the difference that matters.

A search chooses among networks by their scores on the same examples, and a network counts as good as the best one where
its score lies within that one's interval. So half of the interval is what the choice may give away unseen. It matters
where it is more than `MATTERS`: 5 points of a share such as accuracy, 5 % of a perplexity, 0.05 nats of a divergence.

A share has Wilson's interval (1927; `intervals.wilson`), whose half is known before anything is scored, but for the
share itself: here it is taken for 0.9. Only scores tell how wide the interval of a mean over texts is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.intervals import Interval, mean_of_shares
from search.metrics import METRICS, OF_PAIRS

# Half of an interval that is more than this hides differences that matter.
MATTERS = 0.05
# The share that is right, before anything is known of the networks.
ASSUMED = 0.9
# Metrics that are shares of the samples of a split.
OF_SAMPLES = ("accuracy", *OF_PAIRS)


def half_width(counts: Sequence[int], share: float = ASSUMED) -> float:
    """Half of the 95 % interval of a share.

    Args:
        counts: samples that are asked; two where a metric is the mean of two shares, as recall is of texts and images.
        share: that is right.

    Raises:
        ValueError: nobody is asked.
    """
    low, high = mean_of_shares([(share * count, count) for count in counts])
    return (high - low) / 2


def halved_by(counts: Sequence[int], share: float = ASSUMED) -> int:
    """The least number of samples, of the first kind, that halves the interval's width; about four times as many."""
    wanted = half_width(counts, share) / 2
    few, many = counts[0], 8 * counts[0]
    while few + 1 < many:
        middle = (few + many) // 2
        more = [math.ceil(count * middle / counts[0]) for count in counts]
        few, many = (few, middle) if half_width(more, share) <= wanted else (middle, many)
    return many


def too_few(metric: str, counts: Sequence[int], about: str = "") -> str | None:
    """What to say where so few validation samples decide by a share that networks which differ count as equal; None:
    there are enough of them, or the metric is no share of samples.

    Args:
        metric: that they decide by.
        counts: see `half_width`.
        about: a word before their number, where that is not known exactly.
    """
    if metric not in OF_SAMPLES or not all(counts):
        return None
    half = half_width(counts)
    if half <= MATTERS:
        return None
    return (
        f"Only {about}{counts[0]:,} validation samples choose among the networks: {metric} of {ASSUMED:g} is known to "
        f"±{100 * half:.1f} points (95 %, Wilson), and networks that differ by less count as equal. "
        f"{halved_by(counts):,} samples would halve that."
    )


def too_wide(metric: str, ends: Interval) -> str | None:
    """What to say of a measured interval that hides differences that matter; None: it hides none.

    Args:
        ends: interval of the best network.
    """
    low, high = ends
    is_ratio = METRICS[metric].decades > 0 and METRICS[metric].negligible == 0 and low > 0
    half = math.log(high / low) / 2 if is_ratio else (high - low) / 2
    if not half > MATTERS:
        return None
    return (
        f"The {metric} of the best network lies between {low:.4g} and {high:.4g} (95 %), and networks within that "
        "count as equally good. Four times as many examples would halve that."
    )
