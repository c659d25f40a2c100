"""Uploads: data sets and checkpoints that are sent instead of lying on the machine already."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated

from anyio import CancelScope
from fastapi import APIRouter, Query, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service import uploads
from service.api.deps import READ, WRITE, DatabaseDep, IdentityDep, SessionDep, SettingsDep, StoreDep
from service.api.schemas import Answer
from service.auth.keys import Identity
from service.errors import Conflict, InvalidRequest, TooLarge
from service.settings import Settings
from service.store.models import Upload, UploadKind
from service.store.session import Database
from service.unpacking import Kind
from service.upload_store import UploadStore

router = APIRouter(prefix="/v1", tags=["uploads"])

# The body of a part, as OpenAPI has it.
BYTES = {"type": "string", "format": "binary"}
# Largest part: what a broken connection costs, and what a proxy lets through.
PART_BYTES = 64_000_000


class UploadIn(BaseModel):
    """A file that will be sent."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] = Field(
        description="Name of the file."
    )
    size_bytes: Annotated[int, Field(ge=1, lt=2**63)] = Field(description="Bytes of the whole file.")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="Digest of the whole file.")


class UploadOut(Answer):
    """A file that was, or is being, sent, and how much of it has arrived."""

    id: str = Field(description="Id of the upload.")
    kind: UploadKind = Field(description="What it is for: a data set or a checkpoint.")
    name: str = Field(description="Name of the file.")
    size_bytes: int = Field(description="Bytes of the whole file.")
    sha256: str = Field(description="Digest of the whole file.")
    received_bytes: int = Field(description="Send the next part from here.")
    type: Kind | None = Field(description="Type of the file; null until finished.")
    path: str | None = Field(
        description="Path that a job names as `data.path` or `supernet.pretrained`; null until finished."
    )
    created_at: datetime = Field(description="When it was announced.")
    finished_at: datetime | None = Field(description="When it was complete and checked; null: not yet.")

    @classmethod
    def of(cls, row: Upload, settings: Settings, store: UploadStore | None) -> UploadOut:
        """An upload, and how much of it has arrived."""
        folder = settings.uploads_dir / row.id
        if row.path is not None:
            arrived = row.size_bytes
        else:
            arrived = uploads.received(folder) if store is None else store.received(row.id)
        return cls(
            **{name: getattr(row, name) for name in ("id", "kind", "name", "size_bytes", "sha256", "type")},
            received_bytes=arrived,
            path=None if row.path is None else str(folder / row.path),
            created_at=row.created_at,
            finished_at=row.finished_at,
        )


class UploadPage(Answer):
    """Your uploads, newest first."""

    uploads: list[UploadOut] = Field(description="Uploads, newest first.")


@router.post("/datasets", status_code=status.HTTP_201_CREATED, dependencies=[WRITE])
def add_dataset(
    given: UploadIn, response: Response, session: SessionDep, settings: SettingsDep, who: IdentityDep
) -> UploadOut:
    """Announce a data set.

    It may be an archive of a folder, a parquet file, or text.
    """
    return _begin(UploadKind.DATASET, given, response, session, settings, who)


@router.post("/checkpoints", status_code=status.HTTP_201_CREATED, dependencies=[WRITE])
def add_checkpoint(
    given: UploadIn, response: Response, session: SessionDep, settings: SettingsDep, who: IdentityDep
) -> UploadOut:
    """Announce a checkpoint.

    It is an archive of config.json, safetensors and a tokenizer.
    """
    return _begin(UploadKind.CHECKPOINT, given, response, session, settings, who)


def _begin(
    kind: UploadKind, given: UploadIn, response: Response, session: Session, settings: Settings, who: Identity
) -> UploadOut:
    # 128 bits: the id is a part of the path, which stands in jobs.
    row = uploads.begin(
        session, secrets.token_hex(16), kind, given.name, given.size_bytes, given.sha256, who, settings.upload_bytes
    )
    response.headers["Location"] = f"/v1/uploads/{row.id}"
    return UploadOut.of(row, settings, None)


@router.get("/uploads", dependencies=[READ])
def list_uploads(database: DatabaseDep, settings: SettingsDep, store: StoreDep, who: IdentityDep) -> UploadPage:
    """List uploads.

    The list has your uploads, newest first. Admins see all.
    """
    with database.transaction() as session:
        rows = uploads.listed(session, who)
    return UploadPage(uploads=[UploadOut.of(row, settings, store) for row in rows])


