"""The reaper: finds rows that need work and that nobody holds, and wakes a worker for them.

That covers a killed worker (its lease runs out), a lost message (Redis flushed or away at submission)
and a worker that missed its message. Sending a wake-up twice does no harm: the lease decides.
"""

from __future__ import annotations

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from service.errors import Unavailable
from service.queue import QUEUES, RUN_EXPORT, RUN_JOB, RUN_MEASUREMENT, Queue, Task, measuring_queue
from service.store import clock, healing_shares, leases
from service.store.models import Export, Job, Measurement
from service.store.session import Database, first_line

log = structlog.get_logger()

# A row that nobody claimed for so long after it was queued has an unheard wake-up.
UNHEARD_SECONDS = 5.0

# Wake-ups that are sent in one go: a slot that is woken takes up all that waits for it, one after the other.
MOST = 64

TASKS: tuple[tuple[type[Job | Export], Task], ...] = ((Job, RUN_JOB), (Export, RUN_EXPORT))


def reap(database: Database, queue: Queue, lease_seconds: float) -> int:
    """Wake workers for every unheld row; the number of wake-ups sent. Servers that are away are skipped.

    Args:
        lease_seconds: length of a lease; one that runs for longer is of a clock that was set back since.
    """
    sent = 0
    try:
        with database.transaction() as session:
            moved = clock.settle(session, lease_seconds)
        if moved:
            log.warning("reaper: the database's clock was set back", times=moved)
        for table, task in TASKS:
            with database.transaction() as session:
                waiting, fresh = (_waiting(session, table, seconds) for seconds in (UNHEARD_SECONDS, 0.0))
            if not fresh and queue.waiting(QUEUES[task]):
                queue.drain(QUEUES[task])
            # Wake-ups that nobody has taken are not lost: every worker is busy. More of them would not help.
            if not waiting or queue.waiting(QUEUES[task]):
                continue
            for row_id in waiting[:MOST]:
                queue.wake(task, row_id)
                sent += 1
        sent += _wake_targets(database, queue)
    except (OperationalError, InterfaceError) as error:
        log.warning("reaper: database away", reason=first_line(error))
    except Unavailable as error:
        log.warning("reaper: broker away", reason=error.detail)
    return sent


def _waiting(session: Session, table: type[Job | Export], seconds: float) -> list[str]:
    """Rows that nobody holds; after the jobs that wait come those that want help with their healing."""
    more = healing_shares.wanted(session, seconds) if table is Job else []
    return [*leases.unheld(session, table, seconds), *more]


def _wake_targets(database: Database, queue: Queue) -> int:
    """The same for requests to measure, whose queues are their targets' own."""
    with database.transaction() as session:
        waiting = leases.unheld(session, Measurement, UNHEARD_SECONDS)
        targets = {row_id: measuring_queue(_target_of(session, row_id)) for row_id in waiting}
    sent = 0
    for row_id, name in targets.items():
        # A target that is away finds one wake-up when it returns, not one for every five seconds of its absence.
        if not queue.waiting(name):
            queue.wake(RUN_MEASUREMENT, row_id, name)
            sent += 1
    return sent


def _target_of(session: Session, row_id: str) -> str:
    row = session.get(Measurement, row_id)
    assert row is not None
    return row.target
