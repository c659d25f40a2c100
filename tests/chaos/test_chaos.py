"""Chaos: jobs whose processes and servers are killed, frozen, flushed and restarted at random moments end as if nothing
had happened, and nobody waits for what a dead or frozen process holds.

`make test` has a few moments, `make chaos` many (`WINNOW_CHAOS_MOMENTS`); `WINNOW_CHAOS_SEED` repeats them.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from service.client import Client, ClientError
from service.embedded import running_postgres, socket_of
from service.settings import Settings
from service.stack import Stack
from service.store import queries
from service.store.models import ACTIVE_STATES, TERMINAL_STATES, EvaluationRow, Finalist, Job, JobEvent
from service.store.session import Database
from tests.chaos.proxy import Proxy
from tests.conftest import FAST, TEMPORARY, open_folder
from tests.e2e.helpers import runner_pids
from tests.times import move_times

pytestmark = pytest.mark.e2e

MOMENTS = int(os.environ.get("WINNOW_CHAOS_MOMENTS", "4"))
SEED = int(os.environ.get("WINNOW_CHAOS_SEED", "0"))
LEASE_SECONDS, STALL_SECONDS = float(FAST["WINNOW_LEASE_SECONDS"]), 20.0
# Faults whose names have this, a regular expression, happen.
ONLY = os.environ.get("WINNOW_CHAOS_ONLY", "")
# Nobody waits longer than a lease and this for what another process holds.
PATIENCE_SECONDS = 10.0
JOB = {
    "recipe": "bignas",
    "hardware": {"seconds": 0.02},
    "training": {"epochs": 2},
    "search": {"algorithm": "nsga2", "evaluations": 48, "options": {"population": 16}, "calibration_images": 64},
}


class ChaoticStack(Stack):
    """A stack whose parts reach the servers over networks of their own, with clocks that may jump.

    Attributes:
        networks: by (part, server).
        clock: a file with the seconds that clocks of all parts are wrong by.
    """

    def __init__(self, settings: Settings, networks: ExitStack) -> None:
        super().__init__(settings, port=0)
        self._entered, self.networks = networks, dict[tuple[str, str], Proxy]()
        self.clock = settings.data_dir / "clock"
        self._part: str | None = None

    def _spawn(self, name: str, module: str, *arguments: str) -> None:
        if not self.networks:
            assert self.servers is not None
            (folder,) = make_url(self.servers.database_url).normalized_query["host"]
            sockets = {"database": Path(folder) / ".s.PGSQL.5432", "broker": socket_of(self.data_dir)}
            for part in ("api", "worker"):
                for server, socket in sockets.items():
                    self.networks[part, server] = self._entered.enter_context(Proxy(socket))
        self._part = name
        super()._spawn(name, module, *arguments)
        self._part = None

    def environment(self) -> dict[str, str]:
        """That of the part that is being started; anybody else reaches the servers directly."""
        found = super().environment()
        if self._part is None:
            return found
        database = make_url(found["WINNOW_DATABASE_URL"]).difference_update_query(["host"])
        database = database.set(host="127.0.0.1", port=self.networks[self._part, "database"].port)
        return {
            **found,
            "WINNOW_DATABASE_URL": database.render_as_string(hide_password=False),
            "WINNOW_REDIS_URL": f"redis://127.0.0.1:{self.networks[self._part, 'broker'].port}/0",
            "WINNOW_TEST_CLOCK": str(self.clock),
            "PYTHONPATH": str(Path(__file__).parent / "clock"),
        }


@pytest.fixture(scope="module")
def chaotic() -> Iterator[ChaoticStack]:
    """A stack of its own, with short patience, that looks after its parts; a second node only exports and reaps."""
    before = dict(os.environ)
    # A job may die as often as there are moments, and still goes on.
    os.environ.update({**FAST, "WINNOW_STALL_SECONDS": str(STALL_SECONDS), "WINNOW_MAX_ATTEMPTS": "1000"})
    with open_folder() as folder, ExitStack() as networks:
        settings = Settings(data_dir=folder, database_url=None, redis_url=None, data_roots=TEMPORARY)
        ended = threading.Event()
        stack = ChaoticStack(settings, networks)

        def look_after() -> None:
            while not ended.wait(0.5):
                stack.look_after()

        watching = threading.Thread(target=look_after)
        try:
            stack.start()
            watching.start()
            environment = {**os.environ, **stack.environment(), "WINNOW_WARM_RUNNERS": "false"}
            command = [sys.executable, "-m", "workers.node", "--queues", "export"]
            with subprocess.Popen(command, env=environment, start_new_session=True) as second:
                yield stack
                second.terminate()
        finally:
            ended.set()
            if watching.is_alive():
                watching.join()
            stack.stop()
    os.environ.clear()
    os.environ.update(before)


class Watch(threading.Thread):
    """Looks into the database all the time: how long it has seen a job with a lease that has run out, at most."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._database, self.ended = Database(url), threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        overdue = select(Job.id).where(Job.state.in_(ACTIVE_STATES), Job.lease_until < func.now())
        since: dict[str, float] = {}
        while not self.ended.wait(0.3):
            with suppress(Exception), self._database.transaction() as session:  # the database is restarted as well
                found, now = session.scalars(overdue).all(), time.monotonic()
                since = {job_id: since.get(job_id, now) for job_id in found}
                self.longest = max([self.longest, *(now - first for first in since.values())])
        self._database.close()


