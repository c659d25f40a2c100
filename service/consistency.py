"""Rows and files: which files rows name and are not there, and which are there and no row names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.archives import wrong_with
from service.settings import Settings
from service.store.models import Artifact, Export, ExportState, Job, TrainedSupernet


def compare(session: Session, settings: Settings, *, deep: bool = False) -> dict[str, list[str]]:
    """Files that are `missing` or `damaged`, and those that are `unknown` to any row.

    Args:
        deep: whether digests are compared, and not only sizes.
    """
    root = settings.artifacts_dir
    named = dict(_named(session))
    missing, damaged = [], []
    for path, (sha256, size) in sorted(named.items()):
        file = root / path
        if not file.is_file():
            missing.append(path)
        elif file.stat().st_size != size or (deep and wrong_with(file, sha256) is not None):
            damaged.append(path)
    jobs = set(session.scalars(select(Job.id)))
    unknown = [str(path) for path in _files(root) if str(path) not in named and not _of_a_job(path, jobs)]
    return {"missing": missing, "damaged": damaged, "unknown": unknown}


def _named(session: Session) -> Iterator[tuple[str, tuple[str, int]]]:
    """Every file that a row names: its path, digest and size."""
    for table in (Artifact, TrainedSupernet):
        for path, sha256, size in session.execute(select(table.path, table.sha256, table.size_bytes)):
            yield path, (sha256, size)
    done = select(Export.archive, Export.sha256, Export.size_bytes).where(Export.state == ExportState.SUCCEEDED)
    for archive, digest, num_bytes in session.execute(done):
        if archive is not None and digest is not None and num_bytes is not None:
            yield archive, (digest, num_bytes)


def _files(root: Path) -> Iterator[Path]:
    for folder in ("checkpoints", "supernets", "exports"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(root)


def _of_a_job(path: Path, jobs: set[str]) -> bool:
    """Whether a file lies where a job that is there writes: unpacked exports, and what is being written."""
    return len(path.parts) > 2 and path.parts[1] in jobs
