"""The log of a job as rows: what its runner logs, with stage and step, and how it ended.

Lines are written by a thread of their own, a second late at most; while the database is away they wait, and the
oldest go where there are too many. Nothing of a job waits for its log.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError

from service.store.models import JobLog, LogLevel
from service.store.session import Database

FLUSH_SECONDS = 1.0
# Lines that wait while the database is away.
MOST_WAITING = 5000
# Characters of a line that are kept.
LONGEST = 20_000
# What a line says besides its text is in columns of its own.
COLUMNS = ("event", "level", "timestamp", "stage", "step")
LEVELS = {"debug": LogLevel.DEBUG, "info": LogLevel.INFO, "warning": LogLevel.WARNING}


class JobLines(logging.Handler):
    """Collects lines of one run and stores them.

    Args:
        epoch: epoch of the run.
    """

    def __init__(self, database: Database, job_id: str, epoch: int) -> None:
        super().__init__(logging.WARNING)  # of libraries, what people should hear
        self._database, self._job_id, self._epoch = database, job_id, epoch
        self._lines: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._store_until_ended, name="job log", daemon=True)

    def start(self) -> None:
        """Begin to store what is said."""
        logging.getLogger().addHandler(self)
        self._thread.start()

    def close(self) -> None:
        """Store the rest."""
        logging.getLogger().removeHandler(self)
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(2 * FLUSH_SECONDS)
        super().close()

    def tee(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A processor of structlog that keeps each line as well."""
        more = " ".join(f"{name}={value}" for name, value in event.items() if name not in COLUMNS)
        text = f"{event.get('event', '')} {more}".strip()
        self._add(str(event.get("level", "info")), text, event)
        return event

    def emit(self, record: logging.LogRecord) -> None:
        """A line of a library."""
        text = f"{record.name}: {record.getMessage()}"
        self._add(record.levelname.lower(), text, structlog.contextvars.get_contextvars())

    def _add(self, level: str, text: str, where: MutableMapping[str, Any] | dict[str, Any]) -> None:
        step = where.get("step")
        self._lines.append(
            {
                "job_id": self._job_id,
                "epoch": self._epoch,
                "at": datetime.now(UTC),
                "level": LEVELS.get(level, LogLevel.ERROR),
                "stage": where.get("stage"),
                "step": step if isinstance(step, int) else None,
                "text": text[:LONGEST],
            }
        )

    def _store_until_ended(self) -> None:
        while not self._ended.wait(FLUSH_SECONDS):
            self._store()
        self._store()

    def _store(self) -> None:
        taken = []
        while self._lines:
            taken.append(self._lines.popleft())
        if not taken:
            return
        try:
            with self._database.transaction() as session:
                session.execute(insert(JobLog), taken)
        except SQLAlchemyError:  # away for a moment, or the job is gone
            self._lines.extendleft(reversed(taken[-MOST_WAITING // 2 :]))
