"""What a runner tells the database: progress, events, results. Every write carries the epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from service.mirror import Mirror
from service.remaining import Pace, Seconds, remaining
from service.store import leases, queries, records, sharing, warm
from service.store.models import STAGES, Artifact, EvaluationRow, Finalist, Job, JobState, Stage, TrainedSupernet
from service.store.records import FrontRecord, R, Record, StageBegan
from service.store.session import Database, first_line
from service.telemetry import Spans
from service.waiting import duration

log = structlog.get_logger()
T = TypeVar("T")
# Hears a message for the user: level and text.
Tell = Callable[[str, str], None]

# How long a runner holds its breath while PostgreSQL restarts, and between two tries.
DATABASE_PATIENCE_SECONDS = 600.0
RETRY_SECONDS = 1.0
# Progress is written at most so often.
PROGRESS_SECONDS = 0.5


class Interrupted(Exception):
    """The job is to be paused, stopped or cancelled: its row says so.

    `state` is `pausing` or `cancelling`, or `stopping` inside `Reporter.until_stopped`, which catches it.

    Attributes:
        leaving: nobody asked the job to pause, but its worker leaves: what is done is stored, and another one goes on.
    """

    def __init__(self, state: JobState, *, leaving: bool = False) -> None:
        super().__init__(state)
        self.state, self.leaving = state, leaving


def patiently(database: Database, write: Callable[[Session], T], patience_seconds: float) -> T:
    """Run a transaction, again and again while the server is away.

    A transaction whose commit did reach the server may run a second time, so `write` must not mind.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            with database.transaction() as session:
                return write(session)
        except (OperationalError, InterfaceError) as error:
            if time.monotonic() > deadline:
                raise
            log.warning("database away, trying again", reason=first_line(error))
            time.sleep(RETRY_SECONDS)


