"""Warm starts: what other searches of the same supernet have evaluated, copied into a job before it asks anything.

A copy is a row of the job like any other, so that it may be on its front and be exported, but with epoch 0, which no
runner has: a resumed search knows its warm start from its own evaluations, even if the other jobs are gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store.models import Artifact, EvaluationRow, Job
from service.store.queries import add_event, fenced_job

# The epoch of a copied row.
COPIED = 0


def copied(row: EvaluationRow) -> bool:
    """Whether a row is of a warm start."""
    return row.epoch == COPIED


def earlier(session: Session, job_id: str, alike: Callable[[Job], bool]) -> list[EvaluationRow]:
    """Evaluations that other jobs have made of the supernet that this job searches, oldest first, each network once.

    Args:
        alike: whether another job scored as this one does.
    """
    own = select(Artifact.sha256).where(Artifact.job_id == job_id, Artifact.kind == "supernet")
    others = session.scalars(
        select(Job)
        .join(Artifact, Artifact.job_id == Job.id)
        .where(Artifact.kind == "supernet", Artifact.sha256.in_(own), Job.id != job_id)
        .order_by(Job.created_at, Job.id)
    ).unique()
    found: dict[str, EvaluationRow] = {}
    for job in others:
        if alike(job):
            query = select(EvaluationRow).where(EvaluationRow.job_id == job.id).order_by(EvaluationRow.number)
            for row in session.scalars(query):
                found.setdefault(row.architecture_id, row)
    return list(found.values())


def copy_in(session: Session, job_id: str, epoch: int, rows: Sequence[EvaluationRow]) -> None:
    """Copy evaluations into a job that has none yet."""
    job = fenced_job(session, job_id, epoch)
    if session.scalar(select(func.count()).where(EvaluationRow.job_id == job_id)):
        return
    for number, row in enumerate(rows, 1):
        session.add(
            EvaluationRow(
                job_id=job_id,
                architecture_id=row.architecture_id,
                number=number,
                values=row.values,
                metrics=row.metrics,
                sources=row.sources,
                seconds=row.seconds,
                epoch=COPIED,
            )
        )
        data = {"number": number, "architecture_id": row.architecture_id, "metrics": row.metrics}
        add_event(session, job, "evaluation", data)
