"""How long a job still takes, with likely bounds: from the pace of the stage that it is in, and from jobs that ended.

A stage's time is taken for a process whose increments have a mean and a variance in proportion to the share that they
do. Least squares with weights then give the time of the rest, and an interval for it (ratio estimation; Cochran,
Sampling Techniques, 1977, section 6.9). Neighbouring increments are alike, since a machine is busy for a while, so they
are joined until few are left (batch means). Bounds of stages are added up: what makes one slow makes all slow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from job.spec import JobSpec
from service.store.models import STAGES, Stage

# What each stage usually costs, relative to the others; only for percent, and for times where nothing is measured.
_USUAL: dict[Stage, float] = {
    Stage.CHECK: 0.01,
    Stage.PREPARE_DATA: 0.02,
    Stage.TRAIN_SUPERNET: 0.42,
    Stage.MEASURE_HARDWARE: 0.08,
    Stage.FIT_PREDICTORS: 0.02,
    Stage.SEARCH: 0.25,
    Stage.MEASURE_FINALISTS: 0.2,
    Stage.MEASURE_BASELINES: 0.0,
    Stage.HEAL: 0.0,
    Stage.DONE: 0.0,
}
# Beside the networks that the search for the best baseline evaluates, three are measured.
_MEASURED_BASELINES = 0.02
# A pace says nothing before this share of a stage is done in this run.
LEAST_SHARE = 0.01
# Increments that are kept; twice as many are joined in pairs.
KEPT = 16
# Sums of equal steps differ by so much at most, relative to them.
ROUNDING = 1e-6
# Where nothing tells the spread: a half to twice of what is expected.
UNSURE = 2.0
# The interval covers four of five, so nine of ten lie below its upper end (Student's t); its half is never taken for
# less than this share of the time.
BELOW, LEAST_SPREAD = 0.9, 0.1
# Fewer increments have no spread that means anything.
FEWEST = 3


class Seconds(NamedTuple):
    """A time that is not known exactly."""

    likely: float
    low: float
    high: float

    def plus(self, other: Seconds) -> Seconds:
        """Both, one after the other."""
        return Seconds(self.likely + other.likely, self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Seconds:
        """So many times as long."""
        return Seconds(self.likely * factor, self.low * factor, self.high * factor)

    def unsure(self) -> Seconds:
        """The same, as roughly as what nobody has measured is known."""
        return Seconds(self.likely, self.likely / UNSURE, self.likely * UNSURE)


def weights_of(spec: JobSpec) -> dict[Stage, float]:
    """Share of each stage in a job, of 1 in all. A job that heals spends half of its time on that."""
    weights = dict(_USUAL)
    if spec.quantization is not None:
        asked = spec.quantization.baseline_evaluations / spec.search.evaluations
        weights[Stage.MEASURE_BASELINES] = _MEASURED_BASELINES + weights[Stage.SEARCH] * asked
    if spec.healing is not None:
        weights[Stage.HEAL] = sum(weights.values())
    whole = sum(weights.values())
    return {stage: weight / whole for stage, weight in weights.items()}


@dataclass(slots=True)
class Pace:
    """How fast one run does one stage.

    Attributes:
        began: second at which it was at `done`.
        done: share that was done by then, such as by an earlier run.
    """

    began: float
    done: float
    _increments: list[tuple[float, float]] = field(default_factory=list)  # share, seconds
    _length: float = 0.0  # share that an increment has at least, but for the last one
    _at: tuple[float, float] | None = None  # share and second of the last step that was seen

    def see(self, done: float, now: float) -> None:
        """So much is done at this second. Where there turns out to be more to do, what was seen means nothing."""
        share, at = self._at or (self.done, self.began)
        if done < share:
            self.began, self.done, self._increments, self._length, self._at = now, done, [], 0.0, None
            return
        if done == share:
            return
        self._take((done - share, now - at))
        self._at = (done, now)

    def _take(self, step: tuple[float, float]) -> None:
        """Join a step to the last increment until that has its length; of too many, each is joined to its neighbour."""
        if self._increments and self._increments[-1][0] < self._length:
            step = _joined(self._increments.pop(), step)
        self._increments.append(step)
        if len(self._increments) == 2 * KEPT:
            pairs = zip(self._increments[::2], self._increments[1::2], strict=True)
            self._increments = [_joined(*pair) for pair in pairs]
            self._length = self._sums()[0] / KEPT * (1 - ROUNDING)

    @property
    def whole(self) -> float | None:
        """Seconds of the whole stage; None: too little is done to tell."""
        share, seconds = self._sums()
        return None if share < LEAST_SHARE else seconds / share

    def left(self) -> Seconds | None:
        """Seconds of what is left of the stage; None: too little is done to tell."""
        whole = self.whole
        if whole is None:
            return None
        rest = max(0.0, 1 - (self._at or (self.done, 0.0))[0])
        likely, count = whole * rest, len(self._increments)
        if count < FEWEST:
            return Seconds(likely, 0, 0).unsure()
        share, _ = self._sums()
        variance = sum((seconds - whole * part) ** 2 / part for part, seconds in self._increments) / (count - 1)
        from scipy.special import stdtrit  # the API, which tells times as they are stored, needs it not

        half = float(stdtrit(count - 1, BELOW)) * math.sqrt(variance * (rest + rest**2 / share))
        half = max(half, LEAST_SPREAD * likely)
        return Seconds(likely, max(0.0, likely - half), likely + half)

    def _sums(self) -> tuple[float, float]:
        return sum(share for share, _ in self._increments), sum(seconds for _, seconds in self._increments)


def _joined(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return one[0] + other[0], one[1] + other[1]


def remaining(
    stage: Stage, pace: Pace, now: float, weights: Mapping[Stage, float], earlier: Mapping[Stage, Seconds]
) -> Seconds | None:
    """Seconds to the end of a job; None: neither its pace nor other jobs tell.

    Args:
        stage: that it is in.
        pace: its pace.
        now: second on the clock of the pace.
        weights: share of each stage in the job.
        earlier: what earlier jobs say of this one's stages, as far as they do.
    """
    left, whole = pace.left(), pace.whole
    if left is None and stage in earlier:
        known = earlier[stage]
        # One that has taken longer than any before is no stage of which earlier ones tell.
        left = None if now - pace.began > known.high else known.times(1 - pace.done)
    if left is None:
        return None
    for later in STAGES[STAGES.index(stage) + 1 :]:
        if weights.get(later, 0.0) == 0:
            continue
        if later in earlier:
            left = left.plus(earlier[later])
        elif whole is not None and weights[stage] > 0:
            left = left.plus(Seconds(whole * weights[later] / weights[stage], 0, 0).unsure())
        else:
            return None
    return left
