"""Files that somebody sends: in parts that can be taken up again, checked as a whole, then open to their key's jobs.

A part is appended to a draft, whose length says where to go on; a broken connection costs what did not arrive. At
the end the digest must be the announced one. Archives are unpacked (`unpacking`), and the path is what a job names.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.auth.keys import Identity
from service.auth.quotas import check_bytes
from service.errors import Conflict, InvalidRequest, NotFound
from service.store import queries
from service.store.models import Upload, UploadKind
from service.unpacking import Kind, Unacceptable, sniff, unpack

DRAFT = "draft"
# What an unpacked upload is called; a single file has the suffix of its type, by which readers know it.
CONTENT = "content"
SUFFIXES: dict[Kind, str] = {"parquet": ".parquet", "text": "", "gz": ".gz"}
ARCHIVES = ("zip", "tar", "tar.gz")
PIECE_BYTES = 1 << 20


def begin(
    session: Session,
    upload_id: str,
    kind: UploadKind,
    name: str,
    size_bytes: int,
    sha256: str,
    who: Identity,
    most: int,
) -> Upload:
    """Announce a file.

    Raises:
        InvalidRequest: it is larger than this installation takes.
        QuotaExceeded: the key's files take too much already.
    """
    if size_bytes > most:
        raise InvalidRequest(f"{size_bytes} bytes are too many; at most {most} are taken (WINNOW_UPLOAD_BYTES).")
    check_bytes(session, who)
    row = Upload(id=upload_id, kind=kind, name=name, size_bytes=size_bytes, sha256=sha256, owner_id=who.key_id)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get(session: Session, upload_id: str) -> Upload:
    """An upload by its id.

    Raises:
        NotFound: there is none.
    """
    row = session.get(Upload, upload_id)
    if row is None:
        raise NotFound(f"There is no upload {upload_id!r}. GET /v1/uploads lists yours.")
    return row


def listed(session: Session, who: Identity) -> list[Upload]:
    """A key's uploads, newest first; for admins all."""
    query = select(Upload).order_by(Upload.created_at.desc(), Upload.id).limit(1000)
    return list(session.scalars(query if who.is_admin else query.where(Upload.owner_id == who.key_id)))


def received(folder: Path) -> int:
    """Bytes of a draft that have arrived."""
    try:
        return (folder / DRAFT).stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def draft(row: Upload, folder: Path, offset: int) -> Iterator[IO[bytes]]:
    """The draft, open to be appended to at an offset; held by one sender at a time.

    Raises:
        Conflict: it is finished, another part is arriving, or it does not go on there; says where it does.
    """
    refuse_finished(row)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder, row.id) as file:
        refuse_gap(row, offset, file.seek(0, os.SEEK_END))
        yield file
        file.flush()
        os.fsync(file.fileno())


def refuse_finished(row: Upload) -> None:
    """Refuse a part of an upload that is finished.

    Raises:
        Conflict: with its size.
    """
    if row.path is not None:
        raise Conflict(
            f"Upload {row.id} is finished and takes nothing more; announce a new one for another file.",
            received_bytes=row.size_bytes,
        )


def refuse_gap(row: Upload, offset: int, arrived: int) -> None:
    """Refuse a part that does not begin where so many bytes end.

    Raises:
        Conflict: with where the upload goes on.
    """
    if offset != arrived:
        raise Conflict(f"Upload {row.id} goes on at {arrived}, not at {offset}.", received_bytes=arrived)


@contextmanager
def part(folder: Path) -> Iterator[IO[bytes]]:
    """A file for the part that is arriving; it goes at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{secrets.token_hex(4)}.part"
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def held(folder: Path, upload_id: str) -> Iterator[IO[bytes]]:
    """The draft, which nobody else of this machine works on meanwhile.

    Raises:
        Conflict: somebody does.
    """
    with os.fdopen(os.open(folder / DRAFT, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        _hold(file, upload_id)
        yield file


def _hold(file: IO[bytes], upload_id: str) -> None:
    """Be the only one who works on a draft, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(f"Somebody else is sending or finishing upload {upload_id}.") from None


