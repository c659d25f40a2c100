"""At most one worker per row, and whoever lost the lease cannot write."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text, update

from job.spec import JobSpec
from service import jobs
from service.store import leases, queries
from service.store.leases import LeaseLost
from service.store.models import EvaluationRow, Job
from service.store.session import Database


@pytest.fixture
def job_id(database: Database) -> str:
    """A queued job."""
    with database.transaction() as session:
        job, _ = jobs.submit(session, JobSpec.model_validate({}), None)
        return job.id


def claim(database: Database, job_id: str, owner: str = "a") -> leases.Lease | None:
    with database.transaction() as session:
        return leases.claim(session, Job, job_id, owner, 60)


def run_out(database: Database, job_id: str) -> None:
    """Let the time of a job's lease pass."""
    with database.transaction() as session:
        earlier = Job.lease_until - text("interval '2 minutes'")
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=earlier))


def score(session: queries.Session, job_id: str, epoch: int, architecture_id: str = "x") -> None:
    row = EvaluationRow(architecture_id=architecture_id, values={}, metrics={}, sources={}, seconds=0.1)
    queries.add_evaluation(session, job_id, epoch, row, {})


def test_of_many_claimants_one_gets_the_lease(database: Database, job_id: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: claim(database, job_id, f"worker {n}"), range(8)))
    assert sum(lease is not None for lease in got) == 1


def test_expired_lease_goes_to_the_next_with_a_higher_epoch(database: Database, job_id: str) -> None:
    first = claim(database, job_id)
    assert claim(database, job_id) is None
    run_out(database, job_id)
    second = claim(database, job_id)
    assert first is not None
    assert second is not None
    assert second.epoch == first.epoch + 1


def test_writer_that_lost_its_lease_cannot_write(database: Database, job_id: str) -> None:
    first = claim(database, job_id)
    run_out(database, job_id)
    second = claim(database, job_id)
    assert first is not None
    assert second is not None
    for write in (
        lambda session: score(session, job_id, first.epoch),
        lambda session: leases.renew(session, Job, job_id, first.epoch, 60),
        lambda session: queries.set_progress(
            session, job_id, first.epoch, stage="search", progress=0.5, stage_progress=0.5
        ),
    ):
        with pytest.raises(LeaseLost), database.transaction() as session:
            write(session)
    with database.transaction() as session:
        assert not queries.evaluations(session, job_id)
        score(session, job_id, second.epoch)
    with database.transaction() as session:
        assert len(queries.evaluations(session, job_id)) == 1


def test_architecture_stored_twice_counts_once(database: Database, job_id: str) -> None:
    lease = claim(database, job_id)
    assert lease is not None
    for architecture_id in ("x", "x", "y"):
        with database.transaction() as session:
            score(session, job_id, lease.epoch, architecture_id)
    with database.transaction() as session:
        assert [row.number for row in queries.evaluations(session, job_id)] == [1, 2]
        events = [e for e in queries.events_after(session, job_id, 0, 100) if e.kind == "evaluation"]
    assert len(events) == 2


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_terminal_state_always_wins(database: Database, job_id: str, state: str) -> None:
    lease = claim(database, job_id)
    assert lease is not None
    with database.transaction() as session:
        queries.set_state(session, queries.fenced_job(session, job_id, lease.epoch), state, None)
    assert claim(database, job_id) is None
    with pytest.raises(LeaseLost), database.transaction() as session:
        leases.renew(session, Job, job_id, lease.epoch, 60)


def test_reaper_finds_lost_leases_and_unheard_wake_ups_only(database: Database, job_id: str) -> None:
    def waiting(patience: float) -> bool:
        with database.transaction() as session:
            return job_id in leases.unheld(session, Job, patience)

    assert not waiting(60)
    with database.transaction() as session:
        earlier = Job.queued_at - text("interval '2 minutes'")
        session.execute(update(Job).where(Job.id == job_id).values(queued_at=earlier))
    assert waiting(60)
    claim(database, job_id)
    assert not waiting(60)
    run_out(database, job_id)
    assert waiting(60)


def test_release_of_a_stopping_worker_frees_its_rows_alone(database: Database, job_id: str) -> None:
    with database.transaction() as session:
        other, _ = jobs.submit(session, JobSpec.model_validate({}), None)
    claim(database, job_id, owner="stopping")
    claim(database, other.id, owner="working")
    with database.transaction() as session:
        leases.release_all(session, "stopping")
    assert claim(database, job_id) is not None
    assert claim(database, other.id) is None


def test_events_of_concurrent_writers_have_no_gaps(database: Database, job_id: str) -> None:
    lease = claim(database, job_id)
    assert lease is not None

    def add(number: int) -> None:
        with database.transaction() as session:
            job = queries.fenced_job(session, job_id, lease.epoch)
            queries.add_event(session, job, "message", {"number": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    with database.transaction() as session:
        assert [e.seq for e in queries.events_after(session, job_id, 0, 100)] == list(range(1, 42))
