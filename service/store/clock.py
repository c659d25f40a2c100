"""What a clock of the database that was set back leaves behind, and how it is mended.

All times are the database's (see `leases`). If its clock is set back, by an administrator, by a machine that was
restored, a time that was "now" lies ahead: a dead worker's lease would run for as long as the clock was wrong, and
nobody would see that a worker is silent. A clock that is set ahead needs nothing: leases run out early, and their
owners stop.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from service.store.intervals import interval
from service.store.leases import LEASED, LeasedTable
from service.store.models import (
    ACTIVE_STATES,
    Base,
    Export,
    HealingShare,
    Job,
    Measurement,
    SharedEvaluation,
    Target,
    WorkerNode,
)

# Transactions that began later may have written a "now" that is a little ahead of this one's.
MARGIN_SECONDS = 5.0

LEASES: tuple[LeasedTable | type[SharedEvaluation], ...] = (*LEASED, SharedEvaluation)
# Times of rows whose silence, or whose waiting, somebody measures. None is ever ahead of a clock that only went on.
HAPPENED: tuple[tuple[type[Base], str], ...] = (
    (Job, "progressed_at"),
    (Job, "interrupted_at"),
    (Job, "queued_at"),
    (Export, "queued_at"),
    (Measurement, "queued_at"),
    (HealingShare, "queued_at"),
    (HealingShare, "progressed_at"),
    (WorkerNode, "seen_at"),
    (Target, "seen_at"),
)


def settle(session: Session, lease_seconds: float) -> int:
    """Bring back what lies ahead of the database's clock; the number of times that were brought back.

    A lease that runs for longer than a whole one runs for a whole one: its owner renews it, or is dead. Times of what
    has happened are moved together, so that whoever waited longest still goes first.

    Args:
        lease_seconds: length of a lease of this installation.
    """
    return sum(_shorten(session, table, lease_seconds) for table in LEASES) + sum(
        _move_back(session, table, name) for table, name in HAPPENED
    )


def _shorten(session: Session, table: LeasedTable | type[SharedEvaluation], seconds: float) -> int:
    too_long = table.lease_until > func.now() + interval(seconds + MARGIN_SECONDS)
    changed = update(table).where(too_long, *_unfinished(table))
    rows = session.execute(changed.values(lease_until=func.now() + interval(seconds)).returning(table.lease_until))
    return len(rows.all())


def _move_back(session: Session, table: type[Base], name: str) -> int:
    column, other = getattr(table, name), aliased(table)
    newest = select(func.max(getattr(other, name))).where(*_unfinished(other)).scalar_subquery()
    rows = session.execute(
        update(table)
        .where(column > func.now() + interval(MARGIN_SECONDS), *_unfinished(table))
        .values({name: column - (newest - func.now())})
        .returning(column)
    )
    return len(rows.all())


def _unfinished(table: type[Base]) -> tuple[ColumnElement[bool], ...]:
    """That a row still has work; of a table whose rows are no work, all are meant."""
    state: InstrumentedAttribute[str] | None = getattr(table, "state", None)
    return () if state is None else (state.in_(ACTIVE_STATES),)
