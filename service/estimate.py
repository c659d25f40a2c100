"""How long a job will take and what it will store, from what earlier jobs took on this installation.

A stage's work is counted from the job's options (`service.work`), and earlier jobs say how many seconds a unit took.
Jobs of the same family count; without any, all do, and it is said. What no earlier job tells is counted at this
machine's pace (`service.counted`) for whoever asks before a job begins. A running job goes by its own pace instead.
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

from job.spec import JobSpec
from job.versions import read_job
from service.counted import UNSURE as COUNTED_UNSURE
from service.counted import likely_examples, pace
from service.store import measuring, records
from service.store.models import EvaluationRow, Finalist, Job, JobState, Stage, TrainedSupernet
from service.store.records import StageBegan
from service.work import TERMS, Had, Work

if TYPE_CHECKING:
    from search_space.space import SearchSpace

# Finished jobs that are looked at.
LOOKED_AT = 30
# A single earlier job says nothing of the spread; it is given as a half to twice of it.
UNSURE = 2.0
# The supernet, and two checkpoints of weights and two moments each, while one takes the other's place.
COPIES = 1 + 2 * 3
FLOAT_BYTES = 4
# What an estimate calls the time after the job, in which its files are written and verified.
EXPORT = "export"


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
    work: dict[str, float | None]
    examples: float | None
    data: dict[str, object]


def estimate(
    session: Session, spec: JobSpec, examples: int | None, *, count: bool = False, exports: int = 0
) -> EstimateOut:
    """Estimate a job that has not trained yet.

    Args:
        examples: for training; None: as many as an earlier job on the same data had, or as the size of files tells.
        count: whether stages of which no earlier job tells are counted.
        exports: formats that are exported once it has ended.
    """
    space, tables = spec.space(), _tables(session)
    past = _past(session, tables)
    same = [one for one in past if one.family == spec.supernet.family]
    used = same or past
    data = _data(spec)
    if examples is None:
        examples = next((round(one.examples) for one in past if one.data == data and one.examples), None)
    likely = likely_examples(spec) if examples is None and count else examples
    work = Work(spec, space, likely, tables=tables)
    found = {stage: _stage_time(stage, work, used) for stage in TERMS}
    missing = [stage for stage, time in found.items() if time is None] if count else []
    here = Work(spec, space, likely, pace(), tables, exports=exports) if missing or exports else work
    found |= {stage: _counted(stage, here.seconds(stage)) for stage in missing}
    times = [time for time in found.values() if time is not None]
    unknown = [stage for stage, time in found.items() if time is None]
    if exports and (written := _counted(EXPORT, here.exporting)) is not None:
        times.append(written)
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


def _counted(stage: str, seconds: float | None) -> StageTime | None:
    if seconds is None:
        return None
    return StageTime(stage=stage, seconds=seconds, low=seconds / COUNTED_UNSURE, high=seconds * COUNTED_UNSURE)


def _stage_time(stage: Stage, work: Work, used: Sequence[_Past]) -> StageTime | None:
    """What earlier jobs say of a stage; None: nothing."""
    units = work.units(stage)
    if units is None:
        return None
    rates = [
        one.seconds[stage] / units_then for one in used if (units_then := one.work[stage]) and stage in one.seconds
    ]
    # A stage that has nothing to do but begin, and that no earlier job had, is one that such jobs skip.
    if units == 0 or (used and not rates and work.only_starts(stage)):
        return StageTime(stage=stage, seconds=0, low=0, high=0)
    if not rates:
        return None
    usual = median(rates) * units
    low, high = (min(rates) * units, max(rates) * units) if len(rates) > 1 else (usual / UNSURE, usual * UNSURE)
    return StageTime(stage=stage, seconds=usual, low=low, high=high)


def _tables(session: Session) -> frozenset[str]:
    return frozenset(target.name for target in measuring.targets(session) if target.kind == "table")


def _past(session: Session, tables: frozenset[str]) -> list[_Past]:
    jobs = session.scalars(
        select(Job).where(Job.state == JobState.SUCCEEDED).order_by(Job.created_at.desc()).limit(LOOKED_AT)
    ).all()
    found = []
    for job in jobs:
        try:
            found.append(_of_job(session, job, tables))
        except ValueError:
            continue  # a job that this version cannot read any more says nothing
    return found


def _of_job(session: Session, job: Job, tables: frozenset[str]) -> _Past:
    spec = read_job(job.spec)
    supernet = session.get(TrainedSupernet, job.id)
    examples = None
    if supernet is not None and spec.training.epochs:
        examples = supernet.step * spec.training.batch_size / spec.training.epochs
    healed = len(records.healed_of(session, job.id))
    had = Had(_count(session, EvaluationRow, job), _count(session, Finalist, job), healed or None)
    work = Work(spec, spec.space(), None if examples is None else round(examples), tables=tables, had=had)
    return _Past(
        spec.supernet.family,
        _seconds(session, job),
        {stage: work.units(stage) for stage in TERMS},
        examples,
        _data(spec),
    )


def _count(session: Session, of: type[EvaluationRow | Finalist], job: Job) -> int | None:
    """Rows of a job; None: it has none, so its options tell."""
    return session.scalar(select(func.count()).where(of.job_id == job.id)) or None


def _seconds(session: Session, job: Job) -> dict[str, float]:
    """Time from each stage's start to the next one's; a stage begun again after an interruption is left out."""
    times = [(str(one.stage), at) for one, at in records.moments(session, job.id, StageBegan)]
    begun = [name for name, _ in times]
    if job.finished_at is not None:
        times.append(("", job.finished_at))
    return {name: (after - at).total_seconds() for (name, at), (_, after) in pairwise(times) if begun.count(name) == 1}


def _data(spec: JobSpec) -> dict[str, object]:
    return spec.data.model_dump(include={"source", "path", "limit", "length"})


def _params(space: SearchSpace) -> int:
    return sum(layer.params() for layer in space.capacity().values())
