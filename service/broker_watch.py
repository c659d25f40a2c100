"""Looks after the broker for people: what a page says while it is away."""

from __future__ import annotations

import logging
import threading

from service.errors import Unavailable
from service.queue import Queue

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


class BrokerWatch:
    """Asks the broker now and then, on a thread of its own.

    Attributes:
        trouble: what people should hear; None while it answers.
    """

    def __init__(self, queue: Queue) -> None:
        self.trouble: str | None = None
        self._queue = queue
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self._thread.join(0.5)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(LOOK_SECONDS)

    def look(self) -> None:
        """Ask it once."""
        before = self.trouble
        try:
            self._queue.check()
            self.trouble = None
        except Unavailable as error:
            self.trouble = (
                f"{error.detail} Jobs are accepted and kept, and are taken up once it is back. What runs goes on."
            )
        if (before is None) != (self.trouble is None):
            log.warning("%s", self.trouble or "Redis answers again.")
