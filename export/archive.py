"""Archives: a folder packed the same way every time, the digest of every file in it, and what an edit did to it."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

SUMS = "SHA256SUMS"
# 1980, the first year that a ZIP may have, so that every tool shows a date.
MADE_AT = 315_532_800


def pack(folder: Path, archive: Path, name: str) -> None:
    """Write a `.tar.gz` that depends on names and contents alone: no times, owners or order of the disk.

    Args:
        name: name of the folder within the archive.
    """
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=MADE_AT) as stream,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        for path in [folder, *sorted(folder.rglob("*"))]:
            tar.add(path, f"{name}/{path.relative_to(folder)}".removesuffix("/."), recursive=False, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime, entry.mode = MADE_AT, 0o755 if entry.isdir() else 0o644
    return entry


def write_sums(folder: Path) -> None:
    """Write the digest of every file of a folder, as `sha256sum -c` reads them."""
    lines = [f"{digest}  {name}" for name, digest in sorted(_digests(folder))]
    (folder / SUMS).write_text("\n".join(lines) + "\n")


def edited(folder: Path) -> list[str]:
    """What is not as it was written, in sentences; empty: everything is.

    Raises:
        ValueError: the folder has no list of digests.
    """
    if not (folder / SUMS).is_file():
        raise ValueError(f"{folder} has no {SUMS}: it is no export of Winnow, or of an older version.")
    lines = (folder / SUMS).read_text().splitlines()
    written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = dict(_digests(folder))
    told = [
        f"{name} was edited: its sha256 is not the one that was written."
        for name in sorted(written)
        if name in found and found[name] != written[name]
    ]
    told += [f"{name} is missing." for name in sorted(written.keys() - found.keys())]
    return told + [f"{name} was added." for name in sorted(found.keys() - written.keys())]


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name != SUMS and "__pycache__" not in path.parts:
            with path.open("rb") as file:
                yield str(path.relative_to(folder)), hashlib.file_digest(file, "sha256").hexdigest()
