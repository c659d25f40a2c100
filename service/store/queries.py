"""Every other SQL statement: the life of a job, its events and its results.

Functions whose first arguments are `(session, job_id, epoch)` are a runner's writes and are fenced:
they raise `LeaseLost` instead of writing after the lease has passed to somebody else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Float,
    Select,
    String,
    and_,
    any_,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from search.metrics import METRICS
from service.store import notices, outbox
from service.store.leases import LeaseLost
from service.store.models import (
    ACTIVE_STATES,
    REUSED,
    TERMINAL_STATES,
    Artifact,
    EvaluationRow,
    Export,
    Finalist,
    Job,
    JobEvent,
    JobRecord,
    JobState,
    Measurement,
    Stage,
    TrainedSupernet,
    Upload,
    Weights,
    among_ids,
)

# --- events --------------------------------------------------------------------------------------


def add_event(session: Session, job: Job, kind: str, data: Mapping[str, Any]) -> None:
    """Append an event to a job whose row this transaction holds locked."""
    job.event_seq += 1
    session.add(JobEvent(job_id=job.id, seq=job.event_seq, kind=kind, data=dict(data)))
    notices.tell(session, notices.JOBS, job.id)


def events_after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[JobEvent]:
    """Events with a larger number, oldest first."""
    return session.scalars(
        select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > seq).order_by(JobEvent.seq).limit(limit)
    ).all()


def history(session: Session, job_id: str, last: int, without: str, limit: int) -> tuple[Sequence[JobEvent], int]:
    """Events up to a number but those of one kind, oldest first; and how many older ones the limit leaves out."""
    meant = (JobEvent.job_id == job_id, JobEvent.seq <= last, JobEvent.kind != without)
    newest = session.scalars(select(JobEvent).where(*meant).order_by(JobEvent.seq.desc()).limit(limit)).all()
    left_out = 0
    if len(newest) == limit:
        left_out = (session.scalar(select(func.count()).select_from(JobEvent).where(*meant)) or 0) - limit
    return newest[::-1], left_out


# --- jobs ----------------------------------------------------------------------------------------


def locked_job(session: Session, job_id: str) -> Job | None:
    """A job, locked until the transaction ends."""
    return session.get(Job, job_id, with_for_update=True)


def job_of_key(session: Session, key: str) -> Job | None:
    """The job that was submitted with an idempotency key."""
    return session.scalars(select(Job).where(Job.idempotency_key == key)).one_or_none()


class JobSort(StrEnum):
    """What a list of jobs may be sorted by; each has a value in every row."""

    CREATED = "created"
    NAME = "name"
    STATE = "state"
    RECIPE = "recipe"
    PROGRESS = "progress"
    PRIORITY = "priority"

    @property
    def column(self) -> InstrumentedAttribute[Any]:
        """The column."""
        found: InstrumentedAttribute[Any] = getattr(Job, "created_at" if self is JobSort.CREATED else self.value)
        return found


class ListedJob(NamedTuple):
    """Where a job stands in a list.

    Attributes:
        version: the version of its row, which every change replaces.
        ended: whether it has ended, so that what it found changes no more without its row.
        place: the value that the list is sorted by.
    """

    id: str
    version: str
    ended: bool
    place: Any


def list_jobs(
    session: Session,
    *,
    state: JobState | None,
    recipe: str | None,
    text: str | None,
    after: tuple[Any, str] | None,
    limit: int,
    visible: ColumnElement[bool] | None = None,
    labels: Sequence[str] = (),
    deleted: bool = False,
    supernet: str | None = None,
    sort: JobSort = JobSort.CREATED,
    rising: bool = False,
) -> list[ListedJob]:
    """Which jobs are in a list, in its order: the newest first if nothing else is asked for.

    Args:
        after: the value that is sorted by, and the id, of the last job of the page before.
        labels: that a job must have, all of them.
        deleted: those that are to be removed, instead of the others.
        supernet: only those that searched it: the job that trained it, and all that reuse it.
        sort: what jobs are sorted by; the id decides between equals.
        rising: the least first instead of the most.
    """
    column = sort.column
    order = (column.asc(), Job.id.asc()) if rising else (column.desc(), Job.id.desc())
    ended = Job.state.in_(TERMINAL_STATES)
    query = select(Job.id, literal_column("jobs.xmin::text", String), ended, column).order_by(*order).limit(limit)
    query = query.where(Job.deleted_at.is_not(None) if deleted else Job.deleted_at.is_(None))
    if labels:
        query = query.where(Job.labels.bool_op("@>")(cast(list(labels), Job.labels.type)))
    if visible is not None:
        query = query.where(visible)
    if state is not None:
        query = query.where(Job.state == state)
    if recipe is not None:
        query = query.where(Job.recipe == recipe)
    if supernet is not None:
        query = query.where(or_(Job.id == supernet, literal_column(f"({REUSED})", String) == supernet))
    if text:
        found_in = (Job.name, Job.id, Job.notes)
        query = query.where(or_(*(containing(part, text) for part in found_in)))
    if after is not None:
        value, job_id = after
        beyond = (column > value, Job.id > job_id) if rising else (column < value, Job.id < job_id)
        query = query.where(or_(beyond[0], and_(column == value, beyond[1])))
    return [ListedJob(*row) for row in session.execute(query)]


def jobs_of(session: Session, job_ids: Sequence[str]) -> dict[str, Job]:
    """Jobs by id; those that have gone are left out."""
    rows = session.scalars(_jobs_of(), {"ids": list(job_ids)})
    return {job.id: job for job in rows}


@cache
def _jobs_of() -> Select[Job]:
    return select(Job).where(among_ids(Job.id))


def containing(column: InstrumentedAttribute[str], part: str) -> ColumnElement[bool]:
    """That a text contains another one, whatever the case of its letters."""
    return column.ilike("%" + part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%")


def count_jobs(session: Session) -> dict[JobState, int]:
    """Number of jobs by state."""
    rows = session.execute(select(Job.state, func.count()).group_by(Job.state))
    return {state: count for state, count in rows}  # noqa: C416 - a Result has `keys()`


def summaries(session: Session, job_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What jobs have found, by id: number of evaluations, and of the measured front its size, best accuracy, best
    value of the first objective, and hypervolume."""
    found: dict[str, dict[str, Any]] = {}
    rows = session.execute(_summaries(), {"ids": list(job_ids)})
    for job_id, evaluated, metric, size, best, least, most, hypervolume in rows:
        known = METRICS.get(metric or "")
        found[job_id] = {
            "evaluations": evaluated,
            "front_size": size,
            "best_accuracy": best,
            "best_metric": metric,
            "best_value": least if known is not None and known.goal == "minimize" else most,
            "hypervolume": hypervolume,
        }
    return found


