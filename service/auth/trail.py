"""The audit trail: rows of requests that may have changed something. Those that come together are written together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError

from service.store.models import AuditRow
from service.store.session import Database

log = logging.getLogger(__name__)


class Trail:
    """Writes rows. While one transaction is under way, the rows of all who come meanwhile wait for the next."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Mapping[str, Any]] = []
        # Rows that came, and rows that were written or given up.
        self._came = self._done = 0
        self._counting, self._writing = threading.Lock(), threading.Lock()

    def write(self, row: Mapping[str, Any]) -> None:
        """Return once a row is written, or has been told to the log because it cannot be."""
        with self._counting:
            self._waiting.append(row)
            self._came += 1
            mine = self._came
        with self._writing:
            if self._done >= mine:
                return
            with self._counting:
                rows, self._waiting = self._waiting, []
            try:
                with self._database.engine.begin() as connection:
                    connection.execute(insert(AuditRow), rows)
            except SQLAlchemyError as error:
                for one in rows:
                    what = (one["method"], one["path"], one["key_name"], one["status"], type(error).__name__)
                    log.error("not in the audit trail: %s %s by %s, %d (%s)", *what)
            self._done += len(rows)
