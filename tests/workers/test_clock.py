"""A clock of the database that was set back keeps nobody waiting, and changes no order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from job.spec import JobSpec
from service import jobs
from service.store import clock, leases, measuring, nodes
from service.store.models import Base, Export, HealingShare, Job, Measurement, SharedEvaluation, Target, WorkerNode
from service.store.nodes import NodeFacts
from service.store.session import Database
from tests.times import move_times

LEASE = 60.0


def submitted(database: Database) -> str:
    with database.transaction() as session:
        return jobs.submit(session, JobSpec.model_validate({}), None)[0].id


def set_back(database: Database, hours: float) -> None:
    with database.transaction() as session:
        move_times(session, 3600 * hours)


def settle(database: Database) -> int:
    with database.transaction() as session:
        return clock.settle(session, LEASE)


def seconds_ahead(database: Database, column: Any, row_id: str) -> float:
    ahead = func.extract("epoch", column - func.now())
    with database.transaction() as session:
        return float(session.scalar(select(ahead).where(column.class_.id == row_id)) or 0)


@pytest.mark.parametrize("hours", [0.1, 2.0, 24.0 * 400])
def test_the_lease_of_a_dead_worker_runs_for_one_whole_lease_at_most(database: Database, hours: float) -> None:
    job_id = submitted(database)
    with database.transaction() as session:
        assert leases.claim(session, Job, job_id, "dead", LEASE) is not None
    set_back(database, hours)
    assert seconds_ahead(database, Job.lease_until, job_id) > 300
    assert settle(database) > 0
    assert 0 < seconds_ahead(database, Job.lease_until, job_id) <= LEASE
    assert seconds_ahead(database, Job.progressed_at, job_id) <= 0
    assert settle(database) == 0


def test_whoever_waited_longest_still_goes_first_and_is_seen_to_wait(database: Database) -> None:
    waiting = [submitted(database) for _ in range(3)]
    with database.transaction() as session:
        for seconds, job_id in zip((30, 20, 10), waiting, strict=True):
            session.execute(
                update(Job).where(Job.id == job_id).values(queued_at=func.now() - timedelta(seconds=seconds))
            )
    set_back(database, 1)
    with database.transaction() as session:
        assert not set(waiting) & set(leases.unheld(session, Job, 5.0))
    settle(database)
    with database.transaction() as session:
        found = leases.unheld(session, Job, 5.0)
    assert [job_id for job_id in found if job_id in waiting][:2] == waiting[:2]


def test_a_silent_worker_and_a_silent_target_are_seen_to_be_silent(database: Database) -> None:
    with database.transaction() as session:
        nodes.beat(session, "back:1", 5, NodeFacts(("train",), (), 0, 10**9, {}))
        measuring.beat(session, "back", "back:1", {}, start=True)
    set_back(database, 3)
    settle(database)
    with database.transaction() as session:
        for table in (WorkerNode, Target):
            ahead = func.extract("epoch", func.max(table.seen_at) - func.now())
            assert float(session.scalar(select(ahead)) or 0) <= 0, table


def test_a_clock_that_only_goes_on_moves_nothing(database: Database) -> None:
    job_id = submitted(database)
    with database.transaction() as session:
        assert leases.claim(session, Job, job_id, "alive", LEASE) is not None
    settle(database)
    before = seconds_ahead(database, Job.lease_until, job_id)
    assert settle(database) == 0
    assert before - 5 < seconds_ahead(database, Job.lease_until, job_id) <= before


def test_every_time_that_somebody_waits_by_is_settled() -> None:
    """A new leased table, or a new heartbeat, belongs to it as well."""
    leased = {table.class_ for table in Base.registry.mappers if hasattr(table.class_, "lease_until")}
    assert leased == set(clock.LEASES) == {Job, Export, Measurement, HealingShare, SharedEvaluation}
    waited_by = ("seen_at", "progressed_at", "interrupted_at", "queued_at")
    named = {(each.class_, name) for each in Base.registry.mappers for name in waited_by if hasattr(each.class_, name)}
    assert named == set(clock.HAPPENED)
