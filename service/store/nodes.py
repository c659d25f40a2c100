"""Rows of workers: who is there, what they have, and which jobs they may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    and_,
    any_,
    cast,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from service.store.intervals import interval
from service.store.leases import Lease, claim, waiting_since
from service.store.models import ACTIVE_STATES, HealingShare, Job, WorkerNode, among_ids

# A worker that is silent for four of its beats, and for so long, is gone.
SILENT_SECONDS, SILENT_BEATS = 20.0, 4
# Rows of workers that are gone are forgotten after so long.
FORGOTTEN_SECONDS = 86400.0
# Candidates that are tried in one go: others may take them meanwhile.
AT_ONCE = 8


# The queue of machines that wait to train along with a job: its id is their label, their rank one of their facts.
JOIN = "join"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a worker has.

    Attributes:
        queues: that it listens to.
        facts: host, cores, names of GPUs, versions.
    """

    queues: tuple[str, ...]
    labels: tuple[str, ...]
    gpus: int
    memory_bytes: int
    facts: Mapping[str, Any]


def beat(session: Session, name: str, beat_seconds: float, has: NodeFacts) -> None:
    """A worker says that it is there."""
    from sqlalchemy.dialects.postgresql import insert  # slow to import, not needed to start

    values = {
        "beat_seconds": beat_seconds,
        "queues": list(has.queues),
        "labels": list(has.labels),
        "gpus": has.gpus,
        "memory_bytes": has.memory_bytes,
        "facts": dict(has.facts),
    }
    session.execute(
        insert(WorkerNode)
        .values(name=name, is_draining=False, **values)
        .on_conflict_do_update(index_elements=["name"], set_={**values, "seen_at": func.now()})
    )


def drain(session: Session, name: str) -> None:
    """A worker takes nothing new from now on."""
    session.execute(update(WorkerNode).where(WorkerNode.name == name).values(is_draining=True, seen_at=func.now()))


def goodbye(session: Session, name: str) -> None:
    """A worker ends in order."""
    session.execute(delete(WorkerNode).where(WorkerNode.name == name))


def is_draining(session: Session, name: str) -> bool:
    """Whether a worker is to give back what it has."""
    return session.scalar(select(WorkerNode.is_draining).where(WorkerNode.name == name)) is True


def is_online() -> ColumnElement[bool]:
    """A condition on workers, by the database's clock."""
    patience = func.greatest(SILENT_SECONDS, SILENT_BEATS * WorkerNode.beat_seconds)
    return WorkerNode.seen_at > func.now() - interval(patience)


def all_workers(session: Session) -> Sequence[tuple[WorkerNode, bool]]:
    """All workers by name, and whether each is online."""
    rows = session.execute(select(WorkerNode, is_online()).order_by(WorkerNode.name))
    return [(row, bool(there)) for row, there in rows]


def online(session: Session, queue: str | None = None) -> list[WorkerNode]:
    """Workers that are there and take jobs; of one queue if it is named."""
    query = select(WorkerNode).where(is_online(), WorkerNode.is_draining.is_(False)).order_by(WorkerNode.name)
    rows = session.scalars(query)
    return [row for row in rows if queue is None or queue in row.queues]


def holders(session: Session, visible: ColumnElement[bool] | None = None) -> dict[str, tuple[str, str]]:
    """Worker -> id and name of the job that it runs, or that it helps to heal.

    Args:
        visible: which jobs are meant; None: all.
    """
    meant = (Job.state.in_(ACTIVE_STATES), *(() if visible is None else (visible,)))
    helps = select(HealingShare.lease_owner, Job.id, Job.name).join(Job).where(HealingShare.lease_until > func.now())
    runs = select(Job.lease_owner, Job.id, Job.name).where(Job.lease_until > func.now())
    found = [row for query in (helps, runs) for row in session.execute(query.where(*meant).order_by(Job.id))]
    return {owner: (job_id, name) for owner, job_id, name in found if owner}


def forget_gone(session: Session) -> None:
    """Drop the rows of workers that have been gone for long."""
    age = interval(FORGOTTEN_SECONDS)
    session.execute(delete(WorkerNode).where(WorkerNode.seen_at < func.now() - age))


