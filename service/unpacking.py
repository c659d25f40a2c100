"""What somebody sent, looked at before anybody trusts it: its type from its bytes, archives unpacked with suspicion.

Files and folders alone come out of an archive, below the folder that they are unpacked into, each name once, and in all
no more than a sensible multiple of what was sent. Links, devices, sparse files, encrypted members and names that lead
elsewhere are refused, and nothing is left of an archive that was refused.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, cast

Kind = Literal["zip", "tar", "tar.gz", "gz", "parquet", "text"]

# Unpacked bytes per byte that was sent, and what is always allowed. Images shrink hardly, text to a quarter.
GROWTH, SMALL_BYTES = 200, 100_000_000
MAX_ENTRIES = 2_000_000
MAX_NAME_BYTES, MAX_DEPTH = 1000, 32
PIECE_BYTES = 1 << 20
# Most that is read of an archive at a time: its headers are small, whatever they say of themselves.
MAX_READ_BYTES = 16 << 20
SNIFFED_BYTES = 65_536
# Bytes that text does not hold: controls but for tab, line and page breaks.
NOT_TEXT = bytes(code for code in (*range(32), 127) if code not in b"\t\n\v\f\r")
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError),
    *(NotImplementedError, RuntimeError),  # what zipfile says of methods that it does not know
)


class Unacceptable(ValueError):
    """A file that is not taken; the message says why."""


def sniff(path: Path) -> Kind:
    """The type of a file by what it holds, whatever it is called.

    Raises:
        Unacceptable: none of those that are taken.
    """
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path) as file:
                inner = file.read(512)
        except DAMAGED:
            raise Unacceptable("It begins as a gzip file and is none. Pack it again.") from None
        return "tar.gz" if inner[257:262] == b"ustar" else "gz"
    if head and len(head.translate(None, NOT_TEXT)) == len(head) and _is_utf8(head):
        return "text"
    raise Unacceptable("It is neither an archive (zip, tar, tar.gz), nor parquet, nor text in UTF-8 (plain or gzip).")


def _is_utf8(head: bytes) -> bool:
    for cut in range(4):  # the last character may be cut
        try:
            head[: len(head) - cut].decode()
        except UnicodeDecodeError:
            continue
        return True
    return False


@dataclass
class _Budget:
    """What may still come out of an archive."""

    left_bytes: int
    left_entries: int = MAX_ENTRIES

    def entry(self, name: str) -> None:
        self.left_entries -= 1
        if self.left_entries < 0:
            raise Unacceptable(f"The archive holds more than {MAX_ENTRIES:,} files; {name!r} is one too many.")

    def spend(self, count: int) -> None:
        self.left_bytes -= count
        if self.left_bytes < 0:
            raise Unacceptable(
                f"The archive becomes more than {GROWTH} times as large when it is unpacked, which data does not."
            )


def unpack(archive: Path, kind: Kind, folder: Path) -> None:
    """Unpack an archive into a new folder; nothing of it is left if it is refused.

    Raises:
        Unacceptable: it is damaged, grows beyond reason, or holds what is no ordinary file.
    """
    budget = _Budget(max(SMALL_BYTES, GROWTH * archive.stat().st_size))
    folder.mkdir(parents=True)
    try:
        for place, content in _zipped(archive, budget) if kind == "zip" else _tarred(archive, kind, budget):
            target = folder / place
            if content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                while piece := content.read(PIECE_BYTES):
                    budget.spend(len(piece))
                    file.write(piece)
    except (*DAMAGED, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        twice = isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile | EOFError)
        raise Unacceptable("Two of its files have one name." if twice else "The archive is damaged.") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _place(name: str) -> PurePosixPath:
    """A member's place below the folder.

    Raises:
        Unacceptable: it leads elsewhere, or is no name for a file.
    """
    place = PurePosixPath(name)
    if (
        not name.isprintable()
        or "\\" in name
        or place.is_absolute()
        or ".." in place.parts
        or len(name.encode(errors="replace")) > MAX_NAME_BYTES
        or len(place.parts) > MAX_DEPTH
        or any(len(part.encode(errors="replace")) > 255 for part in place.parts)
    ):
        raise Unacceptable(f"The archive holds {name[:100]!r}, which is no name of a file below its own folder.")
    return place


def _zipped(path: Path, budget: _Budget) -> Iterator[tuple[PurePosixPath, IO[bytes] | None]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            budget.entry(member.filename)
            place = _place(member.filename)
            mode = member.external_attr >> 16
            if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
                raise Unacceptable(f"The archive holds {member.filename!r}, which is neither a file nor a folder.")
            if member.flag_bits & 1:
                raise Unacceptable("The archive is encrypted; pack it without a password.")
            if member.is_dir():
                yield place, None
                continue
            with archive.open(member) as content:
                yield place, content


def _tarred(path: Path, kind: Kind, budget: _Budget) -> Iterator[tuple[PurePosixPath, IO[bytes] | None]]:
    with path.open("rb") as sent, gzip.GzipFile(fileobj=sent) if kind == "tar.gz" else sent as raw:
        cautious = _Cautious(cast("IO[bytes]", raw), budget)
        yield from _members(cautious, budget)
        while cautious.read(PIECE_BYTES):  # to its end, where gzip has its checksum
            pass


def _members(cautious: _Cautious, budget: _Budget) -> Iterator[tuple[PurePosixPath, IO[bytes] | None]]:
    with tarfile.open(fileobj=cast("IO[bytes]", cautious), mode="r|") as archive:
        for member in archive:
            budget.entry(member.name)
            place = _place(member.name)
            if member.isdir():
                yield place, None
                continue
            if not member.isreg() or member.issparse():
                raise Unacceptable(f"The archive holds {member.name!r}, which is neither a file nor a folder.")
            content = archive.extractfile(member)
            assert content is not None
            yield place, content


class _Cautious:
    """A file of which no more is read at a time than headers need, and no more in all than the archive may become."""

    def __init__(self, file: IO[bytes], budget: _Budget) -> None:
        self._file, self._left = file, 2 * budget.left_bytes

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise Unacceptable("The archive has a header that is too large.")
        piece = self._file.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise Unacceptable(f"The archive becomes more than {GROWTH} times as large when it is unpacked.")
        return piece
