"""Artifacts in a store of objects: against a server that speaks S3, and against a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import boto3
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from typer.testing import CliRunner

from pipeline.artifacts import ArtifactDamaged, ArtifactStore
from service import consistency, depot, removal
from service.cli import app
from service.depot import Depot, depot_of
from service.errors import Unavailable
from service.jobs import request_export
from service.readiness import check_artifacts
from service.settings import Settings
from service.store.models import Artifact, EvaluationRow, Export, ExportState, Job, JobState
from service.store.session import Database
from tests.api import BASE, open_api
from tests.conftest import TINY_JOB

BUCKET = "winnow-tests"
TENSORS = {"weight": torch.arange(6.0)}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3, with a bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    _, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        given = {"ENDPOINT_URL": f"http://127.0.0.1:{port}", "ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "secret"}
        for name, value in {**given, "DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(f"AWS_{name}", value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        S3FileSystem.clear_instance_cache()  # it keeps clients, those of an earlier module's server too
        yield f"s3://{BUCKET}/{{}}"
    server.stop()


@pytest.fixture(params=["s3", "folder"])
def url(request: pytest.FixtureRequest, s3: str, tmp_path: Path) -> str:
    return s3.format(tmp_path.name) if request.param == "s3" else f"file://{tmp_path}/store"


def written(folder: Path, name: str, content: bytes) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_what_one_machine_saves_another_one_loads(url: str, tmp_path: Path) -> None:
    here, there = (ArtifactStore(tmp_path / name, Depot(url, tmp_path / name)) for name in ("here", "there"))
    file = here.save("supernets/a.safetensors", TENSORS, {"winnow": "{}"})
    assert torch.equal(there.load(file.path, file.sha256)["weight"], TENSORS["weight"])
    assert there.metadata(file.path, file.sha256) == {"winnow": "{}"}
    # A damaged file of the folder gives way to what was written.
    (tmp_path / "there" / file.path).write_bytes(b"something else")
    assert torch.equal(there.load(file.path, file.sha256)["weight"], TENSORS["weight"])
    assert [path.name for path in (tmp_path / "there" / "supernets").iterdir()] == ["a.safetensors"]
    # Nothing is served whose digest is not the recorded one, and what is nowhere is missing.
    with pytest.raises(ArtifactDamaged, match="missing"):
        there.load("supernets/b.safetensors", "0" * 64)
    there.remove(file.path)
    here.remove(file.path, file.sha256)
    with pytest.raises(ArtifactDamaged, match="missing"):
        there.load(file.path, file.sha256)


def test_an_object_that_is_not_what_was_written_is_never_used(tmp_path: Path) -> None:
    store = Depot(f"file://{tmp_path}/store", tmp_path / "here")
    sha256 = written(tmp_path / "here", "a", b"what was written")
    store.keep("a", sha256)
    (stored,) = store.objects()
    assert (stored.sha256, stored.size_bytes) == (sha256, 16)
    (tmp_path / "store" / "objects" / sha256[:2] / sha256).write_bytes(b"what was altered")
    (tmp_path / "here" / "a").unlink()
    assert not store.bring("a", sha256)
    assert list((tmp_path / "here").iterdir()) == []


def test_a_file_that_was_cut_off_on_its_way_is_sent_again(tmp_path: Path) -> None:
    store = Depot(f"file://{tmp_path}/store", tmp_path / "here")
    sha256 = written(tmp_path / "here", "a", b"what was written")
    store.keep("a", sha256)
    (tmp_path / "store" / "objects" / sha256[:2] / sha256).write_bytes(b"what")
    store.keep("a", sha256)
    (tmp_path / "here" / "a").unlink()
    assert store.bring("a", sha256)


def test_a_store_that_is_away_is_asked_again_and_then_named(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    store, pauses = Depot(s3.format("away"), tmp_path, patience=30), []

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            pauses.append(seconds)
            self.now += seconds

    def away(*_: object) -> None:
        raise ConnectionError("refused")

    sha256 = written(tmp_path, "a", b"content")
    monkeypatch.setattr(depot, "time", Clock())
    monkeypatch.setattr(store._files, "exists", away)
    with pytest.raises(Unavailable, match=r"s3://.*/away cannot be reached: ConnectionError: refused"):
        store.keep("a", sha256)
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert store.bring("a", sha256)  # what is in the folder needs no store
    gone = settings.model_copy(update={"artifacts_url": f"s3://no-such-bucket-{tmp_path.name}/x"})
    with pytest.raises(Unavailable, match=r"s3://no-such-bucket.* cannot be reached"):
        check_artifacts(gone)


@pytest.mark.parametrize("named", ["nonsense://x", "s4://bucket"])
def test_a_store_that_cannot_be_is_refused_at_the_start(settings: Settings, named: str) -> None:
    with pytest.raises(ValueError, match=r"WINNOW_ARTIFACTS_URL is .* cannot be opened"):
        depot_of(settings.model_copy(update={"artifacts_url": named}))


def test_requests_that_fetch_the_same_file_at_once_both_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Depot(f"file://{tmp_path}/store", tmp_path / "here", patience=0)
    sha256 = written(tmp_path / "here", "exports/x", b"an archive")
    store.keep("exports/x", sha256)
    (tmp_path / "here/exports/x").unlink()
    get_file, both = LocalFileSystem.get_file, Barrier(2, timeout=30)

    def at_once(self: LocalFileSystem, *given: Any, **options: Any) -> None:
        get_file(self, *given, **options)
        both.wait()

    monkeypatch.setattr(LocalFileSystem, "get_file", at_once)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda _: store.bring("exports/x", sha256), range(2))) == [True, True]
    assert [path.name for path in (tmp_path / "here/exports").iterdir()] == ["x"]


def test_a_password_in_the_url_is_not_said(settings: Settings, tmp_path: Path) -> None:
    store = Depot("memory://u:secret@host/winnow", tmp_path, patience=0)
    refused = [str(store._away(OSError("memory://u:secret@host/winnow is away"))), store.url]
    with pytest.raises(ValueError, match="cannot be opened") as error:
        depot_of(settings.model_copy(update={"artifacts_url": "nonsuch://u:secret@host/winnow"}))
    assert not any("secret" in said for said in (*refused, str(error.value)))
    assert all("u:***@host" in said for said in (*refused, str(error.value)))


# --- with rows -----------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(settings: Settings, url: str) -> Settings:
    """An installation whose artifacts are in a store."""
    return settings.model_copy(update={"artifacts_url": url})


def with_export(database: Database, settings: Settings, content: bytes) -> tuple[str, str, str]:
    """A finished job with an export whose archive only the store has; its id, the export's and the digest."""
    with open_api(settings, base_url=BASE) as api:
        job_id = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    archive = f"exports/{job_id}/x.tar.gz"
    sha256 = written(settings.artifacts_dir, archive, content)
    store = depot_of(settings)
    assert store is not None
    store.keep(archive, sha256)
    (settings.artifacts_dir / archive).unlink()
    facts = {"archive": archive, "folder": f"exports/{job_id}/x", "sha256": sha256, "size_bytes": len(content)}
    with database.transaction() as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.state = JobState.SUCCEEDED
        facts_of_it = {"number": 1, "values": {}, "metrics": {}, "sources": {}, "seconds": 0.1, "epoch": 1}
        session.add(EvaluationRow(job_id=job_id, architecture_id="a1", **facts_of_it))
        row = {"path": "supernets/x", "sha256": "1" * 64, "size_bytes": 1}
        session.add(Artifact(job_id=job_id, kind="supernet", step=1, **row))
        made = Export(
            id=f"e{job_id[:20]}", job_id=job_id, architecture_id="a1", formats="", state=ExportState.SUCCEEDED, **facts
        )
        session.add(made)
    return job_id, made.id, sha256