@cache
def _summaries() -> Select[str, int, str | None, int, float | None, float | None, float | None, float | None]:
    """The statement of `summaries`, which takes longer to build than to answer."""
    # Numbers count from 1 without gaps, and an index finds the last one at once.
    newest = select(func.max(EvaluationRow.number)).where(EvaluationRow.job_id == Job.id).scalar_subquery()
    metric = Job.spec["objectives"][0]["metric"].as_string()
    # What was measured takes the place of what the search believed.
    first = cast(func.coalesce(Finalist.metrics.op("->>")(metric), EvaluationRow.metrics.op("->>")(metric)), Float)
    # Only the front counts for the best: what was evaluated may break a limit of the job.
    front = (
        select(
            func.count().label("size"),
            func.max(EvaluationRow.metrics["accuracy"].as_float()).label("best"),
            func.min(first).label("least"),
            func.max(first).label("most"),
        )
        .select_from(Finalist)
        .join(
            EvaluationRow,
            and_(
                Finalist.job_id == EvaluationRow.job_id,
                Finalist.architecture_id == EvaluationRow.architecture_id,
            ),
        )
        .where(Finalist.job_id == Job.id, Finalist.position.is_not(None))
        .lateral()
    )
    # `records.FrontRecord`, which this module is read by.
    dominated = (
        select(JobRecord.data["hypervolume"].as_float())
        .where(JobRecord.job_id == Job.id, JobRecord.kind == "front")
        .limit(1)
        .scalar_subquery()
    )
    query = select(
        Job.id, func.coalesce(newest, 0), metric, front.c.size, front.c.best, front.c.least, front.c.most, dominated
    ).join(front, true())
    return query.where(among_ids(Job.id))


