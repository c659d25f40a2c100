"""The supervisor: claims a row, runs it in a child process, keeps the lease alive, records a bad end.

It runs inside a Celery task and imports no torch. Everything that can crash, leak or hang happens in
the child (docs/decisions/0002).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import structlog
from sqlalchemy import case, func, select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from service.lifeline import Child, stop
from service.settings import Settings
from service.store import healing_shares, leases, nodes, queries, sharing
from service.store.leases import Lease, LeasedTable, LeaseLost
from service.store.models import (
    Export,
    ExportState,
    HealingShare,
    Job,
    JobLog,
    JobState,
    LogLevel,
    Measurement,
    Stage,
    WorkerNode,
)
from service.store.session import Database, first_line
from workers import children, launch

log = structlog.get_logger()

# After SIGTERM a child has this long; with the poll interval it keeps a cancel within five seconds.
GRACE_SECONDS = 2.0
# A job's runner that is told to leave has so long for its checkpoint.
LEAVE_SECONDS = 15.0
# Stages in which a runner may be silent for longer than elsewhere, and how many times as long.
SILENT_STAGES: dict[Stage, float] = {Stage.PREPARE_DATA: 4.0}
# The code of a child that was stopped because it made no progress.
STALLED = 4
# Lines of a runner's log that are shown when it dies.
TAIL_LINES = 5

Kind = Literal["job", "export", "measurement", "healing"]
TABLES: dict[Kind, LeasedTable] = {
    "job": Job,
    "export": Export,
    "measurement": Measurement,
    "healing": HealingShare,
}
# What trains, and so has checkpoints and says that it goes on.
TRAINING: tuple[Kind, ...] = ("job", "healing")


class Supervisor:
    """Runs rows of one kind, one at a time.

    Args:
        owner: name of this worker, written into the leases it takes.
    """

    def __init__(self, database: Database, settings: Settings, owner: str) -> None:
        self._database, self._settings, self._owner = database, settings, owner
        # What is wrong with a child that is stopped for it, and whether this worker is to end.
        self._stalled: str | None = None
        self._leaves = False

    def run(self, kind: Kind, row_id: str) -> None:
        """Do what the row asks for, unless somebody else does or it is finished."""
        while (lease := self._claim(kind, row_id)) is not None:
            if not self._attempt(kind, lease):
                return

    def serve(self, worker: WorkerNode) -> None:
        """Run the jobs that wait, in the order in which they are to be taken up, until none waits for this worker.
        Where none waits it helps to heal.

        Args:
            worker: this one, with what it has.
        """
        while (claimed := self._claim_next(worker)) is not None:
            self._attempt(*claimed)

    def _attempt(self, kind: Kind, lease: Lease) -> bool:
        """Run a claimed row once; True if that was cut off and may be tried again."""
        row_id = lease.id
        if lease.attempts > self._settings.max_attempts:
            self._fail(kind, row_id, lease.epoch, self._poisonous(kind, row_id, lease))
            return False
        log.info("running", kind=kind, id=row_id, epoch=lease.epoch, attempt=lease.attempts)
        code = self._supervise(kind, row_id, lease)
        if code in (0, 3):
            return False
        reason = self._stalled or describe_exit(code)
        log.warning("runner died", kind=kind, id=row_id, reason=reason)
        return self._give_back(kind, lease, reason)

    def _poisonous(self, kind: Kind, row_id: str, lease: Lease) -> str:
        """Why a row is not tried any more: how each of its runs has ended."""
        with self._database.transaction() as session:
            job = session.get(Job, row_id) if kind == "job" else None
            failures = [] if job is None else job.failures
        each = "".join(f" Attempt {one['attempt']}, in {one['stage']}: {one['reason']}." for one in failures)
        died = f"Its runner died {lease.attempts - 1} times in a row without any progress.{each}"
        return f"{died} {self._log_tail(kind, row_id)}"

    def help_out(self, job_id: str) -> None:
        """Run a helper of a job's search until it ends, or the search does.

        It holds no lease of the job; the rows that it evaluates have leases of their own, so its death costs no more
        than their time.
        """
        command = [sys.executable, "-m", "workers.runner", "evaluate", job_id, "0"]
        child = children.start(command, self._settings.data_dir / "logs" / f"evaluate-{job_id}.log")
        log.info("helping", job=job_id)
        try:
            while self._wants_help(job_id):
                try:
                    child.wait(self._settings.poll_seconds)
                except subprocess.TimeoutExpired:
                    continue
                return
        finally:
            stop(child, GRACE_SECONDS)

    def _wants_help(self, job_id: str) -> bool:
        try:
            with self._database.transaction() as session:
                return sharing.wants_help(session, job_id)
        except (OperationalError, InterfaceError) as error:
            log.warning("database away", reason=first_line(error))
            return True

    # --- the life of one child ------------------------------------------------------------------

    def _supervise(self, kind: Kind, row_id: str, lease: Lease) -> int:
        """Run the child until it ends; the exit code, negative for a signal."""
        child = children.start(self._command(kind, row_id, lease.epoch), self._log_path(kind, row_id))
        renewed = time.monotonic()
        cancel_seen: float | None = None
        self._stalled = None
        try:
            while True:
                try:
                    return child.wait(self._settings.poll_seconds)
                except subprocess.TimeoutExpired:
                    pass
                try:
                    state = self._look(kind, row_id, lease.epoch, renew=self._due(renewed))
                except LeaseLost:
                    stop(child, GRACE_SECONDS)
                    return 3
                if state is None:
                    continue  # the database is away; the child waits for it as well
                if self._leaves:
                    return self._leave(child, kind, lease)
                if self._stalled is not None:
                    stop(child, GRACE_SECONDS)
                    return STALLED
                if self._due(renewed):
                    renewed = time.monotonic()
                if state == "cancelling":
                    cancel_seen = cancel_seen or time.monotonic()
                    if time.monotonic() - cancel_seen >= self._settings.poll_seconds:
                        stop(child, GRACE_SECONDS)
                        return self._cancelled(kind, row_id, lease.epoch)
        finally:
            stop(child, GRACE_SECONDS)

    def _command(self, kind: Kind, row_id: str, epoch: int) -> list[str]:
        """The child: a runner, or torchrun with as many of them as the job's training shares its batches over."""
        if kind == "measurement":  # a target need not have torch
            return [sys.executable, "-m", "workers.measuring", row_id, str(epoch)]
        if kind != "job":
            return [sys.executable, "-m", "workers.runner", kind, row_id, str(epoch)]
        with self._database.transaction() as session:
            job = session.get(Job, row_id)
            assert job is not None
            return launch.command(launch.Shape.of(job), self._settings, row_id, epoch)

    def _due(self, renewed: float) -> bool:
        return time.monotonic() - renewed >= self._settings.heartbeat_seconds

    def _look(self, kind: Kind, row_id: str, epoch: int, *, renew: bool) -> str | None:
        """The row's state, with the lease renewed if it is time; None while the database is away."""
        try:
            with self._database.transaction() as session:
                self._leaves = nodes.is_draining(session, self._owner)
                if kind in TRAINING:
                    self._stalled = self._stall(session, kind, row_id)
                if renew:
                    state = leases.renew(session, TABLES[kind], row_id, epoch, self._settings.lease_seconds)
                else:
                    state = leases.peek(session, TABLES[kind], row_id, epoch)
                ended = kind == "healing" and healing_shares.has_ended(session, row_id)
                return JobState.CANCELLING if ended else state
        except (OperationalError, InterfaceError) as error:
            log.warning("database away", reason=first_line(error))
            return None

    def _stall(self, session: Session, kind: Kind, row_id: str) -> str | None:
        """What is wrong with a runner that lives and makes no progress; None while it does."""
        query = select(func.extract("epoch", func.now() - Job.progressed_at), Job.stage).where(Job.id == row_id)
        if kind == "healing":
            silent = func.extract("epoch", func.now() - HealingShare.progressed_at)
            # Until it has begun it reads the data.
            doing = case((HealingShare.progress > 0, Stage.HEAL.value), else_=Stage.PREPARE_DATA.value)
            query = select(silent, doing).where(HealingShare.id == row_id)
        row = session.execute(query).one_or_none()
        if row is None or row[0] is None:
            return None
        seconds, stage = float(row[0]), row[1]
        limit = self._settings.stall_seconds * (SILENT_STAGES.get(stage, 1.0) if stage is not None else 1.0)
        return f"no progress for {seconds:.0f} s, {limit:.0f} s are allowed" if seconds > limit else None

    def _leave(self, child: Child, kind: Kind, lease: Lease) -> int:
        """This worker is to end: let the runner write a checkpoint, then give the row back."""
        log.info("leaving", kind=kind, id=lease.id)
        stop(child, LEAVE_SECONDS if kind in TRAINING else GRACE_SECONDS)
        with self._database.transaction() as session:
            if kind in TRAINING:
                leases.give_back(session, TABLES[kind], lease.id, lease.epoch)
            else:
                leases.release(session, TABLES[kind], lease.id, lease.epoch)
        return 0

    def _cancelled(self, kind: Kind, row_id: str, epoch: int) -> int:
        """The child was busy and did not see the request itself: end the row here."""
        with self._database.transaction() as session:
            if kind == "healing":
                leases.give_back(session, HealingShare, row_id, epoch)
                return 0
            try:
                job = queries.fenced_job(session, row_id, epoch)
            except LeaseLost:
                return 3
            if job.state == "cancelling":
                queries.set_state(session, job, JobState.CANCELLED, "cancelled by request")
        return 0

    # --- rows -----------------------------------------------------------------------------------

    def _claim(self, kind: Kind, row_id: str) -> Lease | None:
        with self._database.transaction() as session:
            lease = leases.claim(session, TABLES[kind], row_id, self._owner, self._settings.lease_seconds)
            if lease is None:
                return None
            if kind != "job":
                leases.set_running(session, Export if kind == "export" else Measurement, row_id)
                return lease
            return lease if self._begin(session, lease) else None

    def _claim_next(self, worker: WorkerNode) -> tuple[Kind, Lease] | None:
        while True:
            with self._database.transaction() as session:
                if nodes.is_draining(session, self._owner):
                    return None
                lease = nodes.claim_next(session, worker, self._settings.lease_seconds)
                if lease is None:
                    share = healing_shares.claim_next(session, worker, self._settings.lease_seconds)
                    return None if share is None else ("healing", share)
                if self._begin(session, lease):
                    return "job", lease

    def _begin(self, session: Session, lease: Lease) -> bool:
        """See to a claimed job's state; False where it asks to be left."""
        job = queries.fenced_job(session, lease.id, lease.epoch)
        if job.state == "cancelling":
            queries.set_state(session, job, JobState.CANCELLED, "cancelled by request")
            return False
        if job.state == "pausing":
            queries.set_state(session, job, JobState.PAUSED, "paused by request")
            return False
        if job.state == "queued":
            queries.set_running(session, job)
        return True

    def _give_back(self, kind: Kind, lease: Lease, reason: str) -> bool:
        """End the lease of a dead child so that the row can be claimed again; False if it is not ours."""
        with self._database.transaction() as session:
            if kind == "healing":
                return healing_shares.drop(session, lease.id, lease.epoch, f"A helper's runner died ({reason}).")
            if not leases.release(session, TABLES[kind], lease.id, lease.epoch):
                return False
            if kind == "job":
                job = queries.fenced_job(session, lease.id, lease.epoch)
                where = job.stage or "the beginning"
                ended = {"attempt": lease.attempts, "reason": reason, "stage": where, "at": utc_now()}
                job.failures = [*(job.failures if lease.attempts > 1 else []), ended]
                text = f"The runner died ({reason}); it starts again from what is stored."
                queries.add_event(session, job, "message", {"level": "warning", "text": text})
                tail = self._log_tail(kind, lease.id)
                line = {"level": LogLevel.ERROR, "stage": job.stage, "text": f"{text} {tail}"}
                session.add(JobLog(job_id=job.id, epoch=lease.epoch, **line))
        return True

    def _fail(self, kind: Kind, row_id: str, epoch: int, reason: str) -> None:
        def write(session: Session) -> None:
            if kind == "export":
                leases.finish(session, Export, row_id, epoch, {"state": ExportState.FAILED, "message": reason})
            elif kind == "measurement":
                leases.finish(session, Measurement, row_id, epoch, {"state": ExportState.FAILED, "message": reason})
            elif kind == "healing":
                healing_shares.put_away(session, row_id, epoch, f"Nobody helps with a network any more: {reason}")
            else:
                queries.set_state(session, queries.fenced_job(session, row_id, epoch), JobState.FAILED, reason)

        with self._database.transaction() as session:
            write(session)

    def _log_path(self, kind: Kind, row_id: str) -> Path:
        return self._settings.data_dir / "logs" / f"{kind}-{row_id}.log"

    def _log_tail(self, kind: Kind, row_id: str) -> str:
        path = self._log_path(kind, row_id)
        lines = path.read_text(errors="replace").strip().split("\n")[-TAIL_LINES:] if path.exists() else []
        return f"The end of its log, {path}: " + " | ".join(lines) if lines else f"Its log, {path}, is empty."


def utc_now() -> str:
    """For people: this machine's clock."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL; out of memory, unless somebody did it by hand"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def worker_name() -> str:
    """The name of this worker: given by its node, or made from host and process."""
    return os.environ.get("WINNOW_WORKER_NAME") or f"{os.uname().nodename}:{os.getpid()}"
