"""Operations: what Prometheus reads, what the doctor finds, and backups that can be restored."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, delete, text
from typer.testing import CliRunner

from service import db_commands, doctor
from service.api import events
from service.auth import keys
from service.cli import app
from service.consistency import compare
from service.embedded import EmbeddedServers
from service.folder_lock import FolderLock
from service.settings import Settings
from service.store import leases, nodes, schema
from service.store.models import Artifact, Job, WorkerNode
from service.store.nodes import NodeFacts
from service.store.session import Database, normalise_url
from tests.api import BASE, open_api
from tests.conftest import TINY_JOB


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with open_api(settings) as client:
        yield client


def test_metrics_tell_of_queues_leases_stages_requests_and_memory(api: TestClient, database: Database) -> None:
    job_id = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    with database.transaction() as session:
        assert leases.claim(session, Job, job_id, "a", -1) is not None  # runs out at once
    with database.transaction() as session:
        lease = leases.claim(session, Job, job_id, "b", 60)
        assert lease is not None
        job = session.get(Job, job_id)
        assert job is not None
        assert job.lease_expiries == 1
        job.stage_seconds = {"search": 2.5}
    api.get(f"/v1/jobs/{job_id}")
    told = api.get("/metrics").text
    for name in (
        *('winnow_jobs{state="queued"}', 'winnow_queue_depth{queue="jobs"}', 'winnow_wake_ups{queue="train"}'),
        *('winnow_oldest_wait_seconds{queue="exports"}', "winnow_lease_expiries_total", "winnow_workers"),
        *(
            'winnow_stage_seconds_total{stage="search"}',
            "winnow_evaluations_per_second",
            "process_resident_memory_bytes",
        ),
    ):
        assert re.search(rf"^{re.escape(name)}", told, re.MULTILINE), name
    counted = 'winnow_request_seconds_count{method="GET",route="/v1/jobs/{job_id}",status="2xx"} 1.0'
    assert counted in told
    assert job_id not in told


def test_ready_means_that_a_job_could_run(api: TestClient, database: Database, settings: Settings) -> None:
    with database.transaction() as session:
        session.execute(delete(WorkerNode))
    answer = api.get("/readyz")
    assert (answer.status_code, set(answer.json()["missing"])) == (503, {"worker"})
    with database.transaction() as session:
        nodes.beat(session, "w", 5, NodeFacts(("train",), (), 0, 1, {}))
    assert api.get("/readyz").json()["status"] == "ready"
    settings.artifacts_dir.parent.mkdir(exist_ok=True)
    (settings.artifacts_dir).rmdir()
    settings.artifacts_dir.write_text("a file")
    assert set(api.get("/readyz").json()["missing"]) == {"artifacts"}


def test_a_stream_ends_when_its_key_is_revoked(
    guarded: Settings, key_of: Callable[..., str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEY_SECONDS", 0.0)
    key = key_of("ada", "write")
    with open_api(guarded, key, base_url=BASE) as ada:
        job_id = ada.post("/v1/jobs", json=TINY_JOB).json()["id"]
        with database.transaction() as session:
            keys.revoke(session, key.split("_")[1])
        # Opened a moment before: the guard has let it in.
        monkeypatch.setattr(
            "service.auth.guard.keys.find", lambda session, _text: session.get(keys.ApiKey, key.split("_")[1])
        )
        with ada.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            assert (answer.status_code, list(answer.iter_lines())) == (200, [])


# --- the doctor ---------------------------------------------------------------------------------------


def found(settings: Settings) -> dict[str, doctor.Finding]:
    return {one.name: one for one in doctor.examine(settings)}


def test_the_doctor_knows_the_roots_of_a_winnow_up_that_runs(settings: Settings) -> None:
    silent = settings.model_copy(update={"data_roots": None})
    assert doctor._roots(silent).verdict == "warning"
    lock = FolderLock(settings.data_dir, "http://127.0.0.1:8420")
    try:
        assert (doctor._roots(silent).verdict, doctor._roots(silent).advice) == ("ok", "")
    finally:
        lock.release()


def test_the_doctor_says_what_is_wrong_and_what_to_do(settings: Settings, database: Database) -> None:
    with database.transaction() as session:
        nodes.beat(session, "w", 5, NodeFacts(("train",), (), 0, 1, {}))
    well = found(settings)
    for name in ("data folder", "data roots", "secrets", "database", "schema", "worker", "broker"):
        assert well[name].verdict == "ok", well[name]
    assert well["API"].verdict == "bad"  # none runs here
    (settings.data_dir / "admin.key").write_text("x")
    os.chmod(settings.data_dir / "admin.key", 0o644)
    ill = found(
        settings.model_copy(
            update={
                "database_url": "postgresql://127.0.0.1:1/x",
                "redis_url": "redis://127.0.0.1:1",
                "data_roots": "/nowhere-at-all",
            }
        )
    )
    for name in ("data roots", "secrets", "database", "broker"):
        assert ill[name].verdict == "bad", ill[name]
        assert ill[name].advice


# --- backups ------------------------------------------------------------------------------------------


@pytest.fixture
def scratch(servers: EmbeddedServers) -> Iterator[Database]:
    """A database of its own."""
    admin = create_engine(normalise_url(servers.database_url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE scratch"))
    made = Database(admin.url.set(database="scratch").render_as_string(hide_password=False))
    schema.upgrade(made.url)
    yield made
    made.close()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE scratch WITH (FORCE)"))
    admin.dispose()


def test_a_backup_is_restored_and_checked(
    scratch: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings.model_copy(update={"database_url": scratch.url})
    monkeypatch.setattr(db_commands, "get_settings", lambda: own)
    run, file = CliRunner(), tmp_path / "winnow.dump"
    with open_api(own) as client:
        job_id = client.post("/v1/jobs", json=TINY_JOB).json()["id"]

    def winnow(*words: Any) -> Any:
        return run.invoke(app, ["db", *map(str, words)])

    assert winnow("backup", file).exit_code == 0
    assert file.stat().st_mode & 0o077 == 0
    assert "is there already" in str(winnow("backup", file).exception)
    with scratch.transaction() as session:
        session.execute(delete(Job))
    assert "not empty" in str(winnow("restore", file).exception)
    done = winnow("restore", file, "--replace")
    assert done.exit_code == 0, done.output + str(done.exception)
    with scratch.transaction() as session:
        assert session.get(Job, job_id) is not None
        facts = {"kind": "supernet", "step": 1, "sha256": "0" * 64}
        for name, size in (("gone", 3), ("short", 3), ("whole", 3)):
            session.add(Artifact(job_id=job_id, path=f"supernets/{name}", size_bytes=size, **facts))
    folder = own.artifacts_dir / "supernets"
    folder.mkdir(parents=True)
    for name, content in (("short", b"12"), ("whole", b"123"), ("stray", b"1")):
        (folder / name).write_bytes(content)
    with scratch.transaction() as session:
        assert compare(session, own) == {
            "missing": ["supernets/gone"],
            "damaged": ["supernets/short"],
            "unknown": ["supernets/stray"],
        }
        assert compare(session, own, deep=True)["damaged"] == ["supernets/short", "supernets/whole"]
    checked = winnow("check")
    assert (checked.exit_code, "supernets/gone" in checked.output) == (1, True)


def test_jobs_are_sorted_and_paged_in_any_order(database, settings) -> None:
    with open_api(settings) as api:
        word = "sorting"
        for name, priority in (("b", 3), ("c", -1), ("a", 3)):
            api.post("/v1/jobs", json={**TINY_JOB, "name": f"{word} {name}", "priority": priority})

        def listed(sort: str, order: str) -> list[str]:
            names, cursor = [], None
            while True:
                asked = {
                    "sort": sort,
                    "order": order,
                    "limit": 1,
                    "text": word,
                    **({"cursor": cursor} if cursor else {}),
                }
                page = api.get("/v1/jobs", params=asked).json()
                names += [job["name"][-1] for job in page["jobs"]]
                if (cursor := page["next_cursor"]) is None:
                    return names

        assert listed("created", "desc") == ["a", "c", "b"]
        assert listed("name", "asc") == ["a", "b", "c"]
        assert listed("name", "desc") == ["c", "b", "a"]
        assert listed("priority", "asc")[0] == "c"
        assert set(listed("state", "desc")) == set(listed("progress", "asc")) == {"a", "b", "c"}
        first = api.get("/v1/jobs", params={"limit": 1, "text": word}).json()
        other = api.get("/v1/jobs", params={"sort": "name", "cursor": first["next_cursor"]})
        assert other.status_code == 422
        assert "sorted by 'created', not by 'name'" in other.json()["detail"]
        assert api.get("/v1/jobs?sort=shoe").status_code == 422
