"""Warm starts: what other searches of the same supernet have evaluated, copied into a job before it asks anything.

A copy is a row of the job like any other, so that it may be on its front and be exported, but with epoch 0, which no
runner has: a resumed search knows its warm start from its own evaluations, even if the other jobs are gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store.models import Artifact, EvaluationRow, Job
from service.store.queries import add_event, fenced_job

# The epoch of a copied row.
COPIED = 0


def copied(row: EvaluationRow) -> bool:
    """Whether a row is of a warm start."""
    return row.epoch == COPIED


# Hears another job that searched the same supernet, and says which of its metrics mean something else here; None: it
# scored in another way.
Alike = Callable[[Job], frozenset[str] | None]


def earlier(session: Session, job_id: str, alike: Alike) -> list[EvaluationRow]:
    """Evaluations that other jobs have made of the supernet that this job searches, oldest first, each network once.

    If two jobs scored a network, the one with more usable numbers counts.
    """
    own = select(Artifact.sha256).where(Artifact.job_id == job_id, Artifact.kind == "supernet")
    others = session.scalars(
        select(Job)
        .join(Artifact, Artifact.job_id == Job.id)
        .where(Artifact.kind == "supernet", Artifact.sha256.in_(own), Job.id != job_id)
        .order_by(Job.created_at, Job.id)
    ).unique()
    usable = [(job, foreign) for job in others if (foreign := alike(job)) is not None]
    found: dict[str, EvaluationRow] = {}
    for job, foreign in sorted(usable, key=lambda one: len(one[1])):
        query = select(EvaluationRow).where(EvaluationRow.job_id == job.id).order_by(EvaluationRow.number)
        for row in session.scalars(query):
            found.setdefault(row.architecture_id, _without(row, foreign))
    return list(found.values())


def _without(row: EvaluationRow, foreign: frozenset[str]) -> EvaluationRow:
    """A row without some of its metrics; it belongs to no session."""
    kept = [name for name in row.metrics if name not in foreign]
    return EvaluationRow(
        architecture_id=row.architecture_id,
        values=row.values,
        metrics={name: row.metrics[name] for name in kept},
        sources={name: row.sources[name] for name in kept if name in row.sources},
        seconds=row.seconds,
    )


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


def rescore(
    session: Session, job_id: str, epoch: int, architecture_id: str, metrics: dict[str, Any], sources: dict[str, Any]
) -> None:
    """Complete the scores of a copied row with what only this job asks for, such as latency on its device."""
    job = fenced_job(session, job_id, epoch)
    job.attempts = 0
    row = session.get(EvaluationRow, (job_id, architecture_id))
    assert row is not None
    row.metrics, row.sources = metrics, sources
    job.progressed_at = session.scalar(select(func.now()))  # no event tells of it, and the front may change
