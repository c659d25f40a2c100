"""Quotas: what a key may use. Checked when a job is submitted or an export is asked for."""

from __future__ import annotations

from sqlalchemy import Integer, cast, func, select
from sqlalchemy.orm import Session

from job.spec import JobSpec
from service.auth.keys import Identity
from service.errors import QuotaExceeded
from service.store.models import TERMINAL_STATES, ApiKey, Artifact, EvaluationRow, Export, Job, TrainedSupernet, Upload


def check_quota(session: Session, who: Identity, spec: JobSpec) -> None:
    """Refuse a job that is one too many. Locks the key's row, so that two jobs at once are counted one by one.

    Raises:
        QuotaExceeded: with what is used, and what may be.
    """
    key = _limited(session, who, lock=True)
    if key is None:
        return
    if key.max_jobs is not None:
        count = unfinished_jobs(session, key.id)
        if count >= key.max_jobs:
            raise QuotaExceeded(
                f"Key {key.id} has {count} unfinished jobs and may have {key.max_jobs} at a time. Wait for one to end, "
                "or cancel one."
            )
    if key.max_evaluations is not None:
        used = evaluations(session, key.id)
        if used + spec.search.evaluations > key.max_evaluations:
            raise QuotaExceeded(
                f"This job asks for {spec.search.evaluations} evaluations. Key {key.id} may make "
                f"{key.max_evaluations}, and {used} are made or promised to its unfinished jobs."
            )
    _refuse_bytes(session, key)


def check_bytes(session: Session, who: Identity) -> None:
    """Refuse to write more for a key that has used its bytes.

    Raises:
        QuotaExceeded: it has.
    """
    key = _limited(session, who, lock=False)
    if key is not None:
        _refuse_bytes(session, key)


def _limited(session: Session, who: Identity, *, lock: bool) -> ApiKey | None:
    """The key, if anything of it is limited."""
    return session.get(ApiKey, who.key_id, with_for_update=lock) if who.limited else None


def _refuse_bytes(session: Session, key: ApiKey) -> None:
    if key.max_bytes is None:
        return
    used = stored_bytes(session, key.id)
    if used >= key.max_bytes:
        raise QuotaExceeded(
            f"Files of key {key.id} take {used} bytes, and may take {key.max_bytes}. Ask an admin for more."
        )


def unfinished_jobs(session: Session, key_id: str) -> int:
    """Number of a key's jobs that are not over."""
    query = select(func.count()).select_from(Job)
    return session.scalar(query.where(Job.owner_id == key_id, Job.state.not_in(TERMINAL_STATES))) or 0


def evaluations(session: Session, key_id: str) -> int:
    """Evaluations that a key's finished jobs have made, and that its others have been granted."""
    granted = cast(Job.spec["search"]["evaluations"].as_string(), Integer)
    open_ = select(func.sum(granted)).where(Job.owner_id == key_id, Job.state.not_in(TERMINAL_STATES))
    made = (
        select(func.count())
        .select_from(EvaluationRow)
        .join(Job, Job.id == EvaluationRow.job_id)
        .where(Job.owner_id == key_id, Job.state.in_(TERMINAL_STATES), EvaluationRow.number > 0)
    )
    return int(session.scalar(open_) or 0) + int(session.scalar(made) or 0)


def stored_bytes(session: Session, key_id: str) -> int:
    """Bytes of a key's checkpoints, supernets, exports and uploads."""
    uploaded = session.scalar(select(func.sum(Upload.size_bytes)).where(Upload.owner_id == key_id))
    return int(uploaded or 0) + sum(
        int(
            session.scalar(
                select(func.sum(table.size_bytes)).join(Job, Job.id == table.job_id).where(Job.owner_id == key_id)
            )
            or 0
        )
        for table in (Artifact, TrainedSupernet, Export)
    )
