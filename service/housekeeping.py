"""What is removed because it is too old: deleted jobs, logs, messages that were sent, workers that are gone,
what healings left on the disk."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress

from sqlalchemy import delete, func

from service import removal
from service.settings import Settings
from service.store import nodes
from service.store.intervals import interval
from service.store.models import Delivery, DeliveryState, JobLog
from service.store.session import Database

DAY_SECONDS = 86400.0


def tidy(database: Database, settings: Settings) -> None:
    """Remove all of it. Any number of processes may do so at once."""
    removal.purge(database, settings)
    with database.transaction() as session:
        nodes.forget_gone(session)
        age = interval(settings.log_days * DAY_SECONDS)
        session.execute(delete(JobLog).where(JobLog.at < func.now() - age))
        sent = Delivery.state != DeliveryState.WAITING
        session.execute(delete(Delivery).where(sent, Delivery.created_at < func.now() - age))
    oldest = time.time() - settings.log_days * DAY_SECONDS
    for path in (settings.data_dir / "logs").glob("*-*.log"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()
    # Answers of parents, whose healing ended here without its last word; whoever still wants them asks again.
    for folder in settings.answers_dir.glob("*"):
        with suppress(FileNotFoundError):
            if folder.stat().st_mtime < time.time() - DAY_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
