"""From times of single runs to one number with its spread.

Runs lie in blocks, blocks in processes. A latency is the median run of the calmest tenth of the blocks (the 5 %
quantile of the blocks' medians): what disturbs a block, a neighbour or a colder clock, only ever makes it slower.
On a quiet machine that is the plain median less a per cent or so; on one that nine other programs kept busy two
measurements differed by 2 %, where their plain medians differed by 8 and lay 1.6 times too high (docs/log.md).
Its interval says where the same measurement would fall if it were made again, so it covers what differs between
blocks and processes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from predictors.readings import Spread

# By how much processes differ in their medians, as a share, before two of them have shown it: two numbers alone
# say little about their own spread, so they are weighed against this (2 of 3 parts; docs/measuring.md).
USUAL_BETWEEN, USUAL_WEIGHT = 0.007, 2.0
RESAMPLES = 400
# The middle of the calmest tenth of the blocks.
CALM = 0.05
# 95 % of a t distribution with about ten degrees of freedom: blocks are few.
QUANTILE = 2.2


@dataclass(frozen=True)
class Block:
    """Runs one after the other in one process.

    Attributes:
        times_ms: times of single runs.
        preempted: for each run, whether the system took the processor away meanwhile.
        process: which process they ran in.
    """

    times_ms: np.ndarray
    preempted: np.ndarray
    process: int = 0

    @property
    def calm_ms(self) -> np.ndarray:
        """Runs during which the processor was ours; all of them where that are fewer than half."""
        calm: np.ndarray = self.times_ms[~self.preempted]
        return calm if 2 * len(calm) >= len(self.times_ms) else self.times_ms

    @cached_property
    def median_ms(self) -> float:
        """Median of the calm runs."""
        return float(np.median(self.calm_ms))


def estimate_ms(blocks: Sequence[Block]) -> float:
    """Median run of the calmest tenth of the blocks."""
    return float(np.quantile([block.median_ms for block in blocks], CALM))


def interval_ms(blocks: Sequence[Block]) -> tuple[float, float]:
    """Where the same measurement, made again, would fall: 95 %.

    A bootstrap over blocks gives the error of the number without assuming how times are distributed, or the
    difference of the first and second half of the blocks where that is larger; processes add what their own
    medians show. A second measurement has the same error once more, hence the root of two.
    """
    medians = np.array([block.median_ms for block in blocks])
    processes = np.array([block.process for block in blocks])
    centre = float(np.quantile(medians, CALM))
    rng = np.random.default_rng(0)
    luck = float(np.quantile(rng.choice(medians, (RESAMPLES, len(medians))), CALM, axis=1).std())
    # Blocks that follow one another are alike where the machine drifts; its two halves show by how much.
    half = len(medians) // 2
    drift = abs(float(np.quantile(medians[:half], CALM) - np.quantile(medians[half:], CALM))) / 2 if half else 0.0
    within = max(luck, drift)
    own = np.array([np.quantile(medians[processes == p], CALM) for p in np.unique(processes)])
    shown = float(own.var(ddof=1)) if len(own) > 1 else 0.0
    weight = len(own) - 1
    usual = (USUAL_BETWEEN * centre) ** 2
    between = (weight * shown + USUAL_WEIGHT * usual) / (weight + USUAL_WEIGHT)
    reach = QUANTILE * np.sqrt(2 * (within**2 + between / len(own)))
    return max(0.0, float(centre - reach)), float(centre + reach)


def half_width(blocks: Sequence[Block]) -> float:
    """Half of the interval as a share of the median: what decides whether more runs are needed."""
    low, high = interval_ms(blocks)
    return (high - low) / 2 / max(estimate_ms(blocks), 1e-9)


def summary(blocks: Sequence[Block]) -> Spread:
    """The numbers that are stored: milliseconds, runs, and how calm the machine was."""
    runs = np.concatenate([block.calm_ms for block in blocks])
    median = estimate_ms(blocks)
    low, high = interval_ms(blocks)
    return {
        "median_ms": median,
        "median_of_all_ms": max(median, float(np.median(runs))),
        "interval_ms": [low, high],
        "p95_ms": max(median, float(np.percentile(runs, 95))),
        "mad_ms": float(np.median(np.abs(runs - np.median(runs)))),
        "runs": len(runs),
        "blocks": len(blocks),
        "processes": len({block.process for block in blocks}),
        "preempted_share": round(float(np.concatenate([block.preempted for block in blocks]).mean()), 4),
    }