def set_state(session: Session, job: Job, state: JobState, message: str | None) -> None:
    """Move a locked job to a state and say so in its events. A terminal state is never left."""
    assert job.state not in TERMINAL_STATES, f"{job.id} is {job.state}"
    waits = state == JobState.QUEUED or (state == JobState.STOPPING and job.state in (JobState.QUEUED, JobState.PAUSED))
    job.state, job.message = state, message
    if state in TERMINAL_STATES:
        job.finished_at = session.scalar(select(func.now()))
        job.eta_seconds = job.eta_low_seconds = job.eta_high_seconds = 0.0
    if state in TERMINAL_STATES or state == JobState.PAUSED:
        job.lease_owner = job.lease_until = None
    if waits:
        job.queued_at = session.scalar(select(func.now())) or job.queued_at
        job.lease_owner = job.lease_until = None
        job.attempts = 0
    tell_state(session, job)


def tell_state(session: Session, job: Job) -> None:
    """Say in which state a locked job is now: in its events, and to the webhooks of its key."""
    add_event(session, job, "state", {"state": job.state, "message": job.message})
    outbox.write(session, job)


def tell_new(session: Session, job: Job) -> None:
    """Say that a job was made, in its first event. Nobody can have known its id, so nobody listens."""
    outbox.write(session, job, _first_event(), {"job": job.id, "data": {"state": job.state, "message": None}})


@cache
def _first_event() -> Select[str]:
    """The statement that writes a job's first event and finds the webhooks that hear of it."""
    event = {"job_id": bindparam("job"), "seq": 1, "kind": "state", "data": bindparam("data")}
    return outbox.hooks().add_cte(insert(JobEvent.__table__).values(event).cte("told"))  # type: ignore[arg-type]


def reopen(session: Session, job: Job) -> None:
    """Take a locked job that has failed, or was cancelled, up again. Its number grows at once, so that no runner of
    before can write."""
    assert job.state in (JobState.FAILED, JobState.CANCELLED), f"{job.id} is {job.state}"
    job.epoch += 1
    job.finished_at = job.lease_owner = job.lease_until = job.interrupted_at = None
    job.eta_seconds = job.eta_low_seconds = job.eta_high_seconds = None
    job.state, job.message, job.attempts, job.failures = JobState.QUEUED, None, 0, []
    job.queued_at = session.scalar(select(func.now())) or job.queued_at
    tell_state(session, job)


def set_running(session: Session, job: Job) -> None:
    """A worker has claimed a queued job."""
    job.progressed_at = session.scalar(select(func.now()))
    job.state, job.message = JobState.RUNNING, None
    job.started_at = job.started_at or session.scalar(select(func.now()))
    tell_state(session, job)


# --- a runner's writes ---------------------------------------------------------------------------


def fenced_job(session: Session, job_id: str, epoch: int) -> Job:
    """The job, locked, if this epoch still holds it.

    Raises:
        LeaseLost: it does not, or the job is finished.
    """
    job = locked_job(session, job_id)
    if job is None or job.epoch != epoch or job.state not in ACTIVE_STATES:
        raise LeaseLost(f"job {job_id}: epoch {epoch} is over")
    return job


def add_stage_seconds(job: Job, stage: Stage, seconds: float) -> None:
    """Count time that a stage of a locked job has taken."""
    spent = dict(job.stage_seconds or {})
    job.stage_seconds = {**spent, str(stage): round(spent.get(stage, 0.0) + seconds, 3)}


def set_progress(
    session: Session,
    job_id: str,
    epoch: int,
    *,
    stage: Stage,
    progress: float,
    stage_progress: float,
    items: tuple[int, int] | None = None,
    eta: tuple[float, float, float] | None = None,
) -> JobState:
    """Where the job is now. Returns its state, which is how pause and cancel reach the runner.

    Args:
        items: how many things the stage has done, and how many it counts.
        eta: seconds to the end with likely bounds; None: nobody knows.
    """
    done, total = (None, None) if items is None else items
    seconds, low, high = (None, None, None) if eta is None else eta
    state = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.epoch == epoch, Job.state.in_(ACTIVE_STATES))
        .values(
            stage=stage,
            progress=progress,
            stage_progress=stage_progress,
            stage_done=done,
            stage_total=total,
            eta_seconds=seconds,
            eta_low_seconds=low,
            eta_high_seconds=high,
            progressed_at=func.now(),
        )
        .returning(Job.state)
    ).scalar_one_or_none()
    if state is None:
        raise LeaseLost(f"job {job_id}: epoch {epoch} is over")
    notices.tell(session, notices.JOBS, job_id)
    return state


