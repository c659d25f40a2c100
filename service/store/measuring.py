"""Rows of measuring: targets, requests to measure, and what layers and networks cost where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from service.store.intervals import interval
from service.store.models import ACTIVE_STATES, ExportState, Latency, Measurement, Target

# A machine that is silent for so long is offline; it beats every few seconds.
OFFLINE_SECONDS = 20.0

# --- targets -----------------------------------------------------------------------------------------


def targets(session: Session) -> Sequence[Target]:
    """All registered targets by name."""
    return session.scalars(select(Target).order_by(Target.name)).all()


def target(session: Session, name: str) -> Target | None:
    """A registered target."""
    return session.get(Target, name)


def online(session: Session, name: str) -> bool:
    """Whether a machine's heartbeat is fresh, by the database's clock."""
    fresh = Target.seen_at > func.now() - interval(OFFLINE_SECONDS)
    return session.scalar(select(fresh).where(Target.name == name)) is True


def beat(session: Session, name: str, owner: str, facts: Mapping[str, Any], *, start: bool = False) -> str | None:
    """A machine says that it is there. Returns who else serves the name now, in which case nothing is written.

    A node that starts again on the same host takes its name over from the one that died there.

    Args:
        owner: `host:node`.
        start: whether this is the node's first word.
    """
    from sqlalchemy.dialects.postgresql import insert  # slow to import, not needed to start

    stale = or_(
        Target.seen_at.is_(None),
        Target.seen_at < func.now() - interval(OFFLINE_SECONDS),
    )
    free = [Target.owner == owner, Target.owner.is_(None), stale]
    if start:
        free.append(Target.owner.startswith(owner.split(":")[0] + ":", autoescape=True))
    statement = insert(Target).values(name=name, kind="machine", owner=owner, facts=dict(facts), seen_at=func.now())
    written = session.execute(
        statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"owner": owner, "facts": dict(facts), "seen_at": func.now()},
            where=(Target.kind == "machine") & or_(*free),
        ).returning(Target.name)
    ).scalar_one_or_none()
    if written is not None:
        return None
    row = session.get(Target, name)
    assert row is not None
    return "an uploaded table" if row.kind == "table" else str(row.owner)


def goodbye(session: Session, name: str, owner: str) -> None:
    """A machine ends in order: it is offline at once."""
    session.execute(update(Target).where(Target.name == name, Target.owner == owner).values(seen_at=None, owner=None))


def forget_target(session: Session, name: str) -> None:
    """Remove a target; what was measured on it stays, under its device."""
    session.execute(delete(Target).where(Target.name == name))


def waiting_measurements(session: Session, name: str) -> int:
    """Requests that this target has not finished."""
    return (
        session.scalar(
            select(func.count())
            .select_from(Measurement)
            .where(Measurement.target == name, Measurement.state.in_(ACTIVE_STATES))
        )
        or 0
    )


# --- requests ----------------------------------------------------------------------------------------


def give_up_requests(session: Session, job_id: str) -> None:
    """A job that starts again asks anew: what it asked before it was killed need not be measured."""
    session.execute(
        update(Measurement)
        .where(Measurement.job_id == job_id, Measurement.state.in_(ACTIVE_STATES))
        .values(state=ExportState.FAILED, message="its job started again and asked anew", finished_at=func.now())
    )


# --- what was measured -------------------------------------------------------------------------------


def latencies(session: Session, place: str, kind: str, subjects: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Results by subject, of those that were measured in a place."""
    rows = session.execute(
        select(Latency.subject, Latency.results).where(
            Latency.place == place, Latency.kind == kind, Latency.subject.in_(subjects)
        )
    )
    return {subject: results for subject, results in rows}  # noqa: C416 - a Result has `keys()`


def remember_latency(session: Session, row: Mapping[str, Any]) -> None:
    """Store results; those that somebody else stored meanwhile stay."""
    from sqlalchemy.dialects.postgresql import insert  # slow to import, not needed to start

    session.execute(insert(Latency).values(**row).on_conflict_do_nothing(index_elements=["place", "kind", "subject"]))
