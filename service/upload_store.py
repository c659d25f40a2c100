"""Uploads among several machines: what one API has taken is in the store of objects, and comes to whoever needs it.

Parts lie in the store until the upload is finished, so that any API takes the next one. A finished file is an object,
named by its digest like all others; each machine unpacks it for itself into the folder of uploads, which is a cache.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select

from service import uploads
from service.auth.keys import Identity
from service.depot import PATIENCE_SECONDS, Depot
from service.errors import Conflict, Unavailable
from service.settings import Settings
from service.store.models import Upload, UploadKind
from service.store.session import Database
from service.unpacking import Kind

PARTS = "parts"
# An upload's id as a part of a path, in whatever holds paths.
NAMED = re.compile(r"/([0-9a-f]{32})(?![0-9a-f])")
PART = re.compile(r"(\d{20})-(\d+)-[0-9a-f]+")


class UploadStore:
    """Parts and finished files of uploads in the store of objects.

    Args:
        patience: seconds for which a store that does not answer is asked again.
    """

    def __init__(self, url: str, folder: Path, patience: float = PATIENCE_SECONDS) -> None:
        self._depot, self._folder = Depot(url, folder, patience), folder

    def received(self, upload_id: str) -> int:
        """Bytes that have arrived from the beginning, at whatever machine."""
        return sum(size for _, size in self._parts(upload_id))

    def _parts(self, upload_id: str) -> list[tuple[str, int]]:
        """Names and sizes of the parts that make up the file so far; of two from the same byte on the longer one."""
        longest: dict[int, tuple[int, str]] = {}
        for name in self._depot.names(f"{PARTS}/{upload_id}"):
            if (found := PART.fullmatch(name)) is not None:
                offset, size = int(found[1]), int(found[2])
                longest[offset] = max(longest.get(offset, (0, "")), (size, name))
        parts: list[tuple[str, int]] = []
        place = 0
        while place in longest:
            size, name = longest[place]
            parts.append((name, size))
            place += size
        return parts

    def refuse_gap(self, row: Upload, offset: int) -> None:
        """Refuse a part that does not go on where the upload is.

        Raises:
            Conflict: it is finished, or does not go on there; says where it does.
        """
        uploads.refuse_finished(row)
        uploads.refuse_gap(row, offset, self.received(row.id))

    def keep_part(self, upload_id: str, offset: int, file: Path) -> None:
        """Keep a part that has arrived."""
        if size := file.stat().st_size:
            self._depot.put(f"{PARTS}/{upload_id}/{offset:020d}-{size}-{secrets.token_hex(4)}", file)

    def gather(self, upload_id: str) -> None:
        """Put the parts together as the draft on this machine.

        Raises:
            Conflict: somebody else finishes the upload, or has.
        """
        folder = self._folder / upload_id
        try:
            with uploads.part(folder) as part, uploads.held(folder, upload_id) as draft:
                draft.truncate(0)
                for name, _ in self._parts(upload_id):
                    self._depot.get(f"{PARTS}/{upload_id}/{name}", Path(part.name))
                    with open(part.name, "rb") as arrived:
                        shutil.copyfileobj(arrived, draft, uploads.PIECE_BYTES)
        except FileNotFoundError:
            raise Conflict(f"Somebody else is finishing upload {upload_id}.") from None

    def keep(self, upload_id: str, sha256: str) -> None:
        """Keep the draft as an object: its digest was compared."""
        self._depot.keep(f"{upload_id}/{uploads.DRAFT}", sha256)

    def drop_parts(self, upload_id: str) -> None:
        """Forget the parts of an upload that is finished, refused or removed."""
        self._depot.drop(f"{PARTS}/{upload_id}")

    def discard(self, sha256: str) -> None:
        """Remove the object of an upload that no row names."""
        self._depot.discard(sha256)

    def bring(self, row: Upload) -> None:
        """See to it that a finished upload lies on this machine.

        Raises:
            Unavailable: the store does not answer, or does not have it.
        """
        assert row.path is not None
        folder = self._folder / row.id
        if (folder / row.path).exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600), "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever fetches it already is done soon
            if (folder / row.path).exists():
                return
            if not self._depot.bring(f"{row.id}/{uploads.DRAFT}", row.sha256):
                raise Unavailable(f"Upload {row.id} is not in the store of artifacts any more. Send it again.")
            checkpoint = row.kind == UploadKind.CHECKPOINT
            uploads.lay(folder, cast(Kind, row.type), row.path, checkpoint=checkpoint)


def upload_store_of(settings: Settings, patience: float = PATIENCE_SECONDS) -> UploadStore | None:
    """The store that the settings name; None: uploads are in the folder alone.

    Args:
        patience: seconds for which a store that does not answer is asked again.
    """
    if settings.artifacts_url is None:
        return None
    return UploadStore(settings.artifacts_url, settings.uploads_dir, patience)


def named_in(text: str) -> set[str]:
    """What may be ids of uploads in a text that holds paths, such as a job as JSON."""
    return set(NAMED.findall(text))


def bring(
    database: Database, store: UploadStore, folder: Path, ids: Iterable[str], who: Identity | None = None
) -> None:
    """Bring uploads that are finished, and remove what is left here of those that were removed elsewhere.

    Args:
        folder: where uploads lie on this machine.
        who: whoever names them; what is not theirs is left alone. None: a worker, whose job was checked.

    Raises:
        Unavailable: the store does not answer.
    """
    ids = set(ids)
    if not ids:
        return
    with database.transaction() as session:
        rows: dict[str, Any] = {row.id: row for row in session.scalars(select(Upload).where(Upload.id.in_(ids)))}
    for upload_id in ids - rows.keys():
        if (folder / upload_id).is_dir():
            shutil.rmtree(folder / upload_id, ignore_errors=True)
    for row in rows.values():
        if row.path is not None and (who is None or who.owns(row.owner_id)):
            store.bring(row)