def add_evaluation(
    session: Session, job_id: str, epoch: int, row: EvaluationRow, event: Mapping[str, Any]
) -> int | None:
    """Store one architecture's scores and announce them; progress, so attempts start again.

    Returns:
        Its position in the order of evaluation; None: it is stored already.
    """
    from sqlalchemy.dialects.postgresql import insert  # slow to import, not needed to start

    job = fenced_job(session, job_id, epoch)
    job.attempts = 0
    number = session.scalar(select(func.max(EvaluationRow.number)).where(EvaluationRow.job_id == job_id)) or 0
    inserted = session.execute(
        insert(EvaluationRow)
        .values(
            job_id=job_id,
            architecture_id=row.architecture_id,
            number=number + 1,
            values=row.values,
            metrics=row.metrics,
            sources=row.sources,
            seconds=row.seconds,
            epoch=epoch,
        )
        .on_conflict_do_nothing(index_elements=["job_id", "architecture_id"])
        .returning(EvaluationRow.number)
    ).scalar_one_or_none()
    # A retried transaction whose first commit did reach the server finds its own row: nothing to add.
    if inserted is not None:
        add_event(session, job, "evaluation", {"number": inserted, **event})
    return inserted


def add_reference(session: Session, job_id: str, epoch: int, row: EvaluationRow) -> None:
    """Store the scores of the network that others are compared with, unless the search has evaluated it anyway."""
    fenced_job(session, job_id, epoch)
    if session.get(EvaluationRow, (job_id, row.architecture_id)) is None:
        row.job_id, row.number, row.epoch = job_id, 0, epoch
        session.add(row)


def place_finalists(
    session: Session, job_id: str, epoch: int, positions: Mapping[str, int], metrics: Mapping[str, Mapping[str, Any]]
) -> None:
    """Say which finalists make up the front, and what is now known of their predictions.

    Args:
        positions: by architecture id; a finalist that is not named is not on the front.
        metrics: architecture id -> numbers that take the place of those of the same name.
    """
    fenced_job(session, job_id, epoch)
    for finalist in finalists(session, job_id):
        finalist.position = positions.get(finalist.architecture_id)
        finalist.metrics = {**finalist.metrics, **metrics.get(finalist.architecture_id, {})}


def add_finalist(session: Session, job_id: str, epoch: int, finalist: Finalist) -> None:
    """Store one finalist with its measurements, and announce it."""
    job = fenced_job(session, job_id, epoch)
    job.attempts = 0
    if session.get(Finalist, (job_id, finalist.architecture_id)) is None:
        session.add(finalist)
        add_event(
            session,
            job,
            "finalist",
            {"architecture_id": finalist.architecture_id, "metrics": finalist.metrics},
        )


def add_artifact(session: Session, job_id: str, epoch: int, artifact: Artifact) -> None:
    """Record a written file; progress, so attempts start again."""
    job = fenced_job(session, job_id, epoch)
    job.attempts = 0
    session.add(artifact)


def artifacts(session: Session, job_id: str, kind: str) -> Sequence[Artifact]:
    """Files of a kind, newest first."""
    return session.scalars(
        select(Artifact).where(Artifact.job_id == job_id, Artifact.kind == kind).order_by(Artifact.id.desc())
    ).all()


def weights_of(
    session: Session, job_id: str, architecture_id: str, weights: Weights = Weights.UNHEALED
) -> Artifact | None:
    """The file with an architecture's weights: its own if it was trained alone, else the job's supernet; or those that
    healing left."""
    named = f"/{architecture_id}.safetensors"
    if weights == Weights.HEALED:
        return next((file for file in artifacts(session, job_id, "healed") if file.path.endswith(named)), None)
    alone = [file for file in artifacts(session, job_id, "network") if file.path.endswith(named)]
    return next(iter([*alone, *artifacts(session, job_id, "supernet")]), None)


def forget_artifacts(session: Session, artifact_ids: Sequence[int]) -> set[str]:
    """Drop rows of files. The digests of those whose content no other row names."""
    gone = set(session.scalars(delete(Artifact).where(Artifact.id.in_(artifact_ids)).returning(Artifact.sha256)))
    return gone - named_digests(session, gone)


def named_digests(session: Session, digests: Collection[str]) -> set[str]:
    """Those of some digests under which a row names a file."""
    found: set[str] = set()
    for column in (Artifact.sha256, TrainedSupernet.sha256, Export.sha256, Measurement.sha256, Upload.sha256):
        found.update(digest for digest in session.scalars(select(column).where(column.in_(digests))) if digest)
    return found


