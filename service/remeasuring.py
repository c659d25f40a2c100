"""One network of a finished job, measured again: by a small job of its own, so that the numbers of before stay.

That job searches the same supernet for one network alone, the named one, and measures it as every front is measured:
extracted, written for the target and timed in turns with the reference. Nothing that was measured before is reused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from job.versions import outline
from service import descent, jobs, verbs
from service.auth.keys import ANYBODY, Identity
from service.auth.ownership import visible_jobs
from service.store import measuring
from service.store.models import EvaluationRow, Finalist, Job, JobState, Verb

# Jobs that are listed; more repetitions say nothing new.
MOST_LISTED = 50


@dataclass(frozen=True, slots=True)
class Reading:
    """What one job measured of a network, or is about to.

    Attributes:
        measured_at: when; None: not yet, or it failed.
        metrics, sources, intervals, measurements: as of a finalist; empty until it is measured.
    """

    job_id: str
    state: JobState
    message: str | None
    created_at: datetime
    measured_at: datetime | None
    metrics: Mapping[str, float | None]
    sources: Mapping[str, str]
    intervals: Mapping[str, Sequence[float]]
    measurements: Sequence[Mapping[str, Any]]


def measure(
    session: Session, job_id: str, architecture_id: str, key: str | None = None, who: Identity = ANYBODY
) -> tuple[Job, bool]:
    """A job that measures one network again, on the device of the job that found it.

    Raises:
        Conflict: the job has not succeeded, has no supernet, or its device is a table, where nothing can be measured.
        NotFound: the job has not evaluated that network.
    """
    parent = descent.parent_of(session, job_id, Verb.MEASURE)
    row = jobs.evaluation_of(session, parent.id, architecture_id)
    target = outline(parent.spec).target
    registered = None if target is None else measuring.target(session, target)
    if registered is not None and registered.kind == "table":
        verbs.refuse(
            parent, f"Target {target} is an uploaded table, which gives the same number always; nothing is measured."
        )
    draft = descent.draft_reusing(session, parent, "measured again")
    name = f"{architecture_id} measured again"
    return descent.submit_child(session, parent, _alone(draft, row, name), Verb.MEASURE, key, who)


def _alone(draft: dict[str, Any], row: EvaluationRow, name: str) -> dict[str, Any]:
    """The draft of a search for one network, without limits: it is measured whether or not it keeps them."""
    search = {"algorithm": "random", "evaluations": 1, "warm_start": False, "helpers": 0}
    goals = {goal["metric"]: {**goal, "limit": None} for goal in draft["objectives"]}
    for goal in draft["constraints"]:
        goals.setdefault(goal["metric"], {**goal, "limit": None})
    changes: dict[str, Any] = {
        "name": name,
        "labels": [],
        "notes": "",
        "search": {**search, "seed_architectures": [row.values]},
        "objectives": list(goals.values()),
        "constraints": [],
        "hardware": {"predict": "never"},
        "healing": None,
    }
    if draft["quantization"] is not None:
        changes["quantization"] = {"sensitivity": False}
    return descent.edited(draft, changes)


def readings(session: Session, job_id: str, architecture_id: str, who: Identity) -> list[Reading]:
    """What was measured of a network, by the job that found it and then by others, oldest first.

    Raises:
        NotFound: the job has not evaluated it.
    """
    job, row = jobs.get(session, job_id), jobs.evaluation_of(session, job_id, architecture_id)
    query = select(Job).where(Job.parent_id == job_id, Job.parent_verb == Verb.MEASURE, Job.deleted_at.is_(None))
    made = session.scalars(query.where(visible_jobs(who)).order_by(Job.created_at.desc()).limit(MOST_LISTED)).all()
    again = [one for one in made if row.values in one.spec["search"]["seed_architectures"]]
    found = [_reading(one, session.get(Finalist, (one.id, architecture_id))) for one in [job, *reversed(again)]]
    return [one for one in found if one.measurements or one.job_id != job_id]


def _reading(job: Job, finalist: Finalist | None) -> Reading:
    return Reading(
        job_id=job.id,
        state=job.state,
        message=job.message,
        created_at=job.created_at,
        measured_at=None if finalist is None else finalist.created_at,
        metrics={} if finalist is None else finalist.metrics,
        sources={} if finalist is None else finalist.sources,
        intervals={} if finalist is None else finalist.intervals or {},
        measurements=[] if finalist is None else finalist.measurements,
    )
