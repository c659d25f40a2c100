"""Uploads: data sets and checkpoints that are sent instead of lying on the machine already."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service import uploads
from service.api.deps import READ, WRITE, DatabaseDep, IdentityDep, SessionDep, SettingsDep
from service.api.schemas import Answer
from service.auth.keys import Identity
from service.errors import TooLarge
from service.settings import Settings
from service.store.models import Upload, UploadKind
from service.store.session import Database
from service.unpacking import Kind

router = APIRouter(prefix="/v1", tags=["uploads"])

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
    """A file that was, or is being, sent."""

    id: str = Field(description="Id of the upload.")
    kind: UploadKind = Field(description="What it is for: a data set or a checkpoint.")
    name: str = Field(description="Name of the file.")
    size_bytes: int = Field(description="Bytes of the whole file.")
    sha256: str = Field(description="Digest of the whole file.")
    received_bytes: int = Field(description="Send the next part from here.")
    type: Kind | None = Field(description="Null until finished.")
    path: str | None = Field(description="What a job names as data.path or supernet.pretrained; null until finished.")
    created_at: datetime = Field(description="When it was announced.")
    finished_at: datetime | None = Field(description="When it was complete and checked; null: not yet.")

    @classmethod
    def of(cls, row: Upload, settings: Settings) -> UploadOut:
        """An upload, and how much of it has arrived."""
        folder = settings.uploads_dir / row.id
        return cls(
            **{name: getattr(row, name) for name in ("id", "kind", "name", "size_bytes", "sha256", "type")},
            received_bytes=uploads.received(folder) if row.path is None else row.size_bytes,
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
    """Announce a data set: an archive of a folder, a parquet file, or text."""
    return _begin(UploadKind.DATASET, given, response, session, settings, who)


@router.post("/checkpoints", status_code=status.HTTP_201_CREATED, dependencies=[WRITE])
def add_checkpoint(
    given: UploadIn, response: Response, session: SessionDep, settings: SettingsDep, who: IdentityDep
) -> UploadOut:
    """Announce a checkpoint: an archive of config.json, safetensors and a tokenizer."""
    return _begin(UploadKind.CHECKPOINT, given, response, session, settings, who)


def _begin(
    kind: UploadKind, given: UploadIn, response: Response, session: Session, settings: Settings, who: Identity
) -> UploadOut:
    # 128 bits: the id is a part of the path, which stands in jobs.
    row = uploads.begin(
        session, secrets.token_hex(16), kind, given.name, given.size_bytes, given.sha256, who, settings.upload_bytes
    )
    response.headers["Location"] = f"/v1/uploads/{row.id}"
    return UploadOut.of(row, settings)


@router.get("/uploads", dependencies=[READ])
def list_uploads(session: SessionDep, settings: SettingsDep, who: IdentityDep) -> UploadPage:
    """Your uploads, newest first; for admins all."""
    return UploadPage(uploads=[UploadOut.of(row, settings) for row in uploads.listed(session, who)])


@router.get("/uploads/{upload_id}", dependencies=[READ])
def read(upload_id: str, session: SessionDep, settings: SettingsDep) -> UploadOut:
    """One upload, and where to go on with it."""
    return UploadOut.of(uploads.get(session, upload_id), settings)


@router.put(
    "/uploads/{upload_id}",
    dependencies=[WRITE],
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
)
async def send_part(
    upload_id: str,
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    offset: Annotated[int, Query(ge=0, lt=2**63, description="Bytes that have arrived before.")] = 0,
) -> UploadOut:
    """The next part of the file, as it is. After a broken connection ask where to go on."""
    row = await run_in_threadpool(_row, database, upload_id)
    with uploads.draft(row, settings.uploads_dir / row.id, offset) as file:
        count = 0
        try:
            async for piece in request.stream():
                count += len(piece)
                if count > PART_BYTES or offset + count > row.size_bytes:
                    raise TooLarge(
                        f"A part has at most {PART_BYTES} bytes, and the file the {row.size_bytes} announced."
                    )
                await run_in_threadpool(file.write, piece)
        except TooLarge:
            file.truncate(offset)
            raise
    return await run_in_threadpool(UploadOut.of, row, settings)


@router.post("/uploads/{upload_id}/finish", dependencies=[WRITE])
def finish(upload_id: str, database: DatabaseDep, settings: SettingsDep) -> UploadOut:
    """Check the whole file, unpack it if it is an archive, and open it to jobs. One that is refused is sent again."""
    row, folder = _row(database, upload_id), settings.uploads_dir / upload_id
    if row.path is None:
        kind = uploads.finish(row, folder)
        with database.transaction() as session:
            row = uploads.get(session, upload_id)
            row.type, row.path = kind, uploads.place(kind)
            row.finished_at = session.scalar(select(func.now()))
    return UploadOut.of(row, settings)


@router.delete("/uploads/{upload_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[WRITE])
def remove(upload_id: str, session: SessionDep, settings: SettingsDep) -> None:
    """Forget an upload and its files. Jobs that name it fail when they read it."""
    uploads.remove(session, uploads.get(session, upload_id), Path(settings.uploads_dir / upload_id))


def _row(database: Database, upload_id: str) -> Upload:
    with database.transaction() as session:
        return uploads.get(session, upload_id)
