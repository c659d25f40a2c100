"""Uploads over HTTP: in parts, taken up again, checked, unpacked, and read by jobs of their own key alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.auth import keys
from service.auth.keys import Quota
from service.settings import Settings
from service.store.session import Database
from tests.api import open_api

BASE = "http://127.0.0.1"


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[TestClient]:
    """Somebody who may write, on an API that opens no folder."""
    with database.transaction() as session:
        _, key = keys.create(session, "ada", "write", quota=Quota(size_bytes=10_000_000))
    on = settings.model_copy(update={"auth": "on", "data_roots": None, "upload_bytes": 1_000_000})
    with open_api(on, key, base_url=BASE) as client:
        yield client


def another(api: TestClient, database: Database) -> TestClient:
    with database.transaction() as session:
        _, key = keys.create(session, "eve", "write")
    return TestClient(api.app, base_url=BASE, headers={"Authorization": f"Bearer {key}"})


def announce(api: TestClient, content: bytes, kind: str = "datasets", **other: Any) -> str:
    facts = {"name": "pets", "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **other}
    answer = api.post(f"/v1/{kind}", json=facts)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def send(api: TestClient, upload_id: str, content: bytes, offset: int = 0) -> Any:
    return api.put(f"/v1/uploads/{upload_id}", params={"offset": offset}, content=content)


def tarred(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_a_text_is_sent_in_parts_and_named_by_a_job_of_its_key_alone(api: TestClient, database: Database) -> None:
    content = gzip.compress(b"to be or not to be\n" * 1000)
    upload_id = announce(api, content)
    assert send(api, upload_id, content[:40]).json()["received_bytes"] == 40
    # The connection broke; somewhere else somebody goes on, first at a wrong place.
    refused = send(api, upload_id, content[50:], 50)
    assert (refused.status_code, refused.json()["received_bytes"]) == (409, 40)
    assert "40 of" in api.post(f"/v1/uploads/{upload_id}/finish").json()["detail"]
    assert api.get(f"/v1/uploads/{upload_id}").json()["received_bytes"] == 40
    assert send(api, upload_id, content[40:], 40).json()["received_bytes"] == len(content)
    done = api.post(f"/v1/uploads/{upload_id}/finish").json()
    assert (done["type"], Path(done["path"]).read_bytes()) == ("gz", content)
    assert api.post(f"/v1/uploads/{upload_id}/finish").json() == done
    assert send(api, upload_id, b"more", len(content)).status_code == 409

    job = {"recipe": "llama-nas", "data": {"path": done["path"]}}
    assert api.post("/v1/jobs", json=job).status_code == 201
    eve = another(api, database)
    assert eve.post("/v1/jobs", json=job).status_code == 404
    assert eve.get(f"/v1/uploads/{upload_id}").status_code == 404
    assert send(eve, upload_id, b"x").status_code == 404
    assert eve.get("/v1/uploads").json() == {"uploads": []}
    everything = {"recipe": "llama-nas", "data": {"path": str(Path(done["path"]).parents[1])}}
    assert api.post("/v1/jobs", json=everything).status_code == 422
    assert [one["id"] for one in api.get("/v1/uploads").json()["uploads"]] == [upload_id]
    assert api.delete(f"/v1/uploads/{upload_id}").status_code == 204
    assert not Path(done["path"]).exists()


def test_an_archive_is_unpacked_and_a_hostile_one_leaves_nothing(api: TestClient, settings: Settings) -> None:
    content = tarred({"cats/a.png": b"cat", "dogs/b.png": b"dog"})
    upload_id = announce(api, content)
    send(api, upload_id, content)
    done = api.post(f"/v1/uploads/{upload_id}/finish").json()
    assert sorted(p.name for p in Path(done["path"]).rglob("*.png")) == ["a.png", "b.png"]
    assert [p.name for p in Path(done["path"]).parent.iterdir()] == ["content"]

    hostile = tarred({"fine.png": b"x", "../../evil": b"x"})
    upload_id = announce(api, hostile)
    send(api, upload_id, hostile)
    refused = api.post(f"/v1/uploads/{upload_id}/finish")
    assert refused.status_code == 422
    assert "no name of a file" in refused.json()["detail"]
    assert not (settings.data_dir / "uploads" / upload_id).exists()
    assert api.get(f"/v1/uploads/{upload_id}").json()["received_bytes"] == 0


def test_a_checkpoint_is_an_archive_of_one(api: TestClient) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(4)
    for top in ("", "my-model/"):
        content = tarred({f"{top}config.json": b"{}", f"{top}model.safetensors": weights})
        upload_id = announce(api, content, "checkpoints")
        send(api, upload_id, content)
        done = api.post(f"/v1/uploads/{upload_id}/finish").json()
        assert sorted(p.name for p in Path(done["path"]).iterdir()) == ["config.json", "model.safetensors"]
    pickled = tarred({"config.json": b"{}", "pytorch_model.bin": b"x"})
    upload_id = announce(api, pickled, "checkpoints")
    send(api, upload_id, pickled)
    assert "safetensors" in api.post(f"/v1/uploads/{upload_id}/finish").json()["detail"]


def test_what_was_not_announced_is_refused(api: TestClient) -> None:
    upload_id = announce(api, b"to be", sha256="0" * 64)
    assert send(api, upload_id, b"to be, or not").status_code == 413
    assert api.get(f"/v1/uploads/{upload_id}").json()["received_bytes"] == 0
    send(api, upload_id, b"to be")
    assert "was announced" in api.post(f"/v1/uploads/{upload_id}/finish").json()["detail"]
    upload_id = announce(api, b"\x80\x04pickle")
    send(api, upload_id, b"\x80\x04pickle")
    assert "neither an archive" in api.post(f"/v1/uploads/{upload_id}/finish").json()["detail"]
    too_large = {"name": "x", "size_bytes": 2_000_000, "sha256": "0" * 64}
    assert "WINNOW_UPLOAD_BYTES" in api.post("/v1/datasets", json=too_large).json()["detail"]
    for bent in ({"name": "a\x00"}, {"size_bytes": 0}, {"size_bytes": 2**70}, {"sha256": "x"}):
        assert api.post("/v1/datasets", json={**too_large, **bent}).status_code == 422


def test_announced_bytes_count_against_the_quota(api: TestClient) -> None:
    facts = {"name": "x", "size_bytes": 1_000_000, "sha256": "0" * 64}
    answers = [api.post("/v1/datasets", json=facts).status_code for _ in range(11)]
    assert answers == [201] * 10 + [403]