def meets(job: Job, worker: WorkerNode) -> bool:
    """Whether a worker has what a job needs."""
    enough = worker.gpus >= job.needs_gpus and worker.memory_bytes >= job.needs_memory_gb * 1e9
    return enough and set(job.needs_labels) <= set(worker.labels)


def joined(session: Session, job_id: str) -> set[int]:
    """Ranks of the machines that are there to train along with a job."""
    rows = session.scalars(select(WorkerNode).where(is_online(), any_(WorkerNode.labels) == job_id))
    return {int(row.facts["rank"]) for row in rows if JOIN in row.queues}


def _has_its_machines() -> ColumnElement[bool]:
    """A condition on jobs: those that train on several machines wait, without a worker, until all others are there."""
    hosts = func.coalesce(Job.spec["training"]["hosts"].as_integer(), 1)
    rank = WorkerNode.facts["rank"].as_integer()
    there = (
        select(func.count(func.distinct(rank)))
        .where(is_online(), any_(WorkerNode.queues) == JOIN, Job.id == any_(WorkerNode.labels))
        # One that joins by a wrong number is there until it is told so.
        .where(rank.between(1, hosts - 1))
        .correlate(Job)
        .scalar_subquery()
    )
    return or_(hosts == 1, Job.spec["supernet"]["reuse"].as_string().is_not(None), hosts - 1 <= there)


def waiting_jobs(worker: WorkerNode | None = None) -> tuple[ColumnElement[bool], ...]:
    """Conditions on jobs that wait for a worker, and whose needs this one meets; without one: all that wait."""
    unheld = and_(Job.state.in_(ACTIVE_STATES), Job.lease_until.is_(None) | (Job.lease_until < func.now()))
    if worker is None:
        return (unheld, Job.deleted_at.is_(None))
    return (unheld, Job.deleted_at.is_(None), *met_by(worker), _has_its_machines())


def met_by(worker: WorkerNode) -> tuple[ColumnElement[bool], ...]:
    """Conditions on jobs: those whose needs a worker meets."""
    labels = cast(list(worker.labels), Job.needs_labels.type)
    return (
        Job.needs_gpus <= worker.gpus,
        Job.needs_memory_gb * 1e9 <= worker.memory_bytes,
        Job.needs_labels.bool_op("<@")(labels) if worker.labels else func.cardinality(Job.needs_labels) == 0,
    )


def _order() -> tuple[Subquery, Sequence[Any]]:
    """Jobs that each key has running, and the order in which jobs are taken up beside that: those that matter most, of
    keys that have the fewest running, then whoever has waited longest."""
    held = aliased(Job)
    running = (
        select(held.owner_id, func.count().label("count"))
        .where(held.state.in_(ACTIVE_STATES), held.lease_until > func.now())
        .group_by(held.owner_id)
        .subquery()
    )
    return running, (Job.priority.desc(), func.coalesce(running.c.count, 0), waiting_since(Job), Job.id)


def places(session: Session, job_ids: Sequence[str]) -> dict[str, int]:
    """Places of waiting jobs in the queue, from 1."""
    rows = session.execute(_places(), {"ids": list(job_ids)})
    return {job_id: number for job_id, number in rows}  # noqa: C416 - a Result has `keys()`


@cache
def _places() -> Select[str, int]:
    """The statement of `places`, which takes longer to build than to answer."""
    running, order = _order()
    place = func.row_number().over(order_by=order).label("place")
    queue = (
        select(Job.id, place)
        .outerjoin(running, running.c.owner_id.is_not_distinct_from(Job.owner_id))
        .where(*waiting_jobs())
        .subquery()
    )
    return select(queue.c.id, queue.c.place).where(among_ids(queue.c.id))


def claim_next(session: Session, worker: WorkerNode, seconds: float) -> Lease | None:
    """Take the lease of the job that is to be taken up next by this worker; None if there is none for it."""
    running, order = _order()
    query = (
        select(Job.id)
        .outerjoin(running, running.c.owner_id.is_not_distinct_from(Job.owner_id))
        .where(*waiting_jobs(worker))
        .order_by(*order)
        .limit(AT_ONCE)
    )
    for job_id in session.scalars(query).all():
        lease = claim(session, Job, job_id, worker.name, seconds)
        if lease is not None:
            return lease
    return None