class Reporter:
    """The runner's only way to the database.

    Args:
        spans: hear of stages that end.
        weights: share of each stage in the job; None: nobody asks for its progress.
        mirror: hears of numbers, evaluations and the front.

    Attributes:
        ended_early: what a stopped job says of how far it got.
    """

    def __init__(
        self,
        database: Database,
        job_id: str,
        epoch: int,
        spans: Spans | None = None,
        *,
        weights: Mapping[Stage, float] | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self._database, self.job_id, self.epoch, self._spans, self._mirror = database, job_id, epoch, spans, mirror
        self._weights = weights or dict.fromkeys(STAGES, 1 / len(STAGES))
        self._earlier: Mapping[Stage, Seconds] = {}
        self._items: tuple[int, int] | None = None
        self._stage = STAGES[0]
        self._doing = ""
        self._stage_began = time.monotonic()
        self._pace = Pace(self._stage_began, 0.0)
        self._done = 0.0
        self._written = 0.0
        self._may_stop = False
        self._leaving = False
        self.ended_early: str | None = None

    def leave(self) -> None:
        """The worker is to end: the next report interrupts the job. May be called by a signal handler."""
        self._leaving = True

    def give_back(self) -> None:
        """Let another worker go on with the job."""

        def write(session: Session) -> None:
            job = queries.fenced_job(session, self.job_id, self.epoch)
            text = "The worker leaves; another one goes on from what is stored."
            queries.add_event(session, job, "message", {"level": "info", "text": text})
            session.flush()
            leases.give_back(session, Job, self.job_id, self.epoch)

        self._write(write)

    # --- progress -------------------------------------------------------------------------------

    def expect(self, earlier: Mapping[Stage, Seconds]) -> None:
        """What earlier jobs say of how long this one's stages take."""
        self._earlier = earlier

    def stage(self, name: Stage, done: float = 0.0) -> None:
        """A stage begins, with this share of it already done by an earlier run."""
        before, seconds = self._stage, time.monotonic() - self._stage_began
        self._stage, self._stage_began, self._items = name, time.monotonic(), None
        self._doing, self._done = "", done
        self._pace = Pace(self._stage_began, done)

        def write(session: Session) -> None:
            job = queries.fenced_job(session, self.job_id, self.epoch)
            queries.add_stage_seconds(job, before, seconds)
            if job.stage != name:
                records.write(session, self.job_id, self.epoch, StageBegan(stage=name, run=self.epoch))

        self._write(write)
        if before != name:
            self._stage_ended(before, seconds)
        structlog.contextvars.bind_contextvars(stage=str(name), step=None)
        log.info(f"Stage {name} begins.")
        self.progress(done, force=True)

    def progress(self, done: float, *, force: bool = False) -> None:
        """This share of the stage is done.

        Raises:
            Interrupted: the job is to be paused or cancelled; inside `until_stopped`, or stopped.
            LeaseLost: somebody else holds the job now.
        """
        now, self._done = time.monotonic(), done
        self._pace.see(done, now)
        if not (force or self._leaving) and now - self._written < PROGRESS_SECONDS:
            return
        self._written = now
        state = self._write(lambda session: self._told(session, done, now))
        if state in (JobState.PAUSING, JobState.CANCELLING) or (state == JobState.STOPPING and self._may_stop):
            raise Interrupted(state)
        if self._leaving:
            raise Interrupted(JobState.PAUSING, leaving=True)

    def _told(self, session: Session, done: float, now: float) -> JobState:
        """Write how far the stage is; what the job is to do."""
        before = sum(self._weights[s] for s in STAGES[: STAGES.index(self._stage)])
        return queries.set_progress(
            session,
            self.job_id,
            self.epoch,
            stage=self._stage,
            progress=before + self._weights[self._stage] * done,
            stage_progress=done,
            items=self._items,
            eta=remaining(self._stage, self._pace, now, self._weights, self._earlier),
        )

    def items(self, done: int, total: int, *, within: float = 0.0, force: bool = False) -> None:
        """So many of what the stage counts are done, and of the next one this share.

        Raises:
            Interrupted, LeaseLost: as `progress`.
        """
        self._items = (done, total)
        self.progress((done + within) / max(1, total), force=force)

    def until_stopped(self, work: Callable[[], T]) -> T | None:
        """What work gives; None where the user stops the job before its end. What comes after it goes on.

        In a job that was stopped before, such as in an earlier run, it does not begin.
        """
        self._may_stop = True
        try:
            self.progress(self._done, force=True)
            return work()
        except Interrupted as interrupted:
            if interrupted.state != JobState.STOPPING:
                raise
            return None
        finally:
            self._may_stop = False

    def doing(self, told: str) -> None:
        """What the stage does now, as the end of a sentence: the log says it now and then (`where`)."""
        self._doing = told

    def where(self) -> tuple[Stage, float, str]:
        """The stage, its seconds in this run, and a sentence that says how far it is; any thread may ask."""
        stage, seconds, items, doing = self._stage, time.monotonic() - self._stage_began, self._items, self._doing
        counted = "" if items is None else f", {items[0]:,} of {items[1]:,}"
        told = f"Stage {stage} is {self._done:.0%} done after {duration(seconds)}{counted}"
        return stage, seconds, f"{told}: {doing}." if doing else f"{told}."

    def listen(self, done: float | None = None) -> None:
        """Hear whether the job is to be paused or cancelled, while nothing else happens.

        Args:
            done: share of something that is no share of the stage, so it moves nothing.

        Raises:
            Interrupted, LeaseLost: as `progress`.
        """
        self.progress(self._done)

    # --- events and results ---------------------------------------------------------------------

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell people what happened. Nobody reads it back: what the job must know again is a record."""
        self._write(
            lambda session: queries.add_event(session, queries.fenced_job(session, self.job_id, self.epoch), kind, data)
        )

    def tell(self, level: str, text: str) -> None:
        """A message for the user, kept in the job's events and in its log."""
        log.log(getattr(logging, level.upper(), logging.INFO), text)
        self.event("message", {"level": level, "text": text})

    def record(self, record: Record) -> None:
        """Store what the job has found out, and tell people."""
        self._write(lambda session: records.write(session, self.job_id, self.epoch, record))
        self.pass_on(record)

    def pass_on(self, record: Record) -> None:
        """Let the mirror hear of a point of a curve that is stored."""
        if self._mirror is not None and (moment := record.moment()) is not None:
            self._mirror.numbers("/".join((str(self._stage), *moment.of)), moment.step, moment.numbers)

    def records(self, model: type[R]) -> list[R]:
        """What is stored of a kind, in the order in which it was first written."""
        return self._write(lambda session: records.read(session, self.job_id, model))

    def environment(self, facts: Mapping[str, Any]) -> None:
        """Device and versions of this run."""

        def write(session: Session) -> None:
            job = queries.fenced_job(session, self.job_id, self.epoch)
            job.environment = dict(facts)

        self._write(write)

    def evaluation(self, row: EvaluationRow) -> None:
        """Store one architecture's scores."""
        event = {"architecture_id": row.architecture_id, "metrics": row.metrics}
        number = self._write(lambda session: queries.add_evaluation(session, self.job_id, self.epoch, row, event))
        if self._mirror is not None and number is not None:
            self._mirror.numbers("evaluation", number, dict(row.metrics))

    def warm_start(self, alike: warm.Alike) -> None:
        """Copy what other jobs have evaluated of this job's supernet, if it has no evaluations yet."""

        def write(session: Session) -> None:
            warm.copy_in(session, self.job_id, self.epoch, warm.earlier(session, self.job_id, alike))

        self._write(write)

    def rescore(self, row: EvaluationRow) -> None:
        """Store the scores of an architecture that is stored already."""
        scores = {"metrics": dict(row.metrics), "sources": dict(row.sources)}
        self._write(lambda session: warm.rescore(session, self.job_id, self.epoch, row.architecture_id, **scores))

    # --- batches that several workers evaluate ------------------------------------------------------

    @property
    def database(self) -> Database:
        """For those who write under leases of their own."""
        return self._database

    def offer(self, offered: Sequence[tuple[str, dict[str, Any]]], runner: str) -> None:
        """Put a batch up for every worker; see `sharing.offer`."""
        self._write(lambda session: sharing.offer(session, self.job_id, self.epoch, offered, runner))

    def collect(self, architecture_ids: Sequence[str]) -> list[EvaluationRow]:
        """What workers have scored of these."""
        rows = self._write(lambda session: sharing.collect(session, self.job_id, self.epoch, architecture_ids))
        return [
            EvaluationRow(
                architecture_id=row.architecture_id,
                values=row.values,
                metrics=row.metrics,
                sources=row.sources,
                seconds=row.seconds,
            )
            for row in rows
        ]

    def take_down(self) -> None:
        """The batch that was put up is the job's."""
        self._write(lambda session: sharing.take_down(session, self.job_id, self.epoch))

    def helpers(self, runner: str) -> int:
        """How many other workers evaluate for this job now."""
        return self._write(lambda session: sharing.helpers(session, self.job_id, runner))

    def evaluations(self) -> Sequence[EvaluationRow]:
        """Everything evaluated so far, in order."""
        return self._write(lambda session: queries.evaluations(session, self.job_id))

    def every_evaluation(self) -> Sequence[EvaluationRow]:
        """Everything that was evaluated, and the reference, which no search has asked for."""
        return self._write(lambda session: queries.evaluations(session, self.job_id, after=-1))

    def finalist(self, finalist: Finalist) -> None:
        """Store one measured finalist."""
        self._write(lambda session: queries.add_finalist(session, self.job_id, self.epoch, finalist))

    def reference(self, row: EvaluationRow) -> None:
        """Store the scores of what the front is compared with, if no search has asked for it."""
        self._write(lambda session: queries.add_reference(session, self.job_id, self.epoch, row))

    def front(
        self, record: FrontRecord, positions: Mapping[str, int], metrics: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Store the final front, in one transaction; see `queries.place_finalists`."""

        def write(session: Session) -> None:
            queries.place_finalists(session, self.job_id, self.epoch, positions, metrics)
            records.write(session, self.job_id, self.epoch, record)

        self._write(write)
        if self._mirror is not None:
            self._mirror.document("front", {"knee": record.knee, "networks": self._front_rows()})

    def _front_rows(self) -> list[dict[str, object]]:
        """The networks of the front as a mirror shows them, best in the first objective first."""
        placed = [(one.position, one) for one in self.finalists() if one.position is not None]
        facts = ("architecture_id", "position", "metrics", "sources", "intervals", "measurements")
        return [{fact: getattr(one, fact) for fact in facts} for _, one in sorted(placed, key=lambda pair: pair[0])]

    def finalists(self) -> Sequence[Finalist]:
        """Finalists measured so far."""
        return self._write(lambda session: queries.finalists(session, self.job_id))

    def trained(self, row: TrainedSupernet) -> None:
        """Store a trained supernet."""
        self._write(lambda session: queries.add_supernet(session, self.job_id, self.epoch, row))

    def supernet(self, supernet_id: str) -> TrainedSupernet | None:
        """A trained supernet by its id; None if there is none."""
        return self._write(lambda session: queries.supernet(session, supernet_id))

    def artifact(self, artifact: Callable[[], Artifact]) -> None:
        """Record a file that is on the disk."""
        self._write(lambda session: queries.add_artifact(session, self.job_id, self.epoch, artifact()))

    def artifacts(self, kind: str) -> Sequence[Artifact]:
        """Recorded files of a kind, newest first."""
        return self._write(lambda session: queries.artifacts(session, self.job_id, kind))

    def artifacts_of(self, job_id: str, kind: str) -> Sequence[Artifact]:
        """Recorded files of another job, newest first."""
        return self._write(lambda session: queries.artifacts(session, job_id, kind))

    def forget(self, artifact_ids: Sequence[int]) -> set[str]:
        """Drop the rows of deleted files. The digests of those whose content no other row names."""
        return self._write(lambda session: queries.forget_artifacts(session, artifact_ids))

    def end(self, state: JobState, message: str | None) -> None:
        """The job is over, or paused: `succeeded`, `failed`, `paused`, `cancelled`."""
        seconds = time.monotonic() - self._stage_began

        def write(session: Session) -> None:
            job = queries.fenced_job(session, self.job_id, self.epoch)
            queries.add_stage_seconds(job, self._stage, seconds)
            if state == JobState.SUCCEEDED:
                job.stage, job.progress, job.stage_progress = Stage.DONE, 1.0, 1.0
            queries.set_state(session, job, state, message)

        self._write(write)
        self._stage_ended(self._stage, seconds, failed=state == JobState.FAILED)
        if self._mirror is not None:
            self._mirror.ended(state)

    def _stage_ended(self, stage: Stage, seconds: float, *, failed: bool = False) -> None:
        """Tell those who hear of stages."""
        if self._spans is not None:
            self._spans.stage(self.job_id, stage, self.epoch, seconds, failed=failed)
        if self._mirror is not None:
            self._mirror.numbers("stage_seconds", self.epoch, {str(stage): seconds})

    def job(self) -> Job:
        """The row as it is now."""
        return self._write(lambda session: queries.fenced_job(session, self.job_id, self.epoch))

    def waits(self, reason: str | None) -> None:
        """The job waits for something outside, in one sentence; None: it does not wait any more."""

        def write(session: Session) -> None:
            job = queries.fenced_job(session, self.job_id, self.epoch)
            job.message = reason
            if reason is not None:
                queries.add_event(session, job, "message", {"level": "warning", "text": reason})

        self._write(write)

    def transact(self, write: Callable[[Session], T]) -> T:
        """Run a transaction on rows that are not the job's own; again and again while the database is away."""
        return self._write(write)

    def _write(self, write: Callable[[Session], T]) -> T:
        return patiently(self._database, write, DATABASE_PATIENCE_SECONDS)
