"""What may be asked of a job once it is there: that it moves on, goes, or that another job is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response, status
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, field_validator
from sqlalchemy.orm import Session

from job.healing_spec import HealingSpec
from job.needs_spec import MAX_NOTES, Labels, Priority, once
from job.spec import MAX_EVALUATIONS
from service import descent, jobs, remeasuring, removal
from service.api.deps import WRITE, DatabaseDep, IdentityDep, QueueDep, SessionDep
from service.api.jobs import made, wake
from service.api.schemas import JobOut
from service.queue import Queue
from service.store.models import Job, Stage
from service.store.session import Database

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]
Edits = Annotated[
    dict[str, Any],
    Field(
        description="A JSON merge patch (RFC 7396) of the job: objects are merged, null takes a field back to its "
        "default, anything else replaces.",
        examples=[{"name": "again, larger", "search": {"evaluations": 500}}],
    ),
]


class CloneIn(BaseModel):
    """How the new job differs."""

    model_config = ConfigDict(extra="forbid")

    edits: Edits = Field(default_factory=dict, description="A JSON merge patch (RFC 7396) of the job.")


class ExtendIn(CloneIn):
    """How the search goes on."""

    evaluations: Annotated[StrictInt, Field(ge=1, le=MAX_EVALUATIONS)] | None = Field(
        default=None, description="Further evaluations; null: as many as the job was given."
    )
    objectives: list[dict[str, Any]] | None = Field(
        default=None, description="Objectives in place of the job's own; null: the same."
    )
    constraints: list[dict[str, Any]] | None = Field(
        default=None, description="Constraints in place of the job's own; null: the same."
    )
    target: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Another device for the metrics that need one; null: the same."
    )


class RerunIn(CloneIn):
    """Where the new job begins."""

    from_stage: Stage = Field(
        description="First stage to repeat, with those after it. What was found before is taken over."
    )


class HealIn(CloneIn):
    """Which networks are healed, and how."""

    healing: HealingSpec = Field(
        default_factory=HealingSpec, description="The part `healing` of the new job; left out: the knee, as is usual."
    )


class JobEdits(BaseModel):
    """What may be changed of a job at any time; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="New name.")
    labels: Labels | None = Field(default=None, description="New labels, in place of all old ones.")
    notes: Annotated[str, Field(max_length=MAX_NOTES)] | None = Field(default=None, description="New notes.")
    priority: Priority | None = Field(default=None, description="New priority.")

    @field_validator("labels")
    @classmethod
    def _once(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if labels is None else once(labels)


@router.post("/cancel", dependencies=[WRITE])
def cancel(job_id: str, session: SessionDep, who: IdentityDep) -> JobOut:
    """Cancel a job.

    A running one stops within seconds; what it has stored stays readable.
    """
    return JobOut.model_validate(jobs.cancel(session, job_id, who))


@router.post("/pause", dependencies=[WRITE])
def pause(job_id: str, session: SessionDep, who: IdentityDep) -> JobOut:
    """Pause a job.

    Winnow checkpoints it and frees its device.
    """
    return JobOut.model_validate(jobs.pause(session, job_id, who))


@router.post("/stop", dependencies=[WRITE])
def stop(job_id: str, database: DatabaseDep, queue: QueueDep, who: IdentityDep) -> JobOut:
    """Stop a job's search and keep what it has found.

    The front so far is measured, and the job succeeds.
    """
    return _then_wake(lambda session: jobs.stop(session, job_id, who), database, queue)


@router.post("/resume", dependencies=[WRITE])
def resume(job_id: str, database: DatabaseDep, queue: QueueDep, who: IdentityDep) -> JobOut:
    """Resume a paused job.

    It goes on where it stopped.
    """
    return _then_wake(lambda session: jobs.resume(session, job_id, who), database, queue)


@router.post("/retry", dependencies=[WRITE])
def retry(job_id: str, database: DatabaseDep, queue: QueueDep, who: IdentityDep) -> JobOut:
    """Retry a job that failed or was cancelled.

    It goes on from what is stored of it.
    """
    return _then_wake(lambda session: jobs.retry(session, job_id, who), database, queue)


@router.post("/clone", status_code=status.HTTP_201_CREATED, dependencies=[WRITE])
def clone(
    job_id: str,
    response: Response,
    database: DatabaseDep,
    queue: QueueDep,
    who: IdentityDep,
    given: CloneIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Clone a job.

    The new job is the same, with your edits.
    """
    edits = {} if given is None else given.edits
    return _descend(
        lambda session: descent.clone(session, job_id, edits, idempotency_key, who), response, database, queue
    )


@router.post("/extend", status_code=status.HTTP_201_CREATED, dependencies=[WRITE])
def extend(
    job_id: str,
    response: Response,
    database: DatabaseDep,
    queue: QueueDep,
    who: IdentityDep,
    given: ExtendIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Extend a job's search.

    A new job continues the search, with more evaluations, other objectives or another device. It reuses the trained
    supernet and every score.
    """
    given = given or ExtendIn()
    by = descent.Extension(given.evaluations, given.objectives, given.constraints, given.target)
    return _descend(
        lambda session: descent.extend(session, job_id, by, given.edits, idempotency_key, who),
        response,
        database,
        queue,
    )


@router.post("/rerun", status_code=status.HTTP_201_CREATED, dependencies=[WRITE])
def rerun(
    job_id: str,
    given: RerunIn,
    response: Response,
    database: DatabaseDep,
    queue: QueueDep,
    who: IdentityDep,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Rerun a job from a stage on.

    A new job repeats that stage and those after it. It takes over what the earlier stages found.
    """
    return _descend(
        lambda session: descent.rerun(session, job_id, given.from_stage, given.edits, idempotency_key, who),
        response,
        database,
        queue,
    )


@router.post("/heal", status_code=status.HTTP_201_CREATED, dependencies=[WRITE])
def heal(
    job_id: str,
    response: Response,
    database: DatabaseDep,
    queue: QueueDep,
    who: IdentityDep,
    given: HealIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Heal networks of a finished job.

    A new job takes over what the finished one has found, and trains networks of its front further with their parent as
    teacher. The front of the finished job stays as it is.
    """
    given = given or HealIn()
    return _descend(
        lambda session: descent.heal(session, job_id, given.healing, given.edits, idempotency_key, who),
        response,
        database,
        queue,
    )


@router.post("/architectures/{architecture_id}/measure", status_code=status.HTTP_201_CREATED, dependencies=[WRITE])
def measure(
    job_id: str,
    architecture_id: str,
    response: Response,
    database: DatabaseDep,
    queue: QueueDep,
    who: IdentityDep,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Measure a network again.

    A new, small job measures one network of a finished job on the same device. What was measured before stays; `GET
    .../readings` lists both.
    """
    return _descend(
        lambda session: remeasuring.measure(session, job_id, architecture_id, idempotency_key, who),
        response,
        database,
        queue,
    )


@router.patch("", dependencies=[WRITE])
def edit(job_id: str, given: JobEdits, session: SessionDep, who: IdentityDep) -> JobOut:
    """Change a job's name, labels, notes or priority.

    What is left out stays. A job can be changed in every state.
    """
    edits = jobs.Edits(given.name, given.labels, given.notes, given.priority)
    return JobOut.model_validate(jobs.edit(session, job_id, edits, who))


@router.delete("", status_code=status.HTTP_202_ACCEPTED, dependencies=[WRITE])
def delete(job_id: str, session: SessionDep, who: IdentityDep) -> JobOut:
    """Remove a finished job and its files.

    They go after a time of grace in which the job can be restored. Files that other jobs use stay until the last of
    these is gone.
    """
    return JobOut.model_validate(removal.delete(session, job_id, who))


@router.post("/restore", dependencies=[WRITE])
def restore(job_id: str, session: SessionDep, who: IdentityDep) -> JobOut:
    """Restore a removed job.

    A job can be restored until its time of grace is over.
    """
    return JobOut.model_validate(removal.restore(session, job_id, who))


class Sharing(BaseModel):
    """Whether the keys of the group may look at a job."""

    model_config = ConfigDict(extra="forbid")

    shared: bool = Field(description="Whether the keys of your group may look at the job.")


@router.post("/sharing", dependencies=[WRITE])
def share(job_id: str, given: Sharing, session: SessionDep, who: IdentityDep) -> JobOut:
    """Share a job with your group.

    The keys of the group may look at it; `{"shared": false}` ends that. Only the job's owner and admins can change it.
    """
    return JobOut.model_validate(jobs.share(session, job_id, who, given.shared))


def _then_wake(move: Callable[[Session], Job], database: Database, queue: Queue) -> JobOut:
    """Move a job to a state in which it needs a worker, and wake one."""
    with database.transaction() as session:
        answer = JobOut.model_validate(move(session))
    wake(queue, answer.id)
    return answer


def _descend(
    make: Callable[[Session], tuple[Job, bool]], response: Response, database: Database, queue: Queue
) -> JobOut:
    """Make a job of another one, and wake a worker for it; 200 where the same request has made it before."""
    try:
        with database.transaction() as session:
            job, is_new = make(session)
            session.flush()
            answer = JobOut.model_validate(job)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from None
    return made(answer, is_new, response, queue)
