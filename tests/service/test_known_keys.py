"""Keys are remembered for moments: fewer questions to the database, and a revoked key is out all the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, select

from service.auth import keys, known, trail
from service.auth.keys import NOBODY, Identity
from service.auth.known import KnownKeys
from service.auth.trail import Trail
from service.settings import Settings
from service.store.models import AuditRow
from service.store.session import Database
from tests.api import BASE, open_api
from tests.conftest import TINY_JOB


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(known, "time", clock)
    return clock


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Statements that a pool's connections execute."""
    found: list[str] = []

    def heard(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        found.append(" ".join(statement.split()))

    event.listen(database.engine, "before_cursor_execute", heard)
    yield found
    event.remove(database.engine, "before_cursor_execute", heard)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def live(api: TestClient) -> Database:
    """The API's database, once it hears of revoked keys."""
    app: Any = api.app
    until(lambda: bool(app.state.notices.live))
    return app.state.database  # type: ignore[no-any-return]


def test_a_known_key_asks_nobody_who_it_is(guarded: Settings, key_of: Callable[..., str]) -> None:
    with open_api(guarded, key_of("ada", "write"), base_url=BASE) as api:
        database = live(api)
        assert api.get("/v1/jobs").status_code == 200
        with statements(database) as found:
            assert api.get("/v1/jobs").status_code == 200
    assert found
    assert not [one for one in found if "api_keys" in one]


def test_a_submitted_job_costs_four_statements(guarded: Settings, key_of: Callable[..., str]) -> None:
    """The row, its event, who hears of it, and the trail."""
    with open_api(guarded, key_of("ada", "write"), base_url=BASE) as api:
        database = live(api)
        assert api.post("/v1/jobs", json=TINY_JOB).status_code == 201
        with statements(database) as found:
            assert api.post("/v1/jobs", json=TINY_JOB).status_code == 201
    assert len(found) <= 4, found


def test_a_key_that_another_process_revokes_is_out(
    guarded: Settings, key_of: Callable[..., str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "SECONDS", 3600.0)  # only a notice helps
    key = key_of("ada", "write")
    key_of("an admin that stays", "admin")
    with open_api(guarded, key, base_url=BASE) as api:
        live(api)
        assert api.get("/v1/jobs").status_code == 200
        with database.transaction() as session:
            keys.revoke(session, key.split("_")[1])
        until(lambda: api.get("/v1/jobs").status_code == 401)


def test_a_key_that_this_process_revokes_is_out_at_once(admin: TestClient, key_of: Callable[..., str]) -> None:
    live(admin)
    for number in range(5):
        key = key_of(f"ada {number}", "read")
        as_ada = {"Authorization": f"Bearer {key}"}
        assert admin.get("/v1/jobs", headers=as_ada).status_code == 200
        assert admin.delete(f"/v1/keys/{key.split('_')[1]}").status_code == 200
        assert admin.get("/v1/jobs", headers=as_ada).status_code == 401


def test_nothing_is_remembered_while_nothing_is_told(clock: Clock) -> None:
    told = True
    found = KnownKeys(lambda: told)
    found.keep("k", NOBODY, found.age, None)
    assert found.get("k") is NOBODY
    told = False
    assert found.get("k") is None


def test_a_key_is_remembered_for_moments_and_not_beyond_its_end(clock: Clock) -> None:
    found = KnownKeys(lambda: True)
    for text, seconds in (("for ever", None), ("for a second", 1.0), ("over", -1.0)):
        found.keep(text, NOBODY, found.age, seconds)
    assert [found.get(text) is not None for text in ("for ever", "for a second", "over", "unknown")] == [
        True,
        True,
        False,
        False,
    ]
    clock.now += 1.5
    assert [found.get(text) is not None for text in ("for ever", "for a second")] == [True, False]
    clock.now += known.SECONDS
    assert found.get("for ever") is None


def test_what_was_looked_up_before_a_notice_is_not_kept_after_it(clock: Clock) -> None:
    found = KnownKeys(lambda: True)
    age = found.age
    found.forget()
    found.keep("k", NOBODY, age, None)
    assert found.get("k") is None


def test_it_does_not_grow_without_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST", 3)
    found = KnownKeys(lambda: True)
    for number in range(10):
        found.keep(str(number), NOBODY, found.age, None)
    assert len(found._known) <= 3
    assert found.get("9") == Identity(None, "nobody", None)


# --- the trail ------------------------------------------------------------------------------------------


def test_rows_that_come_together_are_each_written_once(database: Database) -> None:
    written, name = Trail(database), "many at once"
    threads = [
        Thread(target=written.write, args=({"key_name": name, "method": "PUT", "path": f"/{n}", "status": 200},))
        for n in range(30)
    ]
    with statements(database) as found:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with database.transaction() as session:
        paths = session.scalars(select(AuditRow.path).where(AuditRow.key_name == name)).all()
    assert sorted(paths) == sorted(f"/{n}" for n in range(30))
    assert len(found) <= len(threads)


def test_rows_that_cannot_be_written_are_told_to_the_log(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"key_name": "ada", "method": "PUT", "path": "/x", "status": 200}
    written = Trail(database)
    with monkeypatch.context() as patch:
        patch.setattr(database.engine, "begin", lambda: (_ for _ in ()).throw(trail.SQLAlchemyError("away")))
        written.write(row)
    assert "not in the audit trail: PUT /x by ada, 200" in caplog.text
    written.write({**row, "path": "/later"})
    with database.transaction() as session:
        assert session.scalar(select(AuditRow.path).where(AuditRow.path == "/later")) == "/later"
