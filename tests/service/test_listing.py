"""Rows of a list are written out once for jobs that have ended, and nobody sees an old one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, insert, update

from service.settings import Settings
from service.store.models import EvaluationRow, Finalist, Job, JobState
from service.store.session import Database
from tests.api import open_api
from tests.conftest import TINY_JOB


def listed(client: TestClient, job_id: str, **asked: Any) -> dict[str, Any] | None:
    """A job as the list has it; None: it is not in it."""
    jobs = client.get("/v1/jobs", params={"limit": 200, **asked}).json()["jobs"]
    return next((one for one in jobs if one["id"] == job_id), None)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """An API without a worker."""
    with open_api(settings) as api:
        yield api


@pytest.fixture
def ended(client: TestClient, database: Database) -> str:
    """A job that has succeeded and found a network."""
    job_id = client.post("/v1/jobs", json=TINY_JOB).json()["id"]
    with database.transaction() as session:
        found = {"job_id": job_id, "architecture_id": "a", "metrics": {"accuracy": 0.75}, "sources": {}}
        session.execute(insert(EvaluationRow).values(**found, number=1, values={}, seconds=0.1, epoch=1))
        session.execute(insert(Finalist).values(**found, position=1, measurements=[]))
        session.execute(update(Job).where(Job.id == job_id).values(state=JobState.SUCCEEDED))
    return str(job_id)


def test_a_list_says_what_the_job_says(client: TestClient, ended: str) -> None:
    alone = client.get(f"/v1/jobs/{ended}").json()
    for _ in range(2):  # once from the row, once as it was written out
        row = listed(client, ended)
        assert row is not None
        found = {name: row.pop(name) for name in ("evaluations", "front_size", "best_accuracy")}
        assert found == {"evaluations": 1, "front_size": 1, "best_accuracy": 0.75}
        assert {name: row[name] for name in alone} == alone


def test_a_job_that_has_ended_is_read_once(client: TestClient, database: Database, ended: str) -> None:
    listed(client, ended)
    read: list[str] = []

    def heard(_c: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "jobs.spec" in statement:
            read.append(str(parameters))

    event.listen(Engine, "before_cursor_execute", heard)
    try:
        assert listed(client, ended) is not None
    finally:
        event.remove(Engine, "before_cursor_execute", heard)
    assert not any(ended in one for one in read)


def test_what_is_changed_is_listed_at_once(client: TestClient, database: Database, ended: str) -> None:
    listed(client, ended)
    assert client.patch(f"/v1/jobs/{ended}", json={"notes": "kept"}).status_code == 200
    row = listed(client, ended)
    assert row is not None
    assert row["notes"] == "kept"
    assert client.delete(f"/v1/jobs/{ended}").status_code in (200, 202)
    assert listed(client, ended) is None
    row = listed(client, ended, deleted=True)
    assert row is not None
    assert row["verbs"] == ["restore"]


def test_a_job_that_is_taken_up_again_is_listed_as_it_is(client: TestClient, database: Database, ended: str) -> None:
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == ended).values(state=JobState.FAILED))
    assert listed(client, ended)["state"] == "failed"  # type: ignore[index]
    assert client.post(f"/v1/jobs/{ended}/retry").status_code == 200
    row = listed(client, ended)
    assert row is not None
    assert row["state"] == "queued"
    assert row["waits"]
