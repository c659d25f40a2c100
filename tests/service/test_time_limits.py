"""Nobody holds or waits for a row of PostgreSQL, or for a connection to it, without end."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError

from service import jobs
from service.settings import Settings
from service.store import session as connections
from service.store.models import Job
from service.store.session import Database
from tests.api import open_api
from tests.conftest import TINY_JOB


@pytest.fixture
def hurried(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose connections have little patience."""
    for name, seconds in (("LOCK_TIMEOUT", 1), ("IDLE_IN_TRANSACTION", 2), ("POOL_TIMEOUT", 1)):
        monkeypatch.setattr(connections, f"{name}_SECONDS", seconds)
    monkeypatch.setattr(connections, "POOL_SIZE", 2)
    monkeypatch.setattr(connections, "POOL_OVERFLOW", 0)
    return settings


def test_the_server_keeps_the_limits_of_every_connection(settings: Settings) -> None:
    database = Database(settings.database_url or "")
    with database.engine.connect() as connection:
        found = {
            name: connection.scalar(text(f"SHOW {name}"))
            for name in ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout")
        }
        raw = connection.connection.driver_connection
        parameters = raw.info.get_parameters()  # type: ignore[union-attr]
    database.close()
    assert found == {
        "lock_timeout": f"{connections.LOCK_TIMEOUT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{connections.IDLE_IN_TRANSACTION_SECONDS}s",
        "statement_timeout": f"{connections.STATEMENT_TIMEOUT_SECONDS // 60}min",
    }
    assert {name: parameters[name] for name in connections.KEEPALIVES} == {
        name: str(value) for name, value in connections.KEEPALIVES.items()
    }


def test_options_of_the_url_are_kept(settings: Settings) -> None:
    url = f"{settings.database_url}&options=-c%20application_name%3Dmine"
    database = Database(url)
    with database.engine.connect() as connection:
        assert connection.scalar(text("SHOW application_name")) == "mine"
        assert connection.scalar(text("SHOW lock_timeout")) == f"{connections.LOCK_TIMEOUT_SECONDS}s"
    database.close()


def test_a_frozen_holder_of_a_row_costs_others_a_503_and_loses_it(hurried: Settings) -> None:
    """A process that was frozen within a transaction: verbs on its job are refused in time, and soon they work."""
    frozen = Database(hurried.database_url or "")
    with open_api(hurried) as api:
        job_id = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
        transaction = frozen._sessions()
        transaction.execute(update(Job).where(Job.id == job_id).values(progress=0.5))
        answer = api.post(f"/v1/jobs/{job_id}/pause")
        assert answer.status_code == 503
        assert answer.headers["retry-after"].isdigit()
        assert "lock timeout" in answer.json()["detail"]
        assert api.get("/v1/jobs").status_code == 200  # nobody else noticed
        deadline = time.monotonic() + 30
        while (answer := api.post(f"/v1/jobs/{job_id}/pause")).status_code == 503:
            assert time.monotonic() < deadline
        assert answer.json()["state"] == "paused"
        assert answer.json()["progress"] == 0.0
    # What it gets when it goes on is what workers take for a database that was away: try again.
    with pytest.raises(OperationalError, match="idle-in-transaction"):
        transaction.execute(text("SELECT 1"))
    transaction.close()
    frozen.close()


def test_requests_beyond_the_pool_are_told_to_come_again(hurried: Settings) -> None:
    with open_api(hurried) as api:
        assert api.get("/v1/jobs").status_code == 200
        database: Database = api.app.state.database  # type: ignore[attr-defined]
        held = [database.engine.connect() for _ in range(2)]
        answer = api.get("/v1/jobs")
        assert answer.status_code == 503
        assert "in use" in answer.json()["detail"]
        assert answer.headers["retry-after"].isdigit()
        assert api.get("/healthz").status_code == 200
        for connection in held:
            connection.close()
        assert api.get("/v1/jobs").status_code == 200


def test_a_statement_does_not_run_for_ever(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STATEMENT_TIMEOUT_SECONDS", 1)
    database = Database(settings.database_url or "")
    with pytest.raises(DBAPIError, match="statement timeout"), database.transaction() as session:
        session.execute(text("SELECT pg_sleep(30)"))
    database.close()


def test_two_submissions_of_one_key_wait_for_each_other_and_no_longer(hurried: Settings) -> None:
    """The lock that a quota takes is a lock as any other."""
    from service.auth import keys
    from service.auth.keys import Quota

    database = Database(hurried.database_url or "")
    with database.transaction() as session:
        row, key = keys.create(session, "ada", "write", quota=Quota(jobs=1))
    with open_api(hurried.model_copy(update={"auth": "on"}), key, base_url="http://127.0.0.1") as api:
        answers: list[int] = []
        together = [
            threading.Thread(target=lambda: answers.append(api.post("/v1/jobs", json=TINY_JOB).status_code))
            for _ in range(2)
        ]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
        assert sorted(answers) == [201, 403]
    with database.transaction() as session:
        (job,) = session.scalars(select(Job).where(Job.owner_id == row.id))
        jobs.cancel(session, job.id)
    database.close()