def test_an_api_without_the_file_downloads_it(database: Database, elsewhere: Settings) -> None:
    job_id, export_id, _ = with_export(database, elsewhere, b"an archive")
    with open_api(elsewhere, base_url=BASE) as api:
        assert api.get(f"/v1/exports/{export_id}/download").content == b"an archive"
    # Asked for again, it is not made again.
    (elsewhere.artifacts_dir / "exports" / job_id / "x.tar.gz").unlink()
    with database.transaction() as session:
        export, waits = request_export(session, job_id, "a1", elsewhere.artifacts_dir, depot_of(elsewhere))
        assert (export.id, waits) == (export_id, False)
        missing = consistency.compare(session, elsewhere)["missing"]  # of rows of other tests too
        assert "supernets/x" in missing
        assert export.archive not in missing


def test_objects_go_with_the_last_row_that_names_them(database: Database, elsewhere: Settings) -> None:
    job_id, _, sha256 = with_export(database, elsewhere, b"the same archive")
    other, _, same = with_export(database, elsewhere, b"the same archive")
    store = depot_of(elsewhere)
    assert store is not None
    assert same == sha256
    at_once = elsewhere.model_copy(update={"delete_grace_seconds": 0})
    for doomed, stays in ((job_id, True), (other, False)):
        with database.transaction() as session:
            removal.delete(session, doomed)
        while removal.purge(database, at_once):
            pass
        assert store.has(sha256) is stays


