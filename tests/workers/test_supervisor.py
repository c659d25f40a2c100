"""What a supervisor does with a child that does not listen, or that dies: a real PostgreSQL, a clock of its own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from job.spec import JobSpec
from service import jobs
from service.settings import Settings
from service.store import leases, nodes, queries
from service.store.models import Job, JobLog, WorkerNode
from service.store.nodes import NodeFacts
from service.store.session import Database
from workers import children, supervisor
from workers.supervisor import Supervisor


class Clock:
    """Seconds that pass only where somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Deaf:
    """A child that works on whatever its row says, and takes its time to end.

    Args:
        asks: called as it begins to be waited for the third time.
    """

    def __init__(self, clock: Clock, ends_on: signal.Signals, asks: object) -> None:
        self._clock, self._ends_on, self._asks = clock, ends_on, asks
        self.code: int | None = None
        self.waited = 0

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None:
            self.waited += 1
            if self.waited == 3:
                assert callable(self._asks)
                self._asks()
            self._clock.now += timeout or 0
            raise subprocess.TimeoutExpired("a runner", timeout or 0)
        return self.code

    def terminate(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if number == self._ends_on:
            self.code = -number


@pytest.fixture
def job_id(database: Database) -> str:
    """A queued job."""
    with database.transaction() as session:
        return jobs.submit(session, JobSpec.model_validate({}), None)[0].id


def job_of(database: Database, job_id: str) -> Job:
    with database.transaction() as session:
        job = session.get(Job, job_id)
        assert job is not None
        session.expunge(job)
        return job


@pytest.mark.parametrize("ends_on", [signal.SIGTERM, signal.SIGKILL])
def test_a_runner_that_does_not_listen_is_stopped_within_five_seconds_of_a_cancel(
    database: Database, settings: Settings, job_id: str, monkeypatch: pytest.MonkeyPatch, ends_on: signal.Signals
) -> None:
    clock, asked = Clock(), 0.0

    def cancel() -> None:
        nonlocal asked
        asked = clock.now
        with database.transaction() as session:
            jobs.cancel(session, job_id)

    child = Deaf(clock, ends_on, cancel)
    monkeypatch.setattr(supervisor, "time", clock)
    monkeypatch.setattr(children, "start", lambda _command, _output: child)
    Supervisor(database, settings, "a worker").run("job", job_id)
    assert job_of(database, job_id).state == "cancelled"
    assert child.code == -ends_on
    assert clock.now - asked < 5


def test_a_runner_that_dies_each_time_fails_its_job_with_the_reason_and_the_end_of_its_log(
    database: Database, settings: Settings, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, started = Clock(), []

    def start(command: Sequence[str], output: Path) -> Deaf:
        started.append(list(command))
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("a") as file:
            file.write(f"last words {len(started)}\n")
        child = Deaf(clock, signal.SIGKILL, lambda: None)
        child.kill()
        return child

    monkeypatch.setattr(children, "start", start)
    Supervisor(database, settings, "a worker").run("job", job_id)
    job = job_of(database, job_id)
    assert job.state == "failed"
    assert job.message is not None
    assert f"died {settings.max_attempts} times in a row" in job.message
    assert f"last words {settings.max_attempts}" in job.message
    assert [command[-1] for command in started] == [str(n + 1) for n in range(settings.max_attempts)]
    with database.transaction() as session:
        told = queries.events_after(session, job_id, 0, 1000)
        said = [event.data["text"] for event in told if event.kind == "message"]
    assert sum("killed by SIGKILL" in one for one in said) == settings.max_attempts


def test_a_poisonous_job_fails_with_how_each_attempt_ended(
    database: Database, settings: Settings, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = iter([-signal.SIGKILL, 1, -signal.SIGSEGV])

    def start(_command: Sequence[str], _output: Path) -> Deaf:
        child = Deaf(Clock(), signal.SIGKILL, lambda: None)
        child.code = next(ends)
        return child

    monkeypatch.setattr(children, "start", start)
    Supervisor(database, settings, "a worker").run("job", job_id)
    job = job_of(database, job_id)
    assert job.state == "failed"
    for number, reason in enumerate(("killed by SIGKILL", "exit code 1", "killed by SIGSEGV"), 1):
        assert f"Attempt {number}, in the beginning: {reason}" in (job.message or "")
    assert [(one["attempt"], one["stage"]) for one in job.failures] == [(n, "the beginning") for n in (1, 2, 3)]
    with database.transaction() as session:
        errors = session.scalars(select(JobLog.text).where(JobLog.job_id == job_id, JobLog.level == "error")).all()
    assert len(errors) == 3


@pytest.mark.parametrize(("silent", "is_stopped"), [(100, False), (2000, True)])
def test_a_runner_that_lives_and_makes_no_progress_is_stopped_recorded_and_started_again(
    database: Database,
    settings: Settings,
    job_id: str,
    monkeypatch: pytest.MonkeyPatch,
    silent: int,
    is_stopped: bool,
) -> None:
    clock, started = Clock(), []

    def freeze() -> None:
        with database.transaction() as session:
            earlier = text(f"now() - interval '{silent} seconds'")
            session.execute(update(Job).where(Job.id == job_id).values(progressed_at=earlier, stage="search"))

    def start(_command: Sequence[str], _output: Path) -> Deaf:
        started.append(Deaf(clock, signal.SIGKILL, freeze if not started else lambda: None))
        if len(started) > 1 or not is_stopped:
            started[-1].code = 0
        return started[-1]

    monkeypatch.setattr(supervisor, "time", clock)
    monkeypatch.setattr(children, "start", start)
    Supervisor(database, settings, "a worker").run("job", job_id)
    failures = job_of(database, job_id).failures
    if is_stopped:
        assert [child.code for child in started] == [-signal.SIGKILL, 0]
        assert [(one["attempt"], one["stage"]) for one in failures] == [(1, "search")]
        assert "no progress for" in failures[0]["reason"]
    else:
        assert (len(started), failures) == (1, [])


def test_a_worker_that_drains_lets_its_runner_leave_and_takes_nothing_new(
    database: Database, settings: Settings, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, name = Clock(), f"drained:{job_id}"
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(priority=100))
        nodes.beat(session, name, 5, NodeFacts(("train",), (), 0, 10**12, {}))

    def drain() -> None:
        with database.transaction() as session:
            nodes.drain(session, name)

    child = Deaf(clock, signal.SIGTERM, drain)
    monkeypatch.setattr(supervisor, "time", clock)
    monkeypatch.setattr(children, "start", lambda _command, _output: child)
    with database.transaction() as session:
        worker = session.get(WorkerNode, name)
        assert worker is not None
        session.expunge(worker)
    Supervisor(database, settings, name).serve(worker)
    job = job_of(database, job_id)
    assert child.code == -signal.SIGTERM
    assert (job.lease_owner, job.attempts, job.failures) == (None, 0, [])
    assert job.interrupted_at is not None
    with database.transaction() as session:
        assert leases.held_by(session, name) == 0