@router.get("/uploads/{upload_id}", dependencies=[READ])
def read(upload_id: str, database: DatabaseDep, settings: SettingsDep, store: StoreDep) -> UploadOut:
    """Read an upload.

    The answer says where to go on with it.
    """
    return UploadOut.of(_row(database, upload_id), settings, store)


@router.put(
    "/uploads/{upload_id}",
    dependencies=[WRITE],
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": BYTES}}}},
)
async def send_part(
    upload_id: str,
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    store: StoreDep,
    offset: Annotated[int, Query(ge=0, lt=2**63, description="Bytes that have arrived already.")] = 0,
) -> UploadOut:
    """Send a part of an upload.

    The body is the next part of the file, as it is. After a broken connection ask where to go on.
    """
    row = await run_in_threadpool(_row, database, upload_id)
    folder = settings.uploads_dir / row.id
    if store is None:
        with uploads.draft(row, folder, offset) as file:
            await _receive(request, row, offset, file, offset)
    else:
        await run_in_threadpool(store.refuse_gap, row, offset)
        with uploads.part(folder) as file:
            try:
                await _receive(request, row, offset, file, 0)
            finally:  # a broken connection costs what did not arrive
                file.flush()
                with CancelScope(shield=True):
                    await run_in_threadpool(store.keep_part, row.id, offset, Path(file.name))
    return await run_in_threadpool(UploadOut.of, row, settings, store)


async def _receive(request: Request, row: Upload, offset: int, file: IO[bytes], begin: int) -> None:
    """Write what arrives.

    Args:
        begin: length of the file before, to which it returns if too much arrives.
    """
    count = 0
    try:
        async for piece in request.stream():
            count += len(piece)
            if count > PART_BYTES or offset + count > row.size_bytes:
                raise TooLarge(f"A part has at most {PART_BYTES} bytes, and the file the {row.size_bytes} announced.")
            await run_in_threadpool(file.write, piece)
    except TooLarge:
        file.truncate(begin)
        raise


@router.post("/uploads/{upload_id}/finish", dependencies=[WRITE])
def finish(upload_id: str, database: DatabaseDep, settings: SettingsDep, store: StoreDep) -> UploadOut:
    """Finish an upload.

    Winnow checks the whole file, unpacks it if it is an archive, and opens it to jobs. If it is refused, send it again.
    """
    row, folder = _row(database, upload_id), settings.uploads_dir / upload_id
    if row.path is None:
        kind = uploads.finish(row, folder) if store is None else _finish_gathered(store, row, folder)
        with database.transaction() as session:
            row = uploads.get(session, upload_id)
            row.type, row.path = kind, uploads.place(kind)
            row.finished_at = session.scalar(select(func.now()))
        if store is not None:
            store.drop_parts(upload_id)
    return UploadOut.of(row, settings, store)


def _finish_gathered(store: UploadStore, row: Upload, folder: Path) -> Kind:
    """Finish an upload whose parts may have arrived at several machines."""
    if (arrived := store.received(row.id)) < row.size_bytes:
        raise Conflict(
            f"{arrived} of {row.size_bytes} bytes have arrived; send the rest first.", received_bytes=arrived
        )
    store.gather(row.id)
    try:
        return uploads.finish(row, folder, lambda: store.keep(row.id, row.sha256))
    except InvalidRequest:
        store.drop_parts(row.id)  # it must be sent again
        raise


@router.delete("/uploads/{upload_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[WRITE])
def remove(upload_id: str, database: DatabaseDep, settings: SettingsDep, store: StoreDep) -> None:
    """Remove an upload and its files.

    Jobs that name it fail when they read it.
    """
    with database.transaction() as session:
        row = uploads.get(session, upload_id)
        unnamed = uploads.remove(session, row, Path(settings.uploads_dir / upload_id))
    if store is not None:
        store.drop_parts(upload_id)
        if unnamed:
            store.discard(row.sha256)


def _row(database: Database, upload_id: str) -> Upload:
    with database.transaction() as session:
        return uploads.get(session, upload_id)
