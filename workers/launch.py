"""How a job's runner is started: alone, or by torchrun with the processes that its training shares batches over.

Also what `winnow join JOB --rank N` runs on the other machines of a training: it starts their processes whenever
the job's worker starts its own, until the job is over.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from types import FrameType

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from job.versions import outline
from service.lifeline import stop, tied_to_parent
from service.settings import Settings, get_settings
from service.store import nodes
from service.store.models import TERMINAL_STATES, WORKING_STATES, Job
from service.store.session import Database, first_line
from workers.facts import node_facts
from workers.logs import configure_logging

log = structlog.get_logger()

# What a machine's processes are given to leave by themselves.
GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Shape:
    """How many machines a training has, and processes on each."""

    hosts: int = 1
    processes: int = 1

    @classmethod
    def of(cls, job: Job) -> Shape:
        """A job's; one that trains nothing itself has one."""
        stored = outline(job.spec)
        return cls() if stored.reuse is not None else cls(stored.hosts, stored.processes)


def command(shape: Shape, settings: Settings, job_id: str, epoch: int, rank: int = 0) -> list[str]:
    """The command of one machine's runners.

    Args:
        rank: rank of the machine, from 0: the one whose worker has the job's lease.
    """
    runner = ["-m", "workers.runner", "job", job_id, str(epoch)]
    if shape == Shape():
        return [sys.executable, *runner]
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={shape.processes}"]
    if shape.hosts == 1:
        return [sys.executable, *launcher, "--standalone", *runner]
    address, port = settings.rendezvous.rsplit(":", 1)
    where = [f"--nnodes={shape.hosts}", f"--node-rank={rank}", f"--master-addr={address}", f"--master-port={port}"]
    return [sys.executable, *launcher, *where, *runner]


class Joined:
    """This machine's part of one job's training.

    It says that it is there for as long as it runs: no worker takes the job before all its machines are.

    Args:
        rank: rank of this machine, from 1.
    """

    def __init__(self, database: Database, settings: Settings, job_id: str, rank: int) -> None:
        self._database, self._settings, self._job_id, self._rank = database, settings, job_id, rank
        self._name = f"{os.uname().nodename}:{job_id}:{rank}:{os.getpid()}"
        has = node_facts(settings, (nodes.JOIN,))
        self._has = replace(has, labels=(job_id,), facts={**has.facts, "rank": rank})

    def run(self) -> None:
        """Train along with every run of the job until it is over.

        Raises:
            ValueError: no such job, or a training that has no machine of this rank.
        """
        try:
            self._follow()
        finally:
            self._say_goodbye()

    def _follow(self) -> None:
        joined: int | None = None
        while True:
            job = self._job()
            shape = Shape.of(job)
            if not 1 <= self._rank < shape.hosts:
                raise ValueError(
                    f"Job {job.id} is trained by {shape.hosts} machine(s) and its worker is machine 0: "
                    f"got rank {self._rank}, which must be from 1 to {shape.hosts - 1}."
                )
            if job.state in TERMINAL_STATES:
                return
            if job.state in WORKING_STATES and job.lease_owner is not None and job.epoch != joined:
                # A run that this machine has left because something failed is joined again while it goes on.
                joined = job.epoch if self._train_along(shape, job.epoch) == 0 else None
            time.sleep(self._settings.poll_seconds)

    def _train_along(self, shape: Shape, epoch: int) -> int | None:
        """Start this machine's processes and wait until they are done, or the run that they belong to is over.

        Returns:
            Their exit code.
        """
        log.info("joining", job=self._job_id, epoch=epoch, rank=self._rank)
        child = subprocess.Popen(
            command(shape, self._settings, self._job_id, epoch, self._rank), preexec_fn=tied_to_parent()
        )
        try:
            while child.poll() is None and self._goes_on(epoch):
                time.sleep(self._settings.poll_seconds)
            # Machine 0 is gone; most leave by themselves when they notice.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)
        finally:
            stop(child, GRACE_SECONDS)
        log.info("left", job=self._job_id, epoch=epoch, code=child.returncode)
        return child.returncode

    def _goes_on(self, epoch: int) -> bool:
        """Whether the run of this number is still that of the job."""
        job = self._job()
        return job.epoch == epoch and job.state not in TERMINAL_STATES and job.state != "paused"

    def _say_goodbye(self) -> None:
        try:
            with self._database.transaction() as session:
                nodes.goodbye(session, self._name)
        except (OperationalError, InterfaceError) as error:
            log.warning(
                "the database is away; this machine counts as joined for some seconds", reason=first_line(error)
            )

    def _job(self) -> Job:
        while True:
            try:
                with self._database.transaction() as session:
                    job = session.get(Job, self._job_id)
                    if job is None:
                        raise ValueError(f"There is no job {self._job_id!r}.")
                    nodes.beat(session, self._name, self._settings.poll_seconds, self._has)
                    session.expunge(job)
                    return job
            except (OperationalError, InterfaceError) as error:
                log.warning("database away", reason=first_line(error))
                time.sleep(self._settings.poll_seconds)


def main() -> int:
    """Join the training that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job")
    parser.add_argument("--rank", type=int, required=True)
    arguments = parser.parse_args()
    configure_logging()
    settings = get_settings()
    assert settings.database_url is not None

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    try:
        Joined(Database(settings.database_url), settings, arguments.job, arguments.rank).run()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