@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_store_that_is_away_keeps_no_worker_from_tidying(
    database: Database, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch, is_made_again: bool
) -> None:
    content = f"{elsewhere.artifacts_url} {is_made_again}".encode()
    job_id, _, sha256 = with_export(database, elsewhere, content)
    at_once = elsewhere.model_copy(update={"delete_grace_seconds": 0})
    with database.transaction() as session:
        removal.delete(session, job_id)

    def away(store: Depot, _sha256: str) -> None:
        assert store._patience == 0, "a worker would say for so long that it is there no more"
        raise store._away(OSError("no route"))

    with monkeypatch.context() as patch:
        patch.setattr(Depot, "discard", away)
        while removal.purge(database, at_once):
            pass
        removal.purge(database, at_once)
    store = depot_of(elsewhere)
    assert store is not None
    assert store.has(sha256)
    if is_made_again:
        with_export(database, elsewhere, content)
    removal.purge(database, at_once)
    assert store.has(sha256) is is_made_again
    assert not list(elsewhere.artifacts_dir.glob(f"{removal.DOOMED}/{job_id}.json"))


def test_garbage_is_what_no_row_names_and_is_not_new(
    database: Database, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, named = with_export(database, elsewhere, b"named")
    store = depot_of(elsewhere)
    assert store is not None
    left = written(elsewhere.artifacts_dir, "supernets/left", b"left by a process that was killed")
    store.keep("supernets/left", left)
    assert database.url
    for name, value in {"WINNOW_DATABASE_URL": database.url, "WINNOW_DATA_DIR": str(elsewhere.data_dir)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("service.db_commands.get_settings", lambda: elsewhere)
    new = CliRunner().invoke(app, ["db", "gc"])
    assert "0 files and 0 objects are removed" in new.output, new.output
    monkeypatch.setattr(consistency, "GRACE_SECONDS", -5.0)
    said = CliRunner().invoke(app, ["db", "gc", "--dry-run"])
    assert "1 files and 1 objects would be removed, 66 bytes" in said.output, said.output
    assert store.has(left)
    assert CliRunner().invoke(app, ["db", "gc"]).exit_code == 0
    assert (store.has(left), store.has(named)) == (False, True)
    assert not (elsewhere.artifacts_dir / "supernets" / "left").exists()


def test_garbage_that_a_job_names_meanwhile_stays(
    database: Database, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, content = depot_of(elsewhere), f"made again for {elsewhere.artifacts_url}".encode()
    assert store is not None
    left = written(elsewhere.artifacts_dir, "supernets/again", content)
    store.keep("supernets/again", left)
    look = consistency.garbage

    def and_then(*given: Any) -> consistency.Garbage:
        found = look(*given)
        assert left in {stored.sha256 for stored in found.objects}
        with_export(database, elsewhere, content)
        return found

    monkeypatch.setattr(consistency, "garbage", and_then)
    monkeypatch.setattr(consistency, "GRACE_SECONDS", -5.0)
    monkeypatch.setattr("service.db_commands.get_settings", lambda: elsewhere)
    assert CliRunner().invoke(app, ["db", "gc"]).exit_code == 0
    assert store.has(left)
