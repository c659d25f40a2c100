"""A worker node: one Celery slot per queue, and the reaper. What `winnow worker` runs.

Each queue has a process of its own with one slot, so an export does not wait behind a week of training.
The node restarts a slot that dies, and on SIGTERM or SIGINT gives back its leases so that other workers
need not wait for them to run out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import time
import uuid
from types import FrameType

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from service.errors import Unavailable
from service.lifeline import tied_to_parent
from service.queue import QUEUES, Queue
from service.settings import get_settings
from service.store import leases, schema
from service.store.session import Database, first_line
from workers.files import close_hub
from workers.logs import configure_logging
from workers.reaper import reap

log = structlog.get_logger()

STOP_SECONDS = 5.0
RESTART_SECONDS = 2.0


class Node:
    """The slots of one machine."""

    def __init__(self, queues: list[str], database: Database, queue: Queue, reap_seconds: float) -> None:
        self._name = f"{os.uname().nodename}:{uuid.uuid4().hex[:6]}"
        self._database, self._queue, self._reap_seconds = database, queue, reap_seconds
        self._slots: dict[str, subprocess.Popen[bytes]] = {}
        self._queues = queues
        self._stopping = False

    def run(self) -> None:
        """Work until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        log.info("worker starts", name=self._name, queues=",".join(self._queues))
        reaped = 0.0
        while not self._stopping:
            for name in self._queues:
                slot = self._slots.get(name)
                if slot is None or slot.poll() is not None:
                    if slot is not None:
                        log.warning("slot died, starting it again", queue=name, code=slot.returncode)
                        time.sleep(RESTART_SECONDS)
                    self._slots[name] = self._start(name)
            if time.monotonic() - reaped >= self._reap_seconds:
                self._look_after()
                reaped = time.monotonic()
            time.sleep(0.2)
        self._end()

    def _look_after(self) -> None:
        """What is done every few seconds."""
        reap(self._database, self._queue)

    def _start(self, queue: str) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "celery", "--quiet", "-A", "workers.celery_app", "worker"),
            *("--queues", queue, "--concurrency", "1", "--pool", "prefork", "--loglevel", "WARNING"),
            *(
                "--hostname",
                f"{queue}@{self._name}",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ),
        ]
        environment = {**os.environ, "WINNOW_WORKER_NAME": self._name}
        # SIGQUIT is Celery's cold shutdown: SIGTERM would wait for the running job.
        return subprocess.Popen(
            command, env=environment, start_new_session=True, preexec_fn=tied_to_parent(signal.SIGQUIT)
        )

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _end(self) -> None:
        """End the slots and all their children, then give back their leases."""
        for slot in self._slots.values():
            signal_group(slot, signal.SIGTERM)
            signal_group(slot, signal.SIGQUIT)
        deadline = time.monotonic() + STOP_SECONDS
        for slot in self._slots.values():
            try:
                slot.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("slot does not end, killing it")
            signal_group(slot, signal.SIGKILL)
            slot.wait()
        try:
            with self._database.transaction() as session:
                leases.release_all(session, self._name)
        except (OperationalError, InterfaceError) as error:
            log.warning("leases not given back; they will run out", reason=first_line(error))
        log.info("worker ended", name=self._name)


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a process and everything it started."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def main() -> int:
    """Check the servers, then work until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", nargs="+", choices=sorted(QUEUES.values()), default=sorted(QUEUES.values()))
    arguments = parser.parse_args()
    configure_logging()
    if importlib.util.find_spec("torch") is None:
        sys.stderr.write("This installation has no torch and cannot work; install Winnow with its extra `worker`.\n")
        return 2
    try:
        settings = get_settings()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if settings.database_url is None or settings.redis_url is None:
        sys.stderr.write("A worker needs WINNOW_DATABASE_URL and WINNOW_REDIS_URL; `winnow up` sets both.\n")
        return 2
    close_hub(settings)
    try:
        database, queue = Database(settings.database_url), Queue(settings.redis_url)
        database.check()
        queue.check()
        schema.check(database)
    except (Unavailable, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    Node(arguments.queues, database, queue, settings.reap_seconds).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