def finish(row: Upload, folder: Path, keep: Callable[[], None] = lambda: None) -> Kind:
    """Check a whole draft and lay it where jobs may read it. Does so without a transaction: it may take minutes.

    Args:
        keep: called once the draft is known to be what was announced, and of a type that is taken.

    Returns:
        What it is; its place is `place(kind)`, below the folder.

    Raises:
        Conflict: it is not whole yet.
        InvalidRequest: it is not what was announced, or not what is taken. Then it must be sent again.
    """
    if (size := received(folder)) < row.size_bytes:
        raise Conflict(f"{size} of {row.size_bytes} bytes have arrived; send the rest first.", received_bytes=size)
    with (folder / DRAFT).open("rb") as file:
        _hold(file, row.id)
        return _finish(row, folder, hashlib.file_digest(file, "sha256").hexdigest(), keep)


def _finish(row: Upload, folder: Path, digest: str, keep: Callable[[], None]) -> Kind:
    try:
        if digest != row.sha256:
            raise Unacceptable(f"The file has sha256 {digest}, and {row.sha256} was announced.")
        kind = sniff(folder / DRAFT)
        if kind not in ARCHIVES and row.kind == UploadKind.CHECKPOINT:
            raise Unacceptable("A checkpoint is an archive of its folder: config.json and safetensors.")
        lay(folder, kind, place(kind), checkpoint=row.kind == UploadKind.CHECKPOINT, keep=keep)
    except Unacceptable as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InvalidRequest(str(error)) from None
    return kind


def lay(
    folder: Path, kind: Kind, name: str, *, checkpoint: bool = False, keep: Callable[[], None] = lambda: None
) -> None:
    """Lay a draft where jobs may read it, whole or not at all; archives are unpacked.

    Args:
        name: its place in the folder.
        checkpoint: whether it must be a checkpoint.
        keep: called before the draft goes.

    Raises:
        Unacceptable: the archive holds what is not taken, or is no checkpoint.
    """
    path, target = folder / DRAFT, folder / name
    if kind not in ARCHIVES:
        keep()
        path.rename(target)
        return
    unpacked = folder / f".{CONTENT}"
    for left in (unpacked, target):  # of an API that died while it unpacked
        shutil.rmtree(left, ignore_errors=True)
    unpack(path, kind, unpacked)
    if checkpoint:
        _check_checkpoint(unpacked)
    keep()
    unpacked.rename(target)
    path.unlink()


def place(kind: Kind) -> str:
    """Where an upload of this type lies in its folder."""
    return CONTENT if kind in ARCHIVES else f"{CONTENT}{SUFFIXES[kind]}"


def remove(session: Session, row: Upload, folder: Path) -> bool:
    """Forget an upload and its files on this machine; whether no row names its content any more."""
    shutil.rmtree(folder, ignore_errors=True)
    session.delete(row)
    session.flush()
    return not queries.named_digests(session, {row.sha256})


def _check_checkpoint(folder: Path) -> None:
    """See to it that an unpacked checkpoint is one: a configuration and safetensors, and nothing that runs."""
    top = list(folder.iterdir())
    inner = top[0] if len(top) == 1 and top[0].is_dir() else folder
    if not (inner / "config.json").is_file() or not list(inner.glob("*.safetensors")):
        shutil.rmtree(folder)
        raise Unacceptable(
            "A checkpoint has config.json and *.safetensors at the top of its archive, or in one folder."
        )
    if inner is not folder:
        for path in inner.iterdir():
            path.rename(folder / f".moved-{path.name}")
        inner.rmdir()
        for path in folder.iterdir():
            path.rename(folder / path.name.removeprefix(".moved-"))
