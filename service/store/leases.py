"""Leases: at most one worker per row, and a number that unmasks whoever lost it.

All times are the database's clock. See docs/decisions/0002.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, select, update
from sqlalchemy.orm import Session

from service.store.intervals import interval
from service.store.models import ACTIVE_STATES, Export, ExportState, HealingShare, Job, Measurement, RowState

# Tables whose rows one worker at a time may work on.
LeasedTable = type[Job | Export | Measurement | HealingShare]
LEASED: tuple[LeasedTable, ...] = (Job, Export, Measurement, HealingShare)


class LeaseLost(Exception):
    """A fenced write touched no row: somebody else holds the lease, or the row is finished. Stop."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on a row: the epoch to write with, and how often the row was tried without progress."""

    id: str
    epoch: int
    attempts: int
    state: RowState


def claim(session: Session, table: LeasedTable, row_id: str, owner: str, seconds: float) -> Lease | None:
    """Take the lease of a row that needs work and that nobody holds.

    One UPDATE decides between any number of claimants: the second finds the lease taken.

    Returns:
        The lease; None if the row is finished, paused, unknown, or held by somebody else.
    """
    row = session.execute(
        update(table)
        .where(
            table.id == row_id,
            table.state.in_(ACTIVE_STATES),
            or_(table.lease_until.is_(None), table.lease_until < func.now()),
        )
        .values(
            lease_owner=owner,
            lease_until=func.now() + interval(seconds),
            epoch=table.epoch + 1,
            attempts=table.attempts + 1,
            **(_taken_up() if table is Job else {}),
        )
        .returning(table.id, table.epoch, table.attempts, table.state)
    ).one_or_none()
    return None if row is None else Lease(*row)


def _taken_up() -> dict[str, Any]:
    """What a job notes when it is claimed: a lease that ran out is a worker that went away."""
    ran_out = case((Job.lease_until.is_not(None), 1), else_=0)
    return {
        "progressed_at": func.now(),
        "interrupted_at": None,
        "lease_expiries": Job.lease_expiries + ran_out,
    }


def renew(session: Session, table: LeasedTable, row_id: str, epoch: int, seconds: float) -> RowState:
    """Extend a lease; returns the row's state, which is how pause, stop and cancel reach the worker.

    Raises:
        LeaseLost: the epoch is no longer the row's, or the row is finished.
    """
    state = session.execute(
        update(table)
        .where(table.id == row_id, table.epoch == epoch, table.state.in_(ACTIVE_STATES))
        .values(lease_until=func.now() + interval(seconds))
        .returning(table.state)
    ).scalar_one_or_none()
    if state is None:
        raise LeaseLost(f"{table.__tablename__} {row_id}: epoch {epoch} is over")
    return state


def peek(session: Session, table: LeasedTable, row_id: str, epoch: int) -> RowState:
    """The row's state without renewing its lease.

    Raises:
        LeaseLost: the epoch is no longer the row's, or the row is finished.
    """
    state = session.scalar(
        select(table.state).where(table.id == row_id, table.epoch == epoch, table.state.in_(ACTIVE_STATES))
    )
    if state is None:
        raise LeaseLost(f"{table.__tablename__} {row_id}: epoch {epoch} is over")
    return state


def release(session: Session, table: LeasedTable, row_id: str, epoch: int) -> bool:
    """End a lease before its time. False if it was not this epoch's or the row is finished."""
    released = session.execute(
        update(table)
        .where(table.id == row_id, table.epoch == epoch, table.state.in_(ACTIVE_STATES))
        .values(lease_owner=None, lease_until=None, **_interrupted(table))
        .returning(table.id)
    ).scalar_one_or_none()
    return released is not None


def finish(
    session: Session, table: type[Export | Measurement], row_id: str, epoch: int, values: Mapping[str, Any]
) -> None:
    """End an export or a measurement, if this epoch still holds it.

    Raises:
        LeaseLost: it does not.
    """
    done = session.execute(
        update(table)
        .where(table.id == row_id, table.epoch == epoch, table.state.in_(ACTIVE_STATES))
        .values(finished_at=func.now(), lease_owner=None, lease_until=None, **values)
        .returning(table.id)
    ).scalar_one_or_none()
    if done is None:
        raise LeaseLost(f"{table.__name__.lower()} {row_id}: epoch {epoch} is over")


def made_progress(session: Session, table: LeasedTable, row_id: str) -> None:
    """A run of a row has stored something, so attempts start again."""
    session.execute(update(table).where(table.id == row_id).values(attempts=0))


def set_running(session: Session, table: type[Export | Measurement | HealingShare], row_id: str) -> None:
    """A worker has claimed a row that is no job."""
    session.execute(update(table).where(table.id == row_id).values(state=ExportState.RUNNING))


def release_all(session: Session, owner: str) -> None:
    """Give back every lease of a worker that is shutting down, so that others need not wait."""
    for table in LEASED:
        session.execute(
            update(table).where(table.lease_owner == owner, table.state.in_(ACTIVE_STATES)).values(**_given_back(table))
        )


def give_back(session: Session, table: LeasedTable, row_id: str, epoch: int) -> bool:
    """End the lease of a row whose worker leaves in order: no failure of the row. False if it was not this epoch's."""
    returned = session.execute(
        update(table)
        .where(table.id == row_id, table.epoch == epoch, table.state.in_(ACTIVE_STATES))
        .values(**_given_back(table))
        .returning(table.id)
    ).scalar_one_or_none()
    return returned is not None


def _given_back(table: LeasedTable) -> dict[str, Any]:
    """What a row is whose worker leaves in order, which is no failure of the row."""
    attempts = func.greatest(table.attempts - 1, 0)
    return {"lease_owner": None, "lease_until": None, "attempts": attempts, **_interrupted(table)}


def _interrupted(table: LeasedTable) -> dict[str, Any]:
    """That a row waits for another worker from now on."""
    return {"interrupted_at": func.now()} if table is Job else {}


def held_by(session: Session, owner: str) -> int:
    """Number of rows that a worker holds."""
    return sum(
        session.scalar(
            select(func.count())
            .select_from(table)
            .where(table.lease_owner == owner, table.lease_until > func.now(), table.state.in_(ACTIVE_STATES))
        )
        or 0
        for table in LEASED
    )


def unheld(session: Session, table: LeasedTable, waiting_seconds: float) -> list[str]:
    """Rows that need work and that no worker holds, in the order in which they are to be taken up: lost leases, and
    wake-ups that nobody heard."""
    patience = func.now() - interval(waiting_seconds)
    rows = session.scalars(
        select(table.id)
        .where(
            table.state.in_(ACTIVE_STATES),
            or_(
                table.lease_until < func.now(),
                table.lease_until.is_(None) & (table.queued_at < patience),
            ),
        )
        .order_by(*_order(table))
    )
    return list(rows)


def waiting_since(table: LeasedTable) -> ColumnElement[datetime]:
    """Since when a row that nobody holds waits for a worker: its lease ran out, was given back, or never was."""
    interrupted = (table.lease_until, Job.interrupted_at) if table is Job else (table.lease_until,)
    return func.coalesce(*interrupted, table.queued_at)


def _order(table: LeasedTable) -> tuple[ColumnElement[Any], ...]:
    """Who goes first: of jobs those that matter most, then whoever has waited longest."""
    priority = (Job.priority.desc(),) if table is Job else ()
    return (*priority, waiting_since(table), table.id)
