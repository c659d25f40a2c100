"""A search's batches spread over workers, and the helper that takes its share.

Rows are the truth, messages wake helpers up (docs/decisions/0050). The job's runner works like any helper on its own
batch, so a search without helpers, or whose helpers die, goes on; results are put in the order asked before the
algorithm hears of them, so it does not matter who was first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session

from pipeline.evaluating import Pace, evaluated, evaluation_of, row_of
from pipeline.reporter import DATABASE_PATIENCE_SECONDS, Reporter, patiently
from search.evaluation import Evaluation
from search_space.architecture import Architecture
from service.errors import Unavailable
from service.queue import QUEUES, RUN_EVALUATE, Queue
from service.settings import Settings
from service.store import sharing
from service.store.models import EvaluationRow
from service.store.session import Database
from supernet.evaluator import Evaluator

log = structlog.get_logger()
T = TypeVar("T")
Evaluate = Callable[[Sequence[Architecture]], Iterator[tuple[EvaluationRow, Evaluation]]]

# The name under which a job's own runner claims: there is one at a time.
RUNNER = "runner"
# Who has nothing to claim looks again after this.
LOOK_SECONDS = 0.2
# A helper that finds nothing to do for so long goes; the next batch wakes one again.
IDLE_SECONDS = 60.0
# Helpers that were woken and have claimed nothing yet are given so long to start.
START_SECONDS = 60.0


def evaluate_of(evaluator: Evaluator, most_helpers: int, reporter: Reporter, settings: Settings) -> Evaluate:
    """How a job's batches are evaluated: by its runner alone, or with as many helpers as it asks for."""
    if most_helpers == 0:
        return partial(evaluated, evaluator, pace=Pace())
    share = Share(reporter.database, settings, reporter.job_id, evaluator, RUNNER)
    queue = Queue(settings.redis_url) if settings.redis_url else None
    return SharedSearch(reporter, share, evaluator, queue, most_helpers).evaluated


class Share:
    """Claims architectures of one job, evaluates and delivers them.

    Args:
        owner: the name under which it claims.
    """

    def __init__(self, database: Database, settings: Settings, job_id: str, evaluator: Evaluator, owner: str) -> None:
        self._database, self._settings = database, settings
        self._job_id, self._evaluator, self._owner = job_id, evaluator, owner
        self._pace = Pace()

    def work(self) -> bool:
        """Evaluate one group; False if there was nothing to claim."""
        lease = self._settings.lease_seconds
        claims = self._write(lambda s: sharing.claim(s, self._job_id, self._owner, self._pace.size, lease))
        if not claims:
            return False
        with self._held(claims):
            began = time.monotonic()
            space = self._evaluator.space
            evaluations = self._evaluator.evaluate([space.architecture(**claim.values) for claim in claims])
            seconds = (time.monotonic() - began) / len(claims)
        self._pace.took(len(claims), seconds * len(claims))

        def deliver(session: Session) -> None:
            for claim, evaluation in zip(claims, evaluations, strict=True):
                row = row_of(evaluation, seconds)
                sharing.deliver(session, self._job_id, claim, row.metrics, row.sources, row.seconds)

        self._write(deliver)
        return True

    @contextmanager
    def _held(self, claims: Sequence[sharing.Claim]) -> Iterator[None]:
        """Renew the claims while they are worked on; free them if that fails."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self._settings.heartbeat_seconds):
                self._write(lambda s: sharing.renew(s, self._job_id, claims, self._settings.lease_seconds))

        heart = threading.Thread(target=renew, daemon=True)
        heart.start()
        try:
            yield
        except Exception:
            done.set()
            heart.join()
            self._write(lambda s: sharing.give_back(s, self._job_id, claims))
            raise
        finally:
            done.set()
            heart.join()

    def _write(self, write: Callable[[Session], T]) -> T:
        return patiently(self._database, write, DATABASE_PATIENCE_SECONDS)


class SharedSearch:
    """Evaluates the batches of a job's search together with any number of helpers.

    Args:
        queue: through which helpers are woken; None: nobody is.
        most_helpers: to wake.
    """

    def __init__(
        self, reporter: Reporter, share: Share, evaluator: Evaluator, queue: Queue | None, most_helpers: int
    ) -> None:
        self._reporter, self._share, self._evaluator = reporter, share, evaluator
        self._queue, self._most_helpers = queue, most_helpers
        self._woken = -START_SECONDS

    def evaluated(self, architectures: Sequence[Architecture]) -> Iterator[tuple[EvaluationRow, Evaluation]]:
        """Every architecture's row and evaluation, as they come in; whoever takes one has stored it before the next."""
        waiting = {architecture.id: architecture for architecture in self._evaluator.in_order(architectures)}
        self._reporter.offer([(key, dict(a.values)) for key, a in waiting.items()], RUNNER)
        self._wake()
        while waiting:
            worked = self._share.work()
            for row in self._reporter.collect(list(waiting)):
                yield row, evaluation_of(waiting.pop(row.architecture_id), row)
            if not worked and waiting:
                self._reporter.listen()
                time.sleep(LOOK_SECONDS)
        self._reporter.take_down()

    def _wake(self) -> None:
        """Wake helpers that are not there; at most once in a while, because they take time to start."""
        if self._queue is None or time.monotonic() - self._woken < START_SECONDS:
            return
        missing = self._most_helpers - self._reporter.helpers(RUNNER)
        self._woken = time.monotonic()
        try:
            for _ in range(missing if self._queue.waiting(QUEUES[RUN_EVALUATE]) == 0 else 0):
                self._queue.wake(RUN_EVALUATE, self._reporter.job_id)
        except Unavailable as error:
            log.warning("no helpers woken: the broker is away", reason=error.detail)


def help_out(database: Database, job_id: str, share: Share, idle_seconds: float = IDLE_SECONDS) -> None:
    """Evaluate for a job until its search ends, or there was nothing to do for a while."""
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < idle_seconds:
        if share.work():
            idle_since = time.monotonic()
        elif patiently(database, lambda s: sharing.wants_help(s, job_id), DATABASE_PATIENCE_SECONDS):
            time.sleep(LOOK_SECONDS)
        else:
            return
