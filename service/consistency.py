"""Rows and files: which files rows name and are not there, and which are there and no row names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.archives import wrong_with
from service.depot import GRACE_SECONDS, Depot, Stored, depot_of
from service.settings import Settings
from service.store.models import Artifact, Export, ExportState, Job, Measurement, TrainedSupernet, Upload
from service.store.session import Database


def compare(session: Session, settings: Settings, *, deep: bool = False) -> dict[str, list[str]]:
    """Files that are `missing` or `damaged`, and those that are `unknown` to any row.

    Where a store of objects holds them besides, a file is missing if it is in neither place.

    Args:
        deep: whether digests are compared, and not only sizes.
    """
    root, depot = settings.artifacts_dir, depot_of(settings)
    stored = set() if depot is None else {found.sha256 for found in depot.objects()}
    named = dict(_named(session))
    missing, damaged = [], []
    for path, (sha256, size) in sorted(named.items()):
        file = root / path
        if not file.is_file():
            if sha256 not in stored:
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
    for folder in ("checkpoints", "supernets", "networks", "healed", "exports"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(root)


def _of_a_job(path: Path, jobs: set[str]) -> bool:
    """Whether a file lies where a job that is there writes: unpacked exports, and what is being written."""
    return len(path.parts) > 2 and path.parts[1] in jobs


@dataclass(frozen=True, slots=True)
class Garbage:
    """What no row names: files of the folder, relative to it, and objects of the store."""

    files: list[Path]
    objects: list[Stored]


def garbage(database: Database, settings: Settings, depot: Depot | None) -> Garbage:
    """What nobody needs any more. What is younger than an hour may belong to a row that is being written, and stays."""
    oldest = datetime.now(UTC) - timedelta(seconds=GRACE_SECONDS)
    # Before the rows are read: a row that is written meanwhile is seen, and keeps what it names.
    objects = [] if depot is None else list(depot.objects())
    files = list(_files(settings.artifacts_dir))
    with database.transaction() as session:
        named = dict(_named(session))
        digests = {sha256 for sha256, _ in named.values()} | set(session.scalars(select(Measurement.sha256)))
        digests |= set(session.scalars(select(Upload.sha256)))
        jobs = set(session.scalars(select(Job.id)))
    unnamed = [path for path in files if str(path) not in named and not _of_a_job(path, jobs)]
    return Garbage(
        [path for path in unnamed if _written(settings.artifacts_dir / path) < oldest],
        [found for found in objects if found.sha256 not in digests and (found.changed_at or oldest) < oldest],
    )


def _written(path: Path) -> datetime:
    """When a file was last written; one that has gone since counts as new."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.now(UTC)
