"""`winnow upload`: send a data set or a checkpoint, and go on where a broken connection stopped."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from service.client import Client
from service.plain import make_console, plain
from service.settings import get_settings

console = make_console()


def upload(
    path: Annotated[Path, typer.Argument(help="A file, or a folder, which is packed first.")],
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="Send a checkpoint's folder or archive, not data.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the upload; default: the name of the file.")] = None,
    resume: Annotated[str | None, typer.Option(help="Id of an upload of the same file that broke off.")] = None,
) -> None:
    """Send a data set or a checkpoint, and print the path that a job names."""
    if not path.exists():
        raise ValueError(f"There is no {path}; give the path of a file or folder.")
    with tempfile.TemporaryDirectory(prefix="winnow-upload-") as folder, Client(get_settings().url) as client:
        file = _packed(path, Path(folder)) if path.is_dir() else path
        if resume is None:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            kind = "checkpoints" if checkpoint else "datasets"
            given = {"name": name or path.resolve().name, "size_bytes": file.stat().st_size, "sha256": digest}
            row = client.begin_upload(kind, given)
        else:
            row = client.upload(resume)
        console.print(plain(f"upload {row['id']}  {row['size_bytes']:,} bytes"))
        row = client.send_upload(row, file)
    console.print(plain(row["path"]), soft_wrap=True)


def _packed(path: Path, folder: Path) -> Path:
    """A folder as an archive, the same to the byte for the same files, so that it can be resumed; links are followed,
    because none is taken there."""
    file = folder / f"{path.resolve().name}.tar"
    with tarfile.open(file, "w", dereference=True) as archive:
        for one in sorted(path.rglob("*")):
            archive.add(one, one.relative_to(path), recursive=False)
    return file
