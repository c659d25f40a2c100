"""Says in a job's log how far its stage is, now and then, however long the stage itself has nothing to say.

It asks from a thread of its own, so that a single long step is no silence either: a predictor that learns, a checkpoint
that is read, a network that is measured on another machine.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from types import TracebackType

import structlog

from service.store.models import Stage

log = structlog.get_logger()

# A stage that lasts is asked so often.
LOOK_SECONDS = 1.0
# Between two lines of a stage lie so many seconds, and so much of what the stage has taken: about 50 lines in the first
# half hour, and as many again whenever it takes e times as long.
LEAST_SECONDS, LEAST_SHARE = 30.0, 0.02


class Herald:
    """Logs where a job is while it is entered.

    Args:
        where: gives the stage, its seconds and a sentence; any thread may ask.
    """

    def __init__(self, where: Callable[[], tuple[Stage, float, str]]) -> None:
        self._where = where
        self._stage: Stage | None = None
        self._due = LEAST_SECONDS
        self._ended = threading.Event()
        # What all lines of the job carry is that of the thread that runs it.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._until_ended), name="herald", daemon=True)

    def look(self) -> None:
        """Say where the job is, if that is due."""
        stage, seconds, told = self._where()
        if stage != self._stage:
            self._stage, self._due = stage, LEAST_SECONDS
        if seconds >= self._due:
            self._due = seconds + max(LEAST_SECONDS, LEAST_SHARE * seconds)
            log.info(told, stage=str(stage))

    def _until_ended(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.look()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(2 * LOOK_SECONDS)