class Faults:
    """What may happen to a stack while a job runs."""

    def __init__(self, stack: ChaoticStack, job_id: str, rng: random.Random) -> None:
        self._stack, self._job_id, self._rng = stack, job_id, rng

        def worker() -> int:
            return stack.children["worker"].pid

        self.every: dict[str, Callable[[], None]] = {
            "runner killed": lambda: self._signal(runner_pids(f"job {job_id}"), signal.SIGKILL),
            "runner frozen for good": lambda: self._signal(runner_pids(f"job {job_id}"), signal.SIGSTOP),
            "runner frozen for a moment": lambda: self._freeze(runner_pids(f"job {job_id}"), 1.0),
            "worker killed": lambda: self._signal([worker()], signal.SIGKILL),
            "worker frozen beyond its lease": lambda: self._freeze(
                _group(stack.children["worker"].pid), LEASE_SECONDS + 2
            ),
            "supervisor killed": lambda: self._signal(_slots(worker()), signal.SIGKILL),
            "connections to the database cut": self._cut_database,
            "connections to the broker cut": self._cut_broker,
            "API killed": lambda: self._signal([stack.children["api"].pid], signal.SIGKILL),
            "broker flushed": self._flush,
            "broker killed": self._kill_broker,
            "database restarted": lambda: self._signal([running_postgres(stack.data_dir) or 0], signal.SIGINT),
            "database killed": lambda: self._signal([running_postgres(stack.data_dir) or 0], signal.SIGQUIT),
            "clocks jump ahead": lambda: self._jump(7200.0),
            "clocks jump back": lambda: self._jump(-7200.0),
            "clock of the database jumps ahead": lambda: self._move_times(-7200.0),
            "clock of the database jumps back": lambda: self._move_times(7200.0),
        }
        for (part, server), network in stack.networks.items():
            self.every |= {
                f"network of {part} and {server} cut": partial(network.cut, 1.5),
                f"network of {part} and {server} swallows for a moment": partial(network.swallow, 1.5),
                f"network of {part} and {server} swallows beyond a lease": partial(network.swallow, LEASE_SECONDS + 2),
            }

    def happen(self, name: str) -> None:
        """Let it."""
        with suppress(OSError):
            self.every[name]()

    def _signal(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            if pid > 0:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _freeze(self, pids: list[int], seconds: float) -> None:
        self._signal(pids, signal.SIGSTOP)
        time.sleep(seconds)
        self._signal(pids, signal.SIGCONT)

    def _jump(self, seconds: float) -> None:
        self._stack.clock.write_text(str(seconds), encoding="ascii")

    def _move_times(self, seconds: float) -> None:
        """The database's clock jumps; if it is set back, while a worker dies, whose lease then nobody renews."""
        if seconds > 0:
            self._signal(runner_pids(f"job {self._job_id}"), signal.SIGKILL)
            self._signal([self._stack.children["worker"].pid], signal.SIGKILL)
        assert self._stack.servers is not None
        database = Database(self._stack.servers.database_url)

        def move() -> None:
            with database.transaction() as session:
                move_times(session, seconds)

        patiently(move, unless=DBAPIError)  # it may be restarting, or somebody holds a row
        database.close()

    def _flush(self) -> None:
        with Redis(unix_socket_path=str(socket_of(self._stack.data_dir))) as redis:
            redis.flushall()

    def _cut_broker(self) -> None:
        with Redis(unix_socket_path=str(socket_of(self._stack.data_dir))) as redis:
            redis.execute_command("CLIENT", "KILL", "TYPE", "normal")

    def _cut_database(self) -> None:
        """Within transactions and between them, those of runners, supervisors, nodes and the API."""
        assert self._stack.servers is not None
        mine = Database(self._stack.servers.database_url)
        with mine.engine.connect() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            connection.exec_driver_sql(f"{others} AND datname = current_database()")
        mine.close()

    def _kill_broker(self) -> None:
        with Redis(unix_socket_path=str(socket_of(self._stack.data_dir))) as redis:
            pid = int(redis.info("server")["process_id"])
        self._signal([pid], signal.SIGKILL)


def _slots(node: int) -> list[int]:
    """The slots of a node, and their processes."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == node and b"celery" in (folder / "cmdline").read_bytes():
                    found += _group(int(folder.name))
    return found


def _group(pid: int) -> list[int]:
    """A worker node and the processes below it."""
    found, parents = [pid], {pid}
    rows = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, IndexError):
                rows.append((int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])))
    while parents:
        parents = {child for child, parent in rows if parent in parents and child not in found}
        found += sorted(parents)
    return found


def patiently(ask: Callable[[], Any], seconds: float = 120, unless: type[Exception] = ClientError) -> Any:
    """What the API, or another server, answers as soon as it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except unless:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def outcome(database: Database, job_id: str) -> dict[str, Any]:
    """All that must not depend on what happened."""
    with database.transaction() as session:
        rows = queries.evaluations(session, job_id)
        finalists = session.scalars(select(Finalist).where(Finalist.job_id == job_id).order_by(Finalist.position))
        return {
            "evaluations": [(row.number, row.architecture_id, row.metrics) for row in rows],
            "front": [(one.architecture_id, one.metrics.get("test_accuracy")) for one in finalists],
        }


def ended(client: Client, job_id: str, seconds: float, happened: Sequence[str] = ()) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while (job := patiently(lambda: client.job(job_id)))["state"] not in TERMINAL_STATES:
        assert time.monotonic() < deadline, (happened, {name: job[name] for name in ("state", "stage", "waits")})
        time.sleep(0.3)
    return dict(job)


@pytest.mark.thorough
@pytest.mark.timeout(7200)
def test_whatever_happens_a_job_ends_as_if_nothing_had(chaotic: ChaoticStack) -> None:
    rng = random.Random(SEED)
    assert chaotic.servers is not None
    database = Database(chaotic.servers.database_url)
    with Client(chaotic.url, key=chaotic.api_key) as client:
        quiet = client.submit({**JOB, "name": "quiet"})["id"]
        assert ended(client, quiet, 300)["state"] == "succeeded"
        expected = outcome(database, quiet)
        left, names = MOMENTS, [name for name in Faults(chaotic, "", rng).every if re.search(ONLY, name)]
        rng.shuffle(names)
        happened: list[str] = []
        while left > 0:
            job_id = patiently(lambda: client.submit({**JOB, "name": "chaos"}))["id"]
            faults = Faults(chaotic, job_id, rng)
            watch = Watch(chaotic.servers.database_url)
            watch.start()
            for _ in range(min(left, 4)):
                time.sleep(rng.uniform(0.5, 4.0))
                fault = names[len(happened) % len(names)]
                happened.append(fault)
                faults.happen(fault)
                left -= 1
            job = ended(client, job_id, 300, happened)
            watch.ended.set()
            watch.join()
            assert job["state"] == "succeeded", (happened, job["message"])
            assert outcome(database, job_id) == expected, happened
            # A database that is away for a restart is nobody's hold.
            assert watch.longest < LEASE_SECONDS + PATIENCE_SECONDS, happened
            check_rows(database, job_id)
    database.close()


def check_rows(database: Database, job_id: str) -> None:
    """Nothing is there twice, nothing is missing, and nobody holds what is over."""
    with database.transaction() as session:
        numbers = session.scalars(select(EvaluationRow.number).where(EvaluationRow.job_id == job_id)).all()
        events = session.scalars(select(JobEvent.seq).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)).all()
        job = session.get(Job, job_id)
        assert job is not None
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        assert list(events) == list(range(1, len(events) + 1))
        assert (job.lease_owner, job.lease_until) == (None, None)
