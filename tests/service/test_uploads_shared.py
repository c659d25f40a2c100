"""Uploads of several machines that share no disk: what one API took, another one and a worker have."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import consistency, depot
from service.errors import Unavailable
from service.settings import Settings
from service.store.session import Database
from service.upload_store import bring, named_in, upload_store_of
from tests.api import BASE, client_of, open_api
from tests.service.test_depot import s3, url  # noqa: F401 - fixtures
from tests.service.test_uploads import announce, send, tarred

TEXT = gzip.compress(b"to be or not to be\n" * 1000)


@pytest.fixture
def shared(guarded: Settings, url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:  # noqa: F811
    """An installation with a store. Its machines have the same paths, so a test takes the folder away instead."""
    # A busy machine's store answers late, and no answer of these is about that.
    monkeypatch.setattr("service.api.app.ANSWER_PATIENCE_SECONDS", 60.0)
    return guarded.model_copy(update={"artifacts_url": url, "data_roots": None})


def other_disk(settings: Settings) -> None:
    """Go on as a machine on whose disk nothing lies."""
    shutil.rmtree(settings.uploads_dir, ignore_errors=True)


def test_parts_go_to_whichever_api_and_any_machine_has_the_whole(
    shared: Settings, database: Database, key_of: Callable[..., str]
) -> None:
    key = key_of("ada", "write")
    with open_api(shared, key, base_url=BASE) as first, open_api(shared, key, base_url=BASE) as second:
        upload_id = announce(first, TEXT)
        assert send(first, upload_id, TEXT[:40]).json()["received_bytes"] == 40
        other_disk(shared)
        # The other one knows where to go on, and refuses what does not.
        assert second.get(f"/v1/uploads/{upload_id}").json()["received_bytes"] == 40
        refused = send(second, upload_id, TEXT[50:], 50)
        assert (refused.status_code, refused.json()["received_bytes"]) == (409, 40)
        assert send(second, upload_id, TEXT[40:], 40).json()["received_bytes"] == len(TEXT)
        other_disk(shared)
        done = first.post(f"/v1/uploads/{upload_id}/finish").json()
        assert Path(done["path"]).read_bytes() == TEXT
        assert second.get(f"/v1/uploads/{upload_id}").json() == done
        other_disk(shared)
        # A job that names it is checked by an API that has never seen it.
        job = {"recipe": "llama-nas", "data": {"path": done["path"]}}
        assert second.post("/v1/jobs", json=job).status_code == 201
        assert Path(done["path"]).read_bytes() == TEXT
        other_disk(shared)
        # Somebody else's words bring nothing.
        eve = client_of(second, key_of("eve", "write"))
        assert eve.post("/v1/jobs", json=job).status_code in (404, 422)
        assert not Path(done["path"]).exists()
        # A worker brings what its job names, whosesoever it is.
        store = upload_store_of(shared)
        assert store is not None
        bring(database, store, shared.uploads_dir, named_in(str(job)))
        assert Path(done["path"]).read_bytes() == TEXT
        # What was removed by one machine goes from the others as soon as somebody names it.
        with_it = shutil.copytree(shared.uploads_dir, shared.data_dir / "kept")
        assert first.delete(f"/v1/uploads/{upload_id}").status_code == 204
        shutil.copytree(with_it, shared.uploads_dir, dirs_exist_ok=True)
        bring(database, store, shared.uploads_dir, {upload_id})
        assert not Path(done["path"]).exists()
        assert not store._depot.has(done["sha256"])


def test_archives_are_unpacked_on_each_machine_and_damaged_objects_never(
    shared: Settings, database: Database, key_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tarred({"cats/a.png": b"cat", "dogs/b.png": b"dog"})
    with open_api(shared, key_of("ada", "write"), base_url=BASE) as api:
        upload_id = announce(api, content)
        send(api, upload_id, content)
        path = Path(api.post(f"/v1/uploads/{upload_id}/finish").json()["path"])
        names = sorted(str(found.relative_to(path)) for found in path.rglob("*.png"))
        store = upload_store_of(shared, 0)
        assert store is not None
        # It is kept as long as its row is there.
        monkeypatch.setattr(consistency, "GRACE_SECONDS", -5.0)
        found = consistency.garbage(database, shared, depot.depot_of(shared))
        assert not {one.sha256 for one in found.objects} & {api.get(f"/v1/uploads/{upload_id}").json()["sha256"]}
        other_disk(shared)
        bring(database, store, shared.uploads_dir, {upload_id})
        assert sorted(str(found.relative_to(path)) for found in path.rglob("*.png")) == names
        # Nothing whose digest is another one is unpacked.
        other_disk(shared)
        get_file = store._depot._files.get_file

        def bent(key: str, local: str, *rest: Any) -> None:
            get_file(key, local, *rest)
            Path(local).write_bytes(b"something else")

        monkeypatch.setattr(store._depot._files, "get_file", bent)
        with pytest.raises(Unavailable, match="not in the store"):
            bring(database, store, shared.uploads_dir, {upload_id})
        assert not path.exists()


def test_what_is_refused_is_sent_again_from_the_beginning(shared: Settings, key_of: Callable[..., str]) -> None:
    hostile = tarred({"fine.png": b"x", "../../evil": b"x"})
    with open_api(shared, key_of("ada", "write"), base_url=BASE) as api:
        upload_id = announce(api, hostile)
        send(api, upload_id, hostile)
        assert api.post(f"/v1/uploads/{upload_id}/finish").status_code == 422
        assert api.get(f"/v1/uploads/{upload_id}").json()["received_bytes"] == 0
        upload_id = announce(api, b"to be")
        assert send(api, upload_id, b"to be, or not").status_code == 413
        assert api.get(f"/v1/uploads/{upload_id}").json()["received_bytes"] == 0