def add_supernet(session: Session, job_id: str, epoch: int, row: TrainedSupernet) -> None:
    """Store a trained supernet. A job that comes by again, because it died afterwards, has it already."""
    fenced_job(session, job_id, epoch).attempts = 0
    if session.get(TrainedSupernet, row.id) is None:
        session.add(row)


# --- supernets -----------------------------------------------------------------------------------


def supernet(session: Session, supernet_id: str, *, hold: bool = False) -> TrainedSupernet | None:
    """A trained supernet by its id.

    Args:
        hold: whether it may not be removed until the transaction ends.
    """
    locked = {"read": True, "key_share": True} if hold else None
    return session.get(TrainedSupernet, supernet_id, with_for_update=locked)


def list_supernets(
    session: Session,
    space: str | None,
    before: tuple[Any, str] | None,
    limit: int,
    visible: ColumnElement[bool] | None = None,
) -> Sequence[TrainedSupernet]:
    """Trained supernets, newest first. `before` is the (created_at, id) of the last one of the page before."""
    query = select(TrainedSupernet).order_by(TrainedSupernet.created_at.desc(), TrainedSupernet.id.desc()).limit(limit)
    if visible is not None:
        query = query.outerjoin(Job, Job.id == TrainedSupernet.job_id).where(visible)
    if space is not None:
        query = query.where(TrainedSupernet.space == space)
    if before is not None:
        created_at, supernet_id = before
        same_moment = and_(TrainedSupernet.created_at == created_at, TrainedSupernet.id < supernet_id)
        query = query.where(or_(TrainedSupernet.created_at < created_at, same_moment))
    return session.scalars(query).all()


# --- results -------------------------------------------------------------------------------------


def evaluations(session: Session, job_id: str, after: int = 0, limit: int | None = None) -> Sequence[EvaluationRow]:
    """Evaluations in the order in which they were made, after a number."""
    query = (
        select(EvaluationRow)
        .where(EvaluationRow.job_id == job_id, EvaluationRow.number > after)
        .order_by(EvaluationRow.number)
    )
    return session.scalars(query.limit(limit)).all()


def evaluations_named(session: Session, job_id: str, names: Sequence[str]) -> Sequence[EvaluationRow]:
    """Evaluations of these architectures, in the order in which they were made."""
    if not names:
        return []
    query = select(EvaluationRow).where(EvaluationRow.job_id == job_id, _one_of(EvaluationRow.architecture_id, names))
    return session.scalars(query.order_by(EvaluationRow.number)).all()


def _one_of(column: InstrumentedAttribute[str], words: Sequence[str]) -> ColumnElement[bool]:
    """That a text is one of these: one parameter, however many there are."""
    return column == any_(literal(list(words), ARRAY(String)))


def scores(
    session: Session, job_id: str, after: int, names: Sequence[str]
) -> Sequence[tuple[int, str, Mapping[str, float | None]]]:
    """Number, architecture and metrics of these architectures' evaluations and of those after a number, in the order
    in which they were made."""
    meant = EvaluationRow.number > after
    query = select(EvaluationRow.number, EvaluationRow.architecture_id, EvaluationRow.metrics)
    query = query.where(EvaluationRow.job_id == job_id, or_(meant, _one_of(EvaluationRow.architecture_id, names)))
    return session.execute(query.order_by(EvaluationRow.number)).all()


def front_version(session: Session, job_id: str) -> tuple[JobState, int, datetime | None, int | None, int] | None:
    """What changes whenever a job's front may have changed; None: there is no such job.

    Whoever writes a result tells an event of it, or that the job goes on, in the same transaction.
    """
    newest = select(func.max(EvaluationRow.number)).where(EvaluationRow.job_id == Job.id).scalar_subquery()
    measured = select(func.count()).where(Finalist.job_id == Job.id).scalar_subquery()
    query = select(Job.state, Job.event_seq, Job.progressed_at, newest, measured).where(Job.id == job_id)
    return session.execute(query).one_or_none()


def finalists(session: Session, job_id: str) -> Sequence[Finalist]:
    """The networks that were measured: the front, best in the first objective first, then the others as they came."""
    query = select(Finalist).where(Finalist.job_id == job_id)
    return session.scalars(query.order_by(Finalist.position, Finalist.created_at, Finalist.architecture_id)).all()


def exports_of(session: Session, job_id: str) -> Sequence[Export]:
    """A job's exports, newest first."""
    return session.scalars(select(Export).where(Export.job_id == job_id).order_by(Export.created_at.desc())).all()
