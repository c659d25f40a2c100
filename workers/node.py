"""A worker node: one Celery slot per queue, one warm process, and the reaper. What `winnow worker` runs.

Each queue has a process of its own with one slot, so an export does not wait behind a week of training. Runners of all
slots are forked off one warm process. The node restarts what dies of these, and on SIGTERM or SIGINT gives back its
leases so that other workers need not wait for them to run out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from types import FrameType

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from service import mirror
from service.errors import Unavailable
from service.housekeeping import tidy
from service.lifeline import tied_to_parent
from service.queue import QUEUES, RUN_JOB, Queue
from service.settings import Settings, get_settings
from service.store import leases, nodes, schema
from service.store.session import Database, first_line
from workers import warm
from workers.facts import node_facts
from workers.files import close_hub
from workers.logs import configure_logging
from workers.reaper import reap

log = structlog.get_logger()

# After SIGTERM jobs have so long for a checkpoint, then all processes to end; together less than 30 s.
DRAIN_SECONDS = 18.0
STOP_SECONDS = 5.0
# How often what is too old is removed.
TIDY_SECONDS = 60.0
RESTART_SECONDS = 2.0
# A warm process that dies so often, each time this soon, is not started again.
DEATHS, HEALTHY_SECONDS = 3, 60.0


class WarmDoor:
    """Keeps a warm process alive behind a door that outlives it: requests wait there for the next."""

    def __init__(self) -> None:
        self._outside, self._inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None
        self._shut = False
        self._began, self._deaths = 0.0, 0

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What the slots inherit."""
        return () if self._shut else (self._outside.fileno(),)

    @property
    def passed(self) -> dict[str, str]:
        """The variable that tells them of it."""
        return {} if self._shut else {warm.DOOR: str(self._outside.fileno())}

    def keep(self, environment: Mapping[str, str]) -> None:
        """Start the process, and start it again if it has died."""
        if self._shut or (self._process is not None and self._process.poll() is None):
            return
        if self._process is not None:
            self._deaths = 1 if time.monotonic() - self._began > HEALTHY_SECONDS else self._deaths + 1
            if self._process.returncode == warm.UNFIT or self._deaths == DEATHS:
                log.warning("no warm process on this node, runners start cold", code=self._process.returncode)
                self._shut_door()
                return
            log.warning("the warm process died, starting it again", code=self._process.returncode)
            time.sleep(RESTART_SECONDS)
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            warm.command(self._inside.fileno()),
            env=environment,
            pass_fds=(self._inside.fileno(),),
            start_new_session=True,
            preexec_fn=tied_to_parent(),
        )

    def close(self) -> None:
        """End the process and all that it has forked."""
        self._shut_door()
        if self._process is not None:
            signal_group(self._process, signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("the warm process does not end, killing it")
            signal_group(self._process, signal.SIGKILL)
            self._process.wait()

    def _shut_door(self) -> None:
        self._shut = True
        for end in (self._outside, self._inside):
            end.close()


class Node:
    """The slots of one machine.

    Args:
        door: to the warm process for their runners; without one they start cold.
        until_idle: seconds with nothing to do after which the node ends; None: it never does by itself.
    """

    def __init__(
        self,
        queues: list[str],
        database: Database,
        queue: Queue,
        settings: Settings,
        door: WarmDoor | None = None,
        until_idle: float | None = None,
    ) -> None:
        self._name = f"{os.uname().nodename}:{uuid.uuid4().hex[:6]}"
        self._database, self._queue, self._settings = database, queue, settings
        self._tidied = 0.0
        self._slots: dict[str, subprocess.Popen[bytes]] = {}
        self._queues, self._warm = queues, door
        self._until_idle, self._worked = until_idle, time.monotonic()
        self._stopping = False

    def run(self) -> None:
        """Work until told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        log.info("worker starts", name=self._name, queues=",".join(self._queues))
        reaped = 0.0
        while not self._stopping:
            if self._warm is not None:
                self._warm.keep(self._environment())
            for name in self._queues:
                slot = self._slots.get(name)
                if slot is None or slot.poll() is not None:
                    if slot is not None:
                        log.warning("slot died, starting it again", queue=name, code=slot.returncode)
                        time.sleep(RESTART_SECONDS)
                    self._slots[name] = self._start(name)
            if time.monotonic() - reaped >= self._settings.reap_seconds:
                self._look_after()
                reaped = time.monotonic()
            time.sleep(0.2)
        self._end()

    def _look_after(self) -> None:
        """What is done every few seconds."""
        reap(self._database, self._queue, self._settings.lease_seconds)
        self._say_it_is_there()
        self._end_if_idle()
        if time.monotonic() - self._tidied >= TIDY_SECONDS:
            self._tidied = time.monotonic()
            self._tidy()

    def _say_it_is_there(self) -> None:
        """Register, and say again that this worker is there."""
        try:
            with self._database.transaction() as session:
                has = node_facts(self._settings, tuple(self._queues))
                nodes.beat(session, self._name, self._settings.reap_seconds, has)
        except (OperationalError, InterfaceError) as error:
            log.warning("no heartbeat: the database is away", reason=first_line(error))

    def _end_if_idle(self) -> None:
        """Stop once no slot has held anything for as long as was asked for. An outage counts as work: jobs may run."""
        if self._until_idle is None:
            return
        try:
            with self._database.transaction() as session:
                busy = leases.held_by(session, self._name) > 0
        except (OperationalError, InterfaceError):
            busy = True
        now = time.monotonic()
        if busy:
            self._worked = now
        elif now - self._worked >= self._until_idle:
            log.info("nothing to do, worker ends", seconds=self._until_idle)
            self._stopping = True

    def _tidy(self) -> None:
        """Remove what is too old to keep."""
        try:
            tidy(self._database, self._settings)
        except (OperationalError, InterfaceError, OSError) as error:
            log.warning("not tidied", reason=first_line(error))

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
        # SIGQUIT is Celery's cold shutdown: SIGTERM would wait for the running job.
        return subprocess.Popen(
            command,
            env={**self._environment(), **(self._warm.passed if self._warm else {})},
            pass_fds=self._warm.descriptors if self._warm else (),
            start_new_session=True,
            preexec_fn=tied_to_parent(signal.SIGQUIT),
        )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "WINNOW_WORKER_NAME": self._name}

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _end(self) -> None:
        """Drain, end the slots and all their children, then give back what leases are left."""
        self._drain()
        if self._warm is not None:
            self._warm.close()
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
                nodes.goodbye(session, self._name)
        except (OperationalError, InterfaceError) as error:
            log.warning("leases not given back; they will run out", reason=first_line(error))
        log.info("worker ended", name=self._name)

    def _drain(self) -> None:
        """Ask the supervisors to give back what they hold, and wait until they have, but not for long."""
        deadline = time.monotonic() + DRAIN_SECONDS
        try:
            with self._database.transaction() as session:
                nodes.drain(session, self._name)
            while time.monotonic() < deadline:
                with self._database.transaction() as session:
                    if leases.held_by(session, self._name) == 0:
                        return
                time.sleep(0.2)
            log.warning("a job does not leave in time; it goes on from its last checkpoint", seconds=DRAIN_SECONDS)
        except (OperationalError, InterfaceError) as error:
            log.warning("not drained: the database is away", reason=first_line(error))


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a process and everything it started."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def lanes(queues: Sequence[str]) -> list[str]:
    """The queues that a worker listens to: one that trains has a slot for every other kind of work besides, so that
    exports and evaluations never wait behind a training, however few workers there are."""
    return sorted(QUEUES.values()) if QUEUES[RUN_JOB] in queues else sorted(set(queues))


def main() -> int:
    """Check the servers, then work until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    every = sorted(QUEUES.values())
    parser.add_argument("--queues", nargs="+", choices=every, default=every)
    parser.add_argument("--until-idle", type=float, metavar="SECONDS")
    arguments = parser.parse_args()
    os.umask(0o077)  # logs and data are this user's alone, also where no command of ours started this
    configure_logging()
    if importlib.util.find_spec("torch") is None:
        sys.stderr.write("This installation has no torch and cannot work; install Winnow with its extra `worker`.\n")
        return 2
    try:
        settings = get_settings()
        mirror.check(settings)
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
    door = WarmDoor() if settings.warm_runners and sys.platform == "linux" else None
    Node(lanes(arguments.queues), database, queue, settings, door, arguments.until_idle).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
