"""How long a job will take and what it will store, from what earlier jobs took on this installation.

A stage's work is counted (examples x multiply-accumulates of the largest network in a training, networks x those in a
search), and earlier jobs say how many seconds a unit took. Jobs of the same family count; without any, all do, and it
is said. What no earlier job tells is counted (`service.counted`) for whoever asks before a job begins. A running job
goes by its own pace instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from job.healing_spec import HealingSpec
from job.spec import JobSpec
from job.versions import read_job
from service.counted import UNSURE as COUNTED_UNSURE
from service.counted import Counted, likely_examples, pace
from service.store import records
from service.store.models import EvaluationRow, Job, JobState, Stage, TrainedSupernet
from service.store.records import StageBegan

if TYPE_CHECKING:
    from search_space.space import SearchSpace

# Finished jobs that are looked at.
LOOKED_AT = 30
# A single earlier job says nothing of the spread; it is given as a half to twice of it.
UNSURE = 2.0
# The supernet, and two checkpoints of weights and two moments each, while one takes the other's place.
COPIES = 1 + 2 * 3
FLOAT_BYTES = 4


class StageTime(BaseModel):
    """Time of one stage."""

    stage: str = Field(description="Name of the stage.")
    seconds: float = Field(description="How long it takes.")
    low: float = Field(
        description="Seconds of the fastest of the earlier jobs, or a third of the time that was counted."
    )
    high: float = Field(description="Seconds of the slowest of them, or three times the time that was counted.")


class EstimateOut(BaseModel):
    """How long a job takes, and what it stores."""

    seconds: float | None = Field(description="Seconds that the job takes; null: the number of examples is not known.")
    low: float | None = Field(description="Seconds at least; null: nothing is known.")
    high: float | None = Field(description="Seconds at most; null: nothing is known.")
    stages: list[StageTime] = Field(description="Time of each stage.")
    jobs: int = Field(description="Number of earlier jobs that the estimate rests on.")
    disk_bytes: int = Field(description="Most that the job stores at a time, without exports and decoded data.")
    told: str = Field(description="The estimate in words, with what is not known.")


@dataclass(frozen=True, slots=True)
class _Past:
    """Seconds and units of work of an earlier job, by stage."""

    family: str
    seconds: dict[str, float]
    work: dict[str, float]
    examples: float | None
    data: dict[str, object]


def estimate(session: Session, spec: JobSpec, examples: int | None, *, count: bool = False) -> EstimateOut:
    """Estimate a job that has not trained yet.

    Args:
        examples: for training; None: as many as an earlier job on the same data had, or as the size of files tells.
        count: whether stages of which no earlier job tells are counted.
    """
    space = spec.space()
    past = _past(session)
    same = [one for one in past if one.family == spec.supernet.family]
    used = same or past
    data = _data(spec)
    if examples is None:
        examples = next((round(one.examples) for one in past if one.data == data and one.examples), None)
    likely = likely_examples(spec) if examples is None and count else examples
    work = _work(spec, _macs(space), likely)
    found = {stage: None if units is None else _stage_time(stage, units, used) for stage, units in work.items()}
    missing = [stage for stage, time in found.items() if time is None or not used] if count else []
    if missing:
        counted = Counted(spec, space, likely, pace())
        found |= {stage: _counted(stage, counted) for stage in missing}
    times = [time for time in found.values() if time is not None]
    unknown = [stage for stage, time in found.items() if time is None]
    known = bool(times) and not unknown
    told = [
        _past_told(used, bool(same), spec.supernet.family),
        _counted_told([stage for stage in missing if found[stage] is not None], bool(used)),
        "" if examples is not None or likely is None else f"Assumed: {likely:,} examples, from the size of the files.",
        f"Not known: {', '.join(unknown)}." if unknown else "",
    ]
    return EstimateOut(
        seconds=sum(time.seconds for time in times) if known else None,
        low=sum(time.low for time in times) if known else None,
        high=sum(time.high for time in times) if known else None,
        stages=times,
        jobs=len(used),
        disk_bytes=COPIES * FLOAT_BYTES * _params(space),
        told=" ".join(sentence for sentence in told if sentence),
    )


def _past_told(used: Sequence[_Past], same: bool, family: str) -> str:
    if not used:
        return "No job has finished on this installation yet."
    whose = f"of family {family}" if same else f"of other families, as none of {family} has finished here"
    return f"Estimated from {len(used)} earlier job{'s' if len(used) > 1 else ''} {whose}."


def _counted_told(stages: Sequence[str], only_these: bool) -> str:
    """How stages were counted; empty where none was."""
    if not stages:
        return ""
    what = f"The time of {', '.join(stages)}" if only_these else "The time"
    return (
        f"{what} is counted from the work and the pace of a core of this machine ({pace() / 1e9:,.0f} billion "
        "multiply-accumulates a second), as if nothing else ran; it may be a third or three times of that."
    )


def _counted(stage: str, counted: Counted) -> StageTime | None:
    seconds = counted.seconds(stage)
    if seconds is None:
        return None
    return StageTime(stage=stage, seconds=seconds, low=seconds / COUNTED_UNSURE, high=seconds * COUNTED_UNSURE)


def _work(spec: JobSpec, macs: int, examples: int | None) -> dict[str, float | None]:
    """Units of work by stage; None: not known."""
    trained: float | None = spec.training.epochs * examples * macs if examples is not None else None
    if spec.supernet.reuse is not None or spec.training.epochs == 0:
        trained = 0.0
    return {
        Stage.PREPARE_DATA: 1.0,
        Stage.TRAIN_SUPERNET: trained,
        Stage.MEASURE_HARDWARE: 1.0,
        Stage.FIT_PREDICTORS: 1.0,
        Stage.SEARCH: float(spec.search.evaluations * macs),
        Stage.MEASURE_FINALISTS: 1.0,
        **({} if spec.quantization is None else {Stage.MEASURE_BASELINES: float(_baselines(spec) * macs)}),
        **({} if spec.healing is None else {Stage.HEAL: _healing_work(spec, spec.healing, macs)}),
    }


def _baselines(spec: JobSpec) -> int:
    """Networks that baselines take: those that the search for the best one scores."""
    return 0 if spec.quantization is None else spec.quantization.baseline_evaluations


def _healing_work(spec: JobSpec, part: HealingSpec, macs: int) -> float | None:
    """Examples of all networks times multiply-accumulates; None: the budget is minutes, or tokens of unknown length."""
    batch, length = part.batch_size or spec.training.batch_size, getattr(part.data or spec.data, "length", None)
    if part.minutes is not None or (part.tokens is not None and length is None):
        return None
    count = len(part.networks) if not isinstance(part.networks, str) else part.most if part.networks == "front" else 1
    steps = part.num_steps(batch, length)
    assert steps is not None
    return float(count * steps * batch * macs)


def _stage_time(stage: str, units: float, used: Sequence[_Past]) -> StageTime | None:
    rates = [one.seconds[stage] / one.work[stage] for one in used if one.work.get(stage) and stage in one.seconds]
    if units == 0:
        return StageTime(stage=stage, seconds=0, low=0, high=0)
    if not rates and stage in (Stage.TRAIN_SUPERNET, Stage.SEARCH, Stage.MEASURE_BASELINES, Stage.HEAL):
        return None
    if not rates:  # a stage that no earlier job had is one that such jobs skip
        return StageTime(stage=stage, seconds=0, low=0, high=0)
    usual = median(rates) * units
    low, high = (min(rates) * units, max(rates) * units) if len(rates) > 1 else (usual / UNSURE, usual * UNSURE)
    return StageTime(stage=stage, seconds=usual, low=low, high=high)


def _past(session: Session) -> list[_Past]:
    jobs = session.scalars(
        select(Job).where(Job.state == JobState.SUCCEEDED).order_by(Job.created_at.desc()).limit(LOOKED_AT)
    ).all()
    found = []
    for job in jobs:
        try:
            found.append(_of_job(session, job))
        except ValueError:
            continue  # a job that this version cannot read any more says nothing
    return found


def _of_job(session: Session, job: Job) -> _Past:
    spec = read_job(job.spec)
    macs = _macs(spec.space())
    supernet = session.get(TrainedSupernet, job.id)
    examples = None
    work: dict[str, float] = dict.fromkeys((Stage.PREPARE_DATA, Stage.MEASURE_HARDWARE, Stage.FIT_PREDICTORS), 1.0)
    work[Stage.MEASURE_FINALISTS] = 1.0
    if supernet is not None and spec.training.epochs:
        seen = float(supernet.step * spec.training.batch_size)
        work[Stage.TRAIN_SUPERNET], examples = seen * macs, seen / spec.training.epochs
    evaluated = session.scalar(select(func.count()).where(EvaluationRow.job_id == job.id)) or 0
    work[Stage.SEARCH] = float(evaluated * macs)
    if spec.quantization is not None:
        work[Stage.MEASURE_BASELINES] = float(_baselines(spec) * macs)
    healed = records.healed_of(session, job.id).values()
    if spec.healing is not None and healed:
        work[Stage.HEAL] = float(sum(one.examples for one in healed) * macs)
    return _Past(spec.supernet.family, _seconds(session, job), work, examples, _data(spec))


def _seconds(session: Session, job: Job) -> dict[str, float]:
    """Time from each stage's start to the next one's; a stage begun again after an interruption is left out."""
    times = [(str(one.stage), at) for one, at in records.moments(session, job.id, StageBegan)]
    begun = [name for name, _ in times]
    if job.finished_at is not None:
        times.append(("", job.finished_at))
    return {name: (after - at).total_seconds() for (name, at), (_, after) in pairwise(times) if begun.count(name) == 1}


def _data(spec: JobSpec) -> dict[str, object]:
    return spec.data.model_dump(include={"source", "path", "limit", "length"})


def _macs(space: SearchSpace) -> int:
    from predictors.cost import macs

    return max(1, macs(space, space.largest()))


def _params(space: SearchSpace) -> int:
    return sum(layer.params() for layer in space.capacity().values())
