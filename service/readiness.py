"""Whether an installation can work: each thing that a job needs, and what to do where it is missing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from service.depot import depot_of
from service.errors import Unavailable
from service.folder_lock import troubles
from service.queue import Queue
from service.settings import Settings
from service.store import nodes
from service.store.session import Database, first_line

# What needs PostgreSQL is not asked for while that is away.
NEED_DATABASE = ("migrations", "worker")


def missing(database: Database, queue: Queue, settings: Settings) -> dict[str, str]:
    """What is missing, by name, in a sentence each; empty where everything is there."""
    from service.store import schema  # Alembic: not needed to start

    checks: dict[str, Callable[[], None]] = {
        "database": database.check,
        "migrations": lambda: schema.check(database),
        "broker": queue.check,
        "artifacts": lambda: check_artifacts(settings),
        "worker": lambda: check_worker(database),
    }
    found: dict[str, str] = {}
    for name, check in checks.items():
        if "database" in found and name in NEED_DATABASE:
            continue
        try:
            check()
        except Unavailable as error:
            found[name] = error.detail
        except SQLAlchemyError as error:
            found[name] = f"PostgreSQL does not answer: {first_line(error)}"
    if parts := troubles(settings.data_dir):
        found["parts"] = " ".join(parts)
    return found


def check_artifacts(settings: Settings) -> None:
    """See to it that artifacts can be written.

    Raises:
        Unavailable: the folder, or the store that holds them besides, does not take them.
    """
    check_folder(settings.artifacts_dir)
    if (depot := depot_of(settings)) is not None:
        depot.check()


def check_folder(folder: Path) -> None:
    """See to it that files can be written in a folder.

    Raises:
        Unavailable: they cannot.
    """
    probe = folder / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        raise Unavailable(f"Nothing can be written in {folder}: {error.strerror}.") from None


def check_worker(database: Database) -> None:
    """See to it that a worker is there that takes jobs.

    Raises:
        Unavailable: none is.
    """
    with database.transaction() as session:
        if not nodes.online(session, "train"):
            raise Unavailable("No worker is there that takes jobs; `winnow worker` starts one.")
