"""Architectures of a running search that any worker may evaluate: rows with leases of their own.

The job's runner offers a batch, and whoever has time claims rows, in the order in which neighbours share the most
computation. A claim ends with the scores, or when its lease runs out: then the next one may have the row. Every
claim has a number, and scores that arrive under an older one are not taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from service.store.intervals import interval
from service.store.models import Job, SharedEvaluation
from service.store.queries import fenced_job


@dataclass(frozen=True, slots=True)
class Claim:
    """One architecture to evaluate, and the number under which its scores are taken."""

    architecture_id: str
    values: dict[str, Any]
    epoch: int


def offer(
    session: Session, job_id: str, epoch: int, offered: Sequence[tuple[str, dict[str, Any]]], runner: str
) -> None:
    """Put a batch up, by id and values, in the order in which it is best claimed; what is up already stays as it is.

    What an earlier runner of the job had claimed is free at once: there is never more than one.

    Args:
        epoch: epoch of the job, which must still be this runner's.
        runner: the name under which runners of the job claim.
    """
    from sqlalchemy.dialects.postgresql import insert  # slow to import, not needed to start

    fenced_job(session, job_id, epoch)
    session.execute(
        update(SharedEvaluation)
        .where(SharedEvaluation.job_id == job_id, SharedEvaluation.lease_owner == runner)
        .values(lease_owner=None, lease_until=None)
    )
    rows = [
        {"job_id": job_id, "architecture_id": key, "values": values, "position": position, "epoch": 0, "attempts": 0}
        for position, (key, values) in enumerate(offered)
    ]
    session.execute(insert(SharedEvaluation).values(rows).on_conflict_do_nothing())


def claim(session: Session, job_id: str, owner: str, count: int, seconds: float) -> list[Claim]:
    """Take up to so many rows that nobody has scored or holds; empty when there are none, or the job has ended."""
    free = (
        select(SharedEvaluation.architecture_id)
        .join(Job, Job.id == SharedEvaluation.job_id)
        .where(
            SharedEvaluation.job_id == job_id,
            Job.state == "running",
            SharedEvaluation.metrics.is_(None),
            or_(SharedEvaluation.lease_until.is_(None), SharedEvaluation.lease_until < func.now()),
        )
        .order_by(SharedEvaluation.position)
        .limit(count)
        .with_for_update(skip_locked=True, of=SharedEvaluation)
    )
    taken = list(session.scalars(free))
    rows = session.execute(
        update(SharedEvaluation)
        .where(SharedEvaluation.job_id == job_id, SharedEvaluation.architecture_id.in_(taken))
        .values(
            lease_owner=owner,
            lease_until=func.now() + interval(seconds),
            epoch=SharedEvaluation.epoch + 1,
        )
        .returning(
            SharedEvaluation.position, SharedEvaluation.architecture_id, SharedEvaluation.values, SharedEvaluation.epoch
        )
    ).all()
    return [Claim(key, values, epoch) for _, key, values, epoch in sorted(rows, key=lambda row: row[0])]


def _held(job_id: str, held: Claim) -> tuple[ColumnElement[bool], ...]:
    """That a claim is still the newest of its architecture, and not delivered."""
    return (
        SharedEvaluation.job_id == job_id,
        SharedEvaluation.architecture_id == held.architecture_id,
        SharedEvaluation.epoch == held.epoch,
        SharedEvaluation.metrics.is_(None),
    )


def renew(session: Session, job_id: str, claims: Iterable[Claim], seconds: float) -> None:
    """Hold claims for longer; those that were lost stay lost."""
    for held in claims:
        session.execute(
            update(SharedEvaluation).where(*_held(job_id, held)).values(lease_until=func.now() + interval(seconds))
        )


def deliver(
    session: Session, job_id: str, held: Claim, metrics: dict[str, Any], sources: dict[str, Any], seconds: float
) -> bool:
    """Store the scores of a claimed architecture; False if the claim was lost."""
    taken = session.execute(
        update(SharedEvaluation)
        .where(*_held(job_id, held))
        .values(metrics=metrics, sources=sources, seconds=seconds, lease_owner=None, lease_until=None)
        .returning(SharedEvaluation.architecture_id)
    ).scalar_one_or_none()
    return taken is not None


def give_back(session: Session, job_id: str, claims: Iterable[Claim]) -> None:
    """Free claims that will not be evaluated."""
    renew(session, job_id, claims, 0.0)


def collect(session: Session, job_id: str, epoch: int, architecture_ids: Sequence[str]) -> list[SharedEvaluation]:
    """What is scored of these. The rows stay until `take_down`, so that nothing is lost between the two."""
    fenced_job(session, job_id, epoch)
    query = select(SharedEvaluation).where(
        SharedEvaluation.job_id == job_id,
        SharedEvaluation.architecture_id.in_(architecture_ids),
        SharedEvaluation.metrics.is_not(None),
    )
    return list(session.scalars(query))


def take_down(session: Session, job_id: str, epoch: int) -> None:
    """Forget a batch whose scores are all the job's."""
    fenced_job(session, job_id, epoch)
    session.execute(delete(SharedEvaluation).where(SharedEvaluation.job_id == job_id))


def helpers(session: Session, job_id: str, runner: str) -> int:
    """How many workers besides the job's runner hold claims now."""
    query = select(func.count(func.distinct(SharedEvaluation.lease_owner))).where(
        SharedEvaluation.job_id == job_id,
        SharedEvaluation.lease_owner != runner,
        SharedEvaluation.lease_until > func.now(),
    )
    return session.scalar(query) or 0


def wants_help(session: Session, job_id: str) -> bool:
    """Whether a job is searching now."""
    return (
        session.scalar(select(Job.id).where(Job.id == job_id, Job.state == "running", Job.stage == "search"))
        is not None
    )
