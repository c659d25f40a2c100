"""Networks of a job in stage `heal` that other workers may heal: rows with leases of their own (decision 0156).

The job's runner offers them all, and then takes those that nobody holds, one after the other. Its supervisor's claim
makes a worker a helper of one network. A helper writes into the job under the number of its claim, as if the job's own
runner wrote, so that whoever takes a network up after it goes on from its last checkpoint.

Whatever changes the claim of a row locks the row of its job first.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from service.store import leases, nodes, queries, records
from service.store.intervals import interval
from service.store.leases import Lease, LeaseLost
from service.store.models import WORKING_STATES, HealingShare, Job, JobState, WorkerNode
from service.store.records import HealedNetwork, HealingPoint

# What a helper is to do by the state of the job; in all others it goes on.
LEAVES = (JobState.PAUSING, JobState.PAUSED, JobState.QUEUED)
ENDS = (JobState.CANCELLING, JobState.CANCELLED, JobState.FAILED, JobState.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class Turn:
    """What the job's runner is to do next.

    Attributes:
        mine: the network that it heals now; None: others heal all that are left.
        left: how many networks are not done, this one among them.
    """

    mine: str | None
    left: int


# --- the job's runner ------------------------------------------------------------------------------


def offer(session: Session, job_id: str, epoch: int, names: Sequence[str]) -> None:
    """Let other workers have these networks; those that are offered already stay with whoever has them.

    Raises:
        LeaseLost: the job is somebody else's.
    """
    from sqlalchemy.dialects.postgresql import insert  # slow to import, not needed to start

    queries.fenced_job(session, job_id, epoch)
    rows = [
        {"id": secrets.token_hex(8), "job_id": job_id, "architecture_id": name, "position": position}
        for position, name in enumerate(names)
    ]
    if rows:
        session.execute(insert(HealingShare).values(rows).on_conflict_do_nothing())


def next_turn(session: Session, job_id: str, epoch: int, names: Sequence[str]) -> Turn:
    """Take the first of these networks that is not healed and that no helper holds.

    Raises:
        LeaseLost: the job is somebody else's.
    """
    queries.fenced_job(session, job_id, epoch)
    healed, held = _healed(session, job_id), _held(session, job_id)
    # A helper says that a network is healed before it has put everything away.
    left = [name for name in names if name in held or name not in healed]
    mine = next((name for name in left if name not in held), None)
    if mine is not None:
        taken = (HealingShare.job_id == job_id, HealingShare.architecture_id == mine)
        session.execute(delete(HealingShare).where(*taken))
    return Turn(mine, len(left))


def done(session: Session, job_id: str) -> tuple[int, float]:
    """How many networks of a job are healed, and what helpers have done of others, in networks."""
    healed, held = _healed(session, job_id), _held(session, job_id)
    return len(healed), sum(share for name, share in held.items() if name not in healed)


def helped(session: Session, job_id: str) -> int:
    """How many workers help a job to heal now."""
    return len(_held(session, job_id))


def take_down(session: Session, job_id: str, epoch: int, names: Sequence[str]) -> None:
    """Nobody may heal a network of the job any more; helpers lose their claims.

    Args:
        names: the job's networks in their order. What is known of them stands in it, whoever was first.

    Raises:
        LeaseLost: the job is somebody else's.
    """
    queries.fenced_job(session, job_id, epoch)
    session.execute(delete(HealingShare).where(HealingShare.job_id == job_id))
    places = {name: place for place, name in enumerate(names)}
    records.sort(session, job_id, HealedNetwork, lambda one: places.get(one.architecture_id, len(places)))
    records.sort(session, job_id, HealingPoint, lambda one: (places.get(one.architecture_id, len(places)), one.step))


# --- helpers ---------------------------------------------------------------------------------------


def claim_next(session: Session, worker: WorkerNode, seconds: float) -> Lease | None:
    """Take the lease of the next network that this worker may heal; None if there is none."""
    order = (Job.priority.desc(), HealingShare.queued_at, HealingShare.position)
    free = select(HealingShare.id, HealingShare.job_id).join(Job).where(*_wanted()).order_by(*order).limit(1)
    candidate = session.execute(free.where(*nodes.met_by(worker))).one_or_none()
    if candidate is None:
        return None
    # Nobody else claims, or takes back, while the job is locked; what was true before it need not be any more.
    queries.locked_job(session, candidate.job_id)
    share_id = session.scalar(free.with_only_columns(HealingShare.id).where(HealingShare.job_id == candidate.job_id))
    lease = None if share_id is None else leases.claim(session, HealingShare, share_id, worker.name, seconds)
    if lease is not None:
        leases.set_running(session, HealingShare, lease.id)
        begun = {"progress": 0.0, "progressed_at": func.now()}
        session.execute(update(HealingShare).where(HealingShare.id == lease.id).values(begun))
    return lease


def wanted(session: Session, waiting_seconds: float) -> list[str]:
    """Jobs that have a network which a helper could take and that nobody has taken for so long."""
    patient = HealingShare.queued_at < func.now() - interval(waiting_seconds)
    return list(session.scalars(select(HealingShare.job_id).distinct().join(Job).where(*_wanted(), patient)))


def fence(session: Session, share_id: str, epoch: int, job_id: str) -> Job:
    """The job of a helper, locked, if its claim is still the newest.

    Raises:
        LeaseLost: it is not.
    """
    job = queries.locked_job(session, job_id)
    share = session.get(HealingShare, share_id, populate_existing=True)
    if job is None or share is None or share.epoch != epoch:
        raise LeaseLost(f"network {share_id} of job {job_id}: epoch {epoch} is over")
    return job


def advance(session: Session, share_id: str, epoch: int, progress: float) -> JobState:
    """A helper has done this share of its network; the state of its job.

    Raises:
        LeaseLost: its claim is not the newest any more.
    """
    job_id = session.execute(
        update(HealingShare)
        .where(HealingShare.id == share_id, HealingShare.epoch == epoch)
        .values(progress=progress, progressed_at=func.now())
        .returning(HealingShare.job_id)
    ).scalar_one_or_none()
    state = None if job_id is None else session.scalar(select(Job.state).where(Job.id == job_id))
    if state is None:
        raise LeaseLost(f"network {share_id}: epoch {epoch} is over")
    return state


def has_ended(session: Session, share_id: str) -> bool:
    """Whether the job of a network is over, or is to be, so that nobody waits for it."""
    state = session.scalar(select(Job.state).join(HealingShare).where(HealingShare.id == share_id))
    return state in ENDS


def drop(session: Session, share_id: str, epoch: int, why: str) -> bool:
    """A helper has died: whoever is first goes on with its network. False if the claim was not the newest any more.

    Args:
        why: how it died, in a sentence.
    """
    share, job = _locked(session, share_id)
    if share is None or job is None or not leases.release(session, HealingShare, share_id, epoch):
        return False
    text = f"{why} The healing of {share.architecture_id} goes on from what is stored."
    queries.add_event(session, job, "message", {"level": "warning", "text": text})
    return True


def put_away(session: Session, share_id: str, epoch: int, why: str | None = None) -> None:
    """No helper may have a network any more: it is healed, or the job's own runner has to.

    Args:
        why: no helper could, in a sentence; None: it is healed.
    """
    share, job = _locked(session, share_id)
    gone = delete(HealingShare).where(HealingShare.id == share_id, HealingShare.epoch == epoch)
    if session.execute(gone.returning(HealingShare.id)).one_or_none() is None or why is None:
        return
    if share is not None and job is not None:
        text = f"{why} The job's own worker heals {share.architecture_id}."
        queries.add_event(session, job, "message", {"level": "warning", "text": text})


# --- both ------------------------------------------------------------------------------------------


def _locked(session: Session, share_id: str) -> tuple[HealingShare | None, Job | None]:
    share = session.get(HealingShare, share_id)
    return share, None if share is None else queries.locked_job(session, share.job_id)


def _healed(session: Session, job_id: str) -> set[str]:
    return {one.architecture_id for one in records.read(session, job_id, HealedNetwork)}


def _held(session: Session, job_id: str) -> dict[str, float]:
    """Networks that helpers hold, and how much of each they have done."""
    held = (HealingShare.job_id == job_id, HealingShare.lease_until > func.now())
    rows = session.execute(select(HealingShare.architecture_id, HealingShare.progress).where(*held))
    return {name: share for name, share in rows}  # noqa: C416 - a Result has `keys()`


def _wanted() -> tuple[ColumnElement[bool], ...]:
    """Conditions on networks and their jobs: free ones, of jobs that go on and have fewer helpers than they ask for."""
    held = aliased(HealingShare)
    helping = (
        select(func.count())
        .where(held.job_id == Job.id, held.lease_until > func.now())
        .correlate(Job)
        .scalar_subquery()
    )
    return (
        Job.state.in_(WORKING_STATES),
        Job.deleted_at.is_(None),
        or_(HealingShare.lease_until.is_(None), HealingShare.lease_until <= func.now()),
        Job.spec["healing"]["helpers"].as_integer() > helping,
    )
