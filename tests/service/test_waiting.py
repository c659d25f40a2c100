"""Why jobs wait, which worker takes which, and what their logs say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import any_, delete, text, update

from service import jobs
from service.settings import Settings
from service.store import leases, nodes
from service.store.models import Job, JobLog, WorkerNode
from service.store.nodes import NodeFacts
from service.store.session import Database
from tests.api import open_api
from tests.conftest import TINY_JOB
from workers.launch import Joined


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[TestClient]:
    """An API with no worker and no job of other tests."""
    with database.transaction() as session:
        session.execute(delete(WorkerNode))
        session.execute(delete(Job))
    with open_api(settings) as client:
        yield client


def submitted(api: TestClient, **parts: Any) -> str:
    answer = api.post("/v1/jobs", json={**TINY_JOB, **parts})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def worker(database: Database, name: str, **has: Any) -> WorkerNode:
    """A worker that is there."""
    facts = {"labels": (), "gpus": 0, "memory_bytes": 10**9, "facts": {}, "queues": ("train",), **has}
    with database.transaction() as session:
        nodes.beat(session, name, 5, NodeFacts(**facts))
    with database.transaction() as session:
        row = session.get(WorkerNode, name)
        assert row is not None
        session.expunge(row)
        return row


def waits(api: TestClient, job_id: str) -> str | None:
    found: str | None = api.get(f"/v1/jobs/{job_id}").json()["waits"]
    return found


def taken(database: Database, row: WorkerNode) -> str | None:
    with database.transaction() as session:
        lease = nodes.claim_next(session, row, 60)
        return None if lease is None else lease.id


def test_a_job_says_why_it_waits_and_behind_whom(api: TestClient, database: Database) -> None:
    first, second = submitted(api, name="first"), submitted(api)
    assert "No worker is there" in str(waits(api, first))
    node = worker(database, "a:1")
    assert waits(api, first) == "A worker takes it up within seconds."
    assert taken(database, node) == first
    assert waits(api, first) is None
    said = str(waits(api, second))
    assert f"busy with {first} (first)" in said
    assert "Place 1 in the queue" in said
    listed = {job["id"]: job["waits"] for job in api.get("/v1/jobs").json()["jobs"]}
    assert (listed[first], listed[second] is not None) == (None, True)

    needy = submitted(api, needs={"gpus": 2, "memory_gb": 64, "labels": ["fast"]})
    assert "No worker has what it needs (gpus 2, memory 64 GB, label fast)" in str(waits(api, needy))
    assert [one["state"] for one in api.get("/v1/workers").json()["workers"]] == ["online"]
    assert api.get("/v1/workers").json()["workers"][0]["job_id"] == first


def test_a_worker_that_went_away_is_waited_for(api: TestClient, database: Database) -> None:
    job_id, node = submitted(api), worker(database, "a:1")
    assert taken(database, node) == job_id
    with database.transaction() as session:
        lease = leases.claim(session, Job, job_id, "x", 60)
        assert lease is None
        session.execute(
            update(Job)
            .where(Job.id == job_id)
            .values(state="running", lease_until=text("now() - interval '5 minutes'"))
        )
        session.execute(update(Job).where(Job.id == job_id).values(started_at=text("now() - interval '1 hour'")))
        session.execute(update(WorkerNode).values(seen_at=text("now() - interval '1 hour'")))
    said = str(waits(api, job_id))
    assert said.startswith("Its worker went away. No worker is there")
    assert "waited for 5 min" in said
    assert [one["state"] for one in api.get("/v1/workers").json()["workers"]] == ["offline"]


def test_a_worker_takes_only_what_it_can_and_draining_ones_nothing(api: TestClient, database: Database) -> None:
    fast = submitted(api, needs={"gpus": 1, "labels": ["fast"]})
    plain = submitted(api)
    weak, strong = worker(database, "weak:1"), worker(database, "strong:1", gpus=1, labels=("fast", "big"))
    assert [taken(database, weak), taken(database, weak)] == [plain, None]
    assert taken(database, strong) == fast
    with database.transaction() as session:
        nodes.drain(session, "strong:1")
        assert nodes.is_draining(session, "strong:1")
        assert [row.name for row in nodes.online(session)] == ["weak:1"]


def test_a_training_on_several_machines_takes_no_slot_before_all_are_there(api: TestClient, database: Database) -> None:
    wide = submitted(api, training={"epochs": 2, "hosts": 3, "batch_size": 96})
    small, node = submitted(api), worker(database, "a:1")
    assert [taken(database, node), taken(database, node)] == [small, None]
    assert f"run `winnow join {wide} --rank N` for N = 1, 2." in str(waits(api, wide))
    second = [Joined(database, Settings(poll_seconds=1), wide, 1) for _ in range(2)]
    # The same rank twice is one machine, and a rank that the training does not have is none.
    for machine in (*second, Joined(database, Settings(poll_seconds=1), wide, 7)):
        machine._job()
    assert taken(database, node) is None
    assert "for N = 2." in str(waits(api, wide))
    Joined(database, Settings(poll_seconds=1), wide, 2)._job()
    assert taken(database, node) == wide
    assert waits(api, wide) is None
    # One that is gone counts no more, and a job that searches what is trained needs none.
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == wide).values(lease_until=None))
        session.execute(
            update(WorkerNode).where(any_(WorkerNode.labels) == wide).values(seen_at=text("now() - interval '1 hour'"))
        )
    assert taken(database, node) is None
    with database.transaction() as session:
        job = session.get(Job, wide)
        assert job is not None
        job.spec = {**job.spec, "supernet": {"reuse": "abc"}}
    assert taken(database, node) == wide


def test_keys_share_workers_and_priorities_go_first(
    api: TestClient, guarded: Settings, key_of: Any, database: Database
) -> None:
    node = worker(database, "a:1")
    with open_api(guarded, key_of("ada", "write"), base_url="http://127.0.0.1") as ada:
        many = [submitted(ada) for _ in range(3)]
    with open_api(guarded, key_of("bob", "write"), base_url="http://127.0.0.1") as bob:
        one = submitted(bob)
        urgent = submitted(bob, priority=7)
    # The urgent one; then ada, who has nothing running; then by age, as both have one.
    assert [taken(database, node) for _ in range(5)] == [urgent, many[0], many[1], one, many[2]]


def test_the_interrupted_job_that_waits_longest_goes_first(api: TestClient, database: Database) -> None:
    ids, node = [submitted(api) for _ in range(3)], worker(database, "a:1")
    with database.transaction() as session:
        for job_id, minutes in zip(ids, (1, 9, 4), strict=True):
            gone = text(f"now() - interval '{minutes} minutes'")
            session.execute(update(Job).where(Job.id == job_id).values(state="running", lease_until=gone))
    assert [taken(database, node) for _ in ids] == [ids[1], ids[2], ids[0]]


# --- logs ---------------------------------------------------------------------------------------------


def logged(database: Database, job_id: str, *lines: tuple[str, str]) -> None:
    with database.transaction() as session:
        for level, said in lines:
            session.add(JobLog(job_id=job_id, epoch=1, level=level, stage="search", step=3, text=said))


def test_logs_are_filtered_paged_and_followed_to_the_end(api: TestClient, database: Database) -> None:
    job_id = submitted(api)
    logged(database, job_id, ("info", "begins"), ("warning", "50% of it"), ("error", "broken"), ("info", "ends"))

    def texts(**asked: Any) -> list[str]:
        return [line["text"] for line in api.get(f"/v1/jobs/{job_id}/logs", params=asked).json()["lines"]]

    assert texts() == ["begins", "50% of it", "broken", "ends"]
    assert texts(level="warning") == ["50% of it", "broken"]
    assert texts(search="BRO") == ["broken"]
    assert texts(search="%") == ["50% of it"]
    assert texts(limit=2, last=True) == ["broken", "ends"]
    page = api.get(f"/v1/jobs/{job_id}/logs", params={"limit": 3}).json()
    assert texts(after=page["next_after"]) == ["ends"]
    assert {(line["stage"], line["step"], line["epoch"]) for line in page["lines"]} == {("search", 3, 1)}
    for wrong in ({"level": "loud"}, {"after": -1}, {"limit": 0}, {"follow": "maybe"}):
        assert api.get(f"/v1/jobs/{job_id}/logs", params=wrong).status_code == 422
    assert api.get("/v1/jobs/ffffffffffff/logs").status_code == 404

    with database.transaction() as session:
        jobs.cancel(session, job_id)
    with api.stream("GET", f"/v1/jobs/{job_id}/logs", params={"follow": True, "level": "error"}) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data:")]
    assert [json.loads(line[5:])["text"] for line in lines] == ["broken"]
