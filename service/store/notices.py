"""Notices: what PostgreSQL tells listeners as soon as a transaction has committed, so that streams need not ask.

A notice carries an id and no truth: whoever hears it reads the rows. Those that were missed, while the connection was
away, cost no more than the time until the next look.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store.session import KEEPALIVES, Database

log = logging.getLogger(__name__)

# Channels: a job has news; a key was revoked.
JOBS, KEYS = "winnow_jobs", "winnow_keys"
# How long the thread waits for a notice before it looks whether it is to end, and after its connection broke.
LOOK_SECONDS, AGAIN_SECONDS = 1.0, 2.0


def tell(session: Session, channel: str, subject: str) -> None:
    """Tell listeners of a subject once this transaction has committed; the same notice counts once in it."""
    session.execute(select(func.pg_notify(channel, subject)))


class Notices:
    """Listens on a connection and a thread of its own, and rings the bells of those who wait in the event loop.

    Args:
        on_keys: called, in the thread, when a key was revoked or may have been.

    Attributes:
        live: whether notices arrive; if not, whoever waits should ask as often as it needs news.
    """

    def __init__(self, database: Database, on_keys: Callable[[], None] = lambda: None) -> None:
        self.live = False
        self._on_keys = on_keys
        self._url = database.url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._bells: dict[str, set[asyncio.Event]] = {}
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        """Begin, in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self._thread.join(LOOK_SECONDS + 0.5)

    @contextmanager
    def bell(self, job_id: str) -> Iterator[asyncio.Event]:
        """A bell that rings when a job has news, or a key was revoked."""
        bell = asyncio.Event()
        self._bells.setdefault(job_id, set()).add(bell)
        try:
            yield bell
        finally:
            bells = self._bells[job_id]
            bells.discard(bell)
            if not bells:
                del self._bells[job_id]

    def _run(self) -> None:
        import psycopg
        from psycopg.conninfo import make_conninfo

        while not self._stopped.is_set():
            try:
                patient = make_conninfo(self._url, connect_timeout=5, **KEEPALIVES)
                with psycopg.connect(patient, autocommit=True) as connection:
                    for channel in (JOBS, KEYS):
                        connection.execute(f"LISTEN {channel}")
                    self._on_keys()  # what was told meanwhile was not heard
                    self.live = True
                    self._ring(None)
                    while not self._stopped.is_set():
                        for notice in connection.notifies(timeout=LOOK_SECONDS):
                            if notice.channel == KEYS:
                                self._on_keys()
                            self._ring(notice.payload if notice.channel == JOBS else None)
                            if self._stopped.is_set():
                                break
            except psycopg.Error as error:
                if self.live:
                    log.warning("no notices: %s", str(error).strip().split("\n")[0])
            self.live = False
            self._ring(None)
            self._stopped.wait(AGAIN_SECONDS)

    def _ring(self, job_id: str | None) -> None:
        """Ring the bells of a job, or all."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._ring_here, job_id)

    def _ring_here(self, job_id: str | None) -> None:
        subjects = list(self._bells) if job_id is None else [job_id]
        for subject in subjects:
            for bell in self._bells.get(subject, ()):
                bell.set()
