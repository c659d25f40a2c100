"""Measures what one row asks for on this machine, then exits: `python -m workers.measuring ID EPOCH`.

Started by the supervisor of a target. It needs no torch where the networks are ONNX files. The exit codes are those
of the runner: 0 the row says how it ended, 1 try again, 3 the lease is somebody else's.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from export.measure import Effort, MeasurementError, Setting, measure_many
from service.auth.hosts import is_loopback
from service.credentials import headers_for
from service.settings import Settings, get_settings
from service.store import leases
from service.store.leases import LeaseLost
from service.store.models import ExportState, Measurement
from service.store.session import Database, first_line
from workers.logs import configure_logging

log = structlog.get_logger()

DONE, TRY_AGAIN, LEASE_LOST = 0, 1, 3
ARCHIVE = "networks.tar"


class ArchiveMissing(Exception):
    """The networks to measure cannot be had; the message says from where they were asked."""


def run(database: Database, settings: Settings, measurement_id: str, epoch: int) -> None:
    """Fetch the networks, measure them, and store what came out.

    Raises:
        LeaseLost: somebody else holds the row.
        ArchiveMissing: the networks cannot be had now.
    """
    with database.transaction() as session:
        leases.peek(session, Measurement, measurement_id, epoch)
        row = session.get(Measurement, measurement_id)
        assert row is not None
    request = row.request
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
        archive = fetch(row, settings, Path(folder))
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        measured = measure_many(
            [Path(folder) / name for name in request["models"]],
            [Setting(**setting) for setting in request["settings"]],
            Effort(**request["effort"]),
        )
    results: list[dict[str, Any]] = [
        {"refused": str(one), "operator": one.operator} if isinstance(one, MeasurementError) else {"results": one}
        for one in measured
    ]

    def write(session: Session) -> None:
        values = {"state": ExportState.SUCCEEDED, "message": None, "results": results}
        leases.finish(session, Measurement, measurement_id, epoch, values)

    with database.transaction() as session:
        write(session)


def fetch(row: Measurement, settings: Settings, folder: Path) -> Path:
    """The archive of a request: from the artifacts folder where this machine shares it, else over the API.

    Raises:
        ArchiveMissing: from neither.
    """
    shared = settings.artifacts_dir / row.path
    if shared.is_file() and _sha256(shared) == row.sha256:
        return shared
    target = folder / ARCHIVE
    url = f"{settings.url.rstrip('/')}/v1/measurements/{row.id}/networks"
    try:
        with (
            # A proxy of the environment is for other machines: this one is asked directly.
            httpx.stream(
                "GET",
                url,
                timeout=60,
                headers=headers_for(settings.url),
                trust_env=not is_loopback(urlsplit(url).hostname or ""),
            ) as answer,
            target.open("wb") as file,
        ):
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)
    except httpx.HTTPError as error:
        raise ArchiveMissing(
            f"The networks are not in {settings.artifacts_dir} and {url} does not give them ({error}). Share the "
            "folder with this machine, or set WINNOW_URL to the API's address."
        ) from None
    if _sha256(target) != row.sha256:
        raise ArchiveMissing(f"{url} gave something else than what was to be measured: its sha256 differs.")
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Measure what the command line names; the exit code is described above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("id")
    parser.add_argument("epoch", type=int)
    arguments = parser.parse_args()
    configure_logging()
    settings = get_settings()
    assert settings.database_url is not None
    database = Database(settings.database_url)
    try:
        run(database, settings, arguments.id, arguments.epoch)
    except (OperationalError, InterfaceError) as error:
        log.error("stopping: the database is away", reason=first_line(error))
        return TRY_AGAIN
    except LeaseLost as error:
        log.warning("stopping: the lease is somebody else's", reason=str(error))
        return LEASE_LOST
    except ArchiveMissing as error:
        values = {"state": ExportState.FAILED, "message": str(error)}
        with database.transaction() as session:
            leases.finish(session, Measurement, arguments.id, arguments.epoch, values)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
