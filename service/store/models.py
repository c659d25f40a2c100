"""Tables. Every schema change is a migration in `migrations/versions`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    any_,
    bindparam,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, mapped_column

from job.version import JOB_VERSION
from search.metrics import Source
from service.auth.scopes import Scope
from service.store.storable import Words


class RowState(StrEnum):
    """Where a row is that one worker at a time works on."""


class JobState(RowState):
    """A job's life. `pausing`, `stopping` and `cancelling` ask the runner; a terminal state is never left."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Stage(StrEnum):
    """The stages of a running job, in order."""

    CHECK = "check"
    PREPARE_DATA = "prepare data"
    TRAIN_SUPERNET = "train supernet"
    MEASURE_HARDWARE = "measure hardware"
    FIT_PREDICTORS = "fit predictors"
    SEARCH = "search"
    MEASURE_FINALISTS = "measure finalists"
    MEASURE_BASELINES = "measure baselines"
    HEAL = "heal"
    DONE = "done"


class Verb(StrEnum):
    """What may be asked of a job."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"
    RESTORE = "restore"
    CLONE = "clone"
    EXTEND = "extend"
    RERUN = "rerun"
    HEAL = "heal"
    MEASURE = "measure"


class UploadKind(StrEnum):
    """What somebody sends."""

    DATASET = "dataset"
    CHECKPOINT = "checkpoint"


class DeliveryState(StrEnum):
    """What becomes of a message to a webhook."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class LogLevel(StrEnum):
    """How much a line of a log matters, from least to most."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Weights(StrEnum):
    """Which weights of a network an export ships: as the front was measured with, or as they were healed."""

    UNHEALED = "unhealed"
    HEALED = "healed"


class ExportState(RowState):
    """The life of an export, of a request to measure, and of a network that a helper heals."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


JOB_STATES, EXPORT_STATES, STAGES = tuple(JobState), tuple(ExportState), tuple(Stage)
TERMINAL_STATES = (JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED)
# States in which a worker should hold the job's lease.
ACTIVE_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSING, JobState.STOPPING, JobState.CANCELLING)
# States in which a runner does its stages, one after the other.
WORKING_STATES = (JobState.RUNNING, JobState.STOPPING)

# Verbs that make another job of a job, whatever its state; `heal` and `measure` make one of a job that has succeeded.
DESCENDING_VERBS = (Verb.CLONE, Verb.EXTEND, Verb.RERUN)
# State -> verbs that move a job on. Besides these, asking again for what is so already changes nothing.
_MOVES: dict[JobState, tuple[Verb, ...]] = {
    JobState.QUEUED: (Verb.PAUSE, Verb.STOP, Verb.CANCEL),
    JobState.RUNNING: (Verb.PAUSE, Verb.STOP, Verb.CANCEL),
    JobState.PAUSING: (Verb.CANCEL,),
    JobState.PAUSED: (Verb.RESUME, Verb.STOP, Verb.CANCEL),
    JobState.STOPPING: (Verb.CANCEL,),
    JobState.CANCELLING: (),
    JobState.CANCELLED: (Verb.RETRY, Verb.DELETE),
    JobState.SUCCEEDED: (Verb.HEAL, Verb.MEASURE, Verb.DELETE),
    JobState.FAILED: (Verb.RETRY, Verb.DELETE),
}

# A number in JSON that says how it was obtained in a way that nobody knows.
UNKNOWN_SOURCE = " && ".join(f'@ != "{source}"' for source in Source)


def _one_of(words: type[StrEnum], length: int = 20) -> Enum:
    """A column of one of these words: text with a check, so that rows read as they always did."""
    return Enum(
        words,
        name=words.__name__.lower(),
        native_enum=False,
        create_constraint=True,
        length=length,
        values_callable=lambda enum: [word.value for word in enum],
    )


def _known_sources() -> CheckConstraint:
    """That every number of the row says how it was obtained, in a known word."""
    return CheckConstraint(f"NOT jsonb_path_exists(CAST(sources AS jsonb), '$.* ? ({UNKNOWN_SOURCE})')", "sources")


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    # JSON, not JSONB: it keeps the order of keys, so choices and metrics come back as they were written.
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own interface
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON,
    }


class Leased:
    """Columns of a row that one worker at a time may work on.

    `epoch` grows with every claim. Every write of a worker names the epoch it was given; a write that
    touches no row means that somebody else holds the lease now, and the writer stops.
    """

    lease_owner: Mapped[str | None] = mapped_column(String(200), default=None)
    lease_until: Mapped[datetime | None] = mapped_column(default=None)
    epoch: Mapped[int] = mapped_column(default=0)
    # Runs since the last sign of progress.
    attempts: Mapped[int] = mapped_column(default=0)


# The supernet that a job reuses, as it is indexed: a query that says it otherwise reads all jobs.
REUSED = "(spec -> 'supernet'::text) ->> 'reuse'::text"


def among_ids(column: ColumnElement[str] | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """That a column is one of `ids`, a list that a statement is given when it is executed, and so can be built once."""
    return column == any_(bindparam("ids", type_=ARRAY(String)))


class Job(Leased, Base):
    """A request and its life."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "created_at", "id"),
        Index(None, "state"),
        Index(None, "owner_id"),
        Index(None, "shared_with"),
        Index(None, "labels", postgresql_using="gin"),
        Index(None, "deleted_at"),
        Index(None, "parent_id"),
        Index("ix_jobs_reuse", text(f"({REUSED})")),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    # The key that submitted it; None: nobody in particular, so that only admins see it.
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id", ondelete="SET NULL"))
    # The group whose keys may look at it.
    shared_with: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    # When the row last became queued: the reaper repeats wake-ups that nobody heard.
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    name: Mapped[str] = mapped_column(String(200))
    recipe: Mapped[str] = mapped_column(String(100))
    spec: Mapped[dict[str, Any]]
    # With the owner's id before it, so that two keys may use the same one.
    idempotency_key: Mapped[str | None] = mapped_column(String(240), unique=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    state: Mapped[JobState] = mapped_column(_one_of(JobState), default=JobState.QUEUED)
    stage: Mapped[Stage | None] = mapped_column(_one_of(Stage, 40))
    progress: Mapped[float] = mapped_column(default=0.0)
    stage_progress: Mapped[float] = mapped_column(default=0.0)
    # What the stage counts, such as networks to measure, as far as it knows how many there are.
    stage_done: Mapped[int | None]
    stage_total: Mapped[int | None]
    # Time to the end, and its likely bounds.
    eta_seconds: Mapped[float | None]
    eta_low_seconds: Mapped[float | None]
    eta_high_seconds: Mapped[float | None]
    # Why it failed, paused or waits, in one sentence.
    message: Mapped[str | None] = mapped_column(Words)
    # Device and versions of the run.
    environment: Mapped[dict[str, Any] | None]
    event_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    # Words and notes of people, and who goes first: a higher number before a lower one.
    labels: Mapped[list[str]] = mapped_column(ARRAY(String(63)), default=list, server_default="{}")
    notes: Mapped[str] = mapped_column(Text, default="", server_default="")
    priority: Mapped[int] = mapped_column(default=0, server_default="0")
    # The job that this one was made of, and by which verb.
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    parent_verb: Mapped[Verb | None] = mapped_column(_one_of(Verb))
    # When its deletion was asked for: after a time of grace it and its files are gone.
    deleted_at: Mapped[datetime | None]
    # When its last worker gave it back or went away.
    interrupted_at: Mapped[datetime | None]
    # When its runner last said that it goes on.
    progressed_at: Mapped[datetime | None]
    # What a worker must have (`needs` of the spec).
    needs_gpus: Mapped[int] = mapped_column(default=0, server_default="0")
    needs_memory_gb: Mapped[float] = mapped_column(default=0.0, server_default="0")
    needs_labels: Mapped[list[str]] = mapped_column(ARRAY(String(63)), default=list, server_default="{}")
    # How often a worker that held it went away, and seconds that its stages have taken.
    lease_expiries: Mapped[int] = mapped_column(default=0, server_default="0")
    stage_seconds: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    # How its runs have ended since the last sign of progress.
    failures: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default="[]")

    @property
    def verbs(self) -> list[Verb]:
        """What may be asked of it as far as its state decides."""
        if self.deleted_at is not None:
            return [Verb.RESTORE]
        return [*_MOVES[self.state], *DESCENDING_VERBS]


class JobEvent(Base):
    """What happened to a job, for people and streams: append-only, and never read back as state.

    `seq` counts from 1 within a job, without gaps.
    """

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    kind: Mapped[str] = mapped_column(String(20))
    data: Mapped[dict[str, Any]]


class JobLog(Base):
    """A line of a job's log. Nothing depends on it: lines are removed after a time."""

    __tablename__ = "job_logs"
    __table_args__ = (Index(None, "job_id", "id"), Index(None, "at"))

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    level: Mapped[LogLevel] = mapped_column(_one_of(LogLevel))
    # Of the run that said it.
    epoch: Mapped[int]
    stage: Mapped[Stage | None] = mapped_column(_one_of(Stage, 40))
    # Of a training, or the number of evaluations.
    step: Mapped[int | None] = mapped_column(BigInteger)
    text: Mapped[str] = mapped_column(Words)


class WorkerNode(Base):
    """A worker that is there, or was: it says so every few seconds."""

    __tablename__ = "workers"

    # `host:node`, the owner of its leases.
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # How often it says so.
    beat_seconds: Mapped[float]
    # It takes nothing new and gives back what it has.
    is_draining: Mapped[bool] = mapped_column(default=False)
    queues: Mapped[list[str]] = mapped_column(ARRAY(String(100)))
    labels: Mapped[list[str]] = mapped_column(ARRAY(String(63)))
    gpus: Mapped[int]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    # Host, cores, names of GPUs, versions.
    facts: Mapped[dict[str, Any]]


class JobRecord(Base):
    """What a job has found out on its way, as state (see `records`)."""

    __tablename__ = "job_records"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    # What tells records of a kind apart.
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    # In the order in which records of a kind were first written, from 1.
    number: Mapped[int]
    # Of the model that `data` was written with.
    version: Mapped[int]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EvaluationRow(Base):
    """The scores of one architecture in one job; the key makes a second evaluation impossible."""

    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("job_id", "number"), _known_sources())

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    architecture_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    # Position in the order of evaluation, from 1; 0: the reference, which no search asked for.
    number: Mapped[int]
    values: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    sources: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    epoch: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SharedEvaluation(Leased, Base):
    """One architecture of a running search that any worker may evaluate (see `sharing`)."""

    __tablename__ = "shared_evaluations"
    __table_args__ = (_known_sources(),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    architecture_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    # In its batch: neighbours share the most computation.
    position: Mapped[int]
    values: Mapped[dict[str, Any]]
    # None until somebody has evaluated it.
    metrics: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    sources: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    seconds: Mapped[float | None]


class HealingShare(Leased, Base):
    """A network of a job that heals which another worker may heal, or heals (see `healing_shares`).

    It is there for as long as others may have it: whoever has healed it removes it, and so does the job's own runner
    when it takes the network itself.
    """

    __tablename__ = "healing_shares"
    __table_args__ = (UniqueConstraint("job_id", "architecture_id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    architecture_id: Mapped[str] = mapped_column(String(32))
    # Among the networks that the job heals.
    position: Mapped[int]
    state: Mapped[ExportState] = mapped_column(_one_of(ExportState), default=ExportState.QUEUED)
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Share of its steps that is done, and when its helper last said so.
    progress: Mapped[float] = mapped_column(default=0.0)
    progressed_at: Mapped[datetime | None]


class Finalist(Base):
    """A network that was measured for the final front, with what only finalists get: held-out scores and intervals.

    Which of them make up the front is the job's `FrontRecord`.
    """

    __tablename__ = "finalists"
    __table_args__ = (_known_sources(),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    architecture_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    # Position on the front, best in the first objective first, from 1; null: not on it, or it is not made yet.
    position: Mapped[int | None]
    metrics: Mapped[dict[str, Any]]
    sources: Mapped[dict[str, Any]]
    # Metric -> lower and upper end, 95 %; rows of older versions have none.
    intervals: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    measurements: Mapped[list[dict[str, Any]]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Artifact(Base):
    """A file that a job wrote: a checkpoint of its training, or the supernet that it searches."""

    __tablename__ = "artifacts"
    __table_args__ = (Index(None, "job_id", "kind"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    step: Mapped[int]
    # Relative to the artifacts folder.
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TrainedSupernet(Base):
    """One set of weights of a whole space, for any number of searches. It outlives the job that trained it."""

    __tablename__ = "supernets"
    __table_args__ = (Index(None, "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    name: Mapped[str] = mapped_column(String(200))
    recipe: Mapped[str] = mapped_column(String(100))
    space: Mapped[str] = mapped_column(String(200))
    # The parts of the job that trained it, and the version of their format.
    version: Mapped[int] = mapped_column(default=JOB_VERSION)
    supernet: Mapped[dict[str, Any]]
    data: Mapped[dict[str, Any]]
    training: Mapped[dict[str, Any]]
    curve: Mapped[list[dict[str, Any]]]
    # What its sub-networks are scored by, and the scores of the smallest, the largest and random ones.
    metric: Mapped[str] = mapped_column(String(40))
    scores: Mapped[dict[str, Any]]
    step: Mapped[int]
    # Relative to the artifacts folder.
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class Export(Leased, Base):
    """One architecture of one job as files, with the report of their verification."""

    __tablename__ = "exports"
    __table_args__ = (UniqueConstraint("job_id", "architecture_id", "formats", "weights"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    architecture_id: Mapped[str] = mapped_column(String(32))
    # Names with commas between them, in order; empty: what an export has that names none.
    formats: Mapped[str] = mapped_column(Text, server_default="", default="")
    weights: Mapped[Weights] = mapped_column(_one_of(Weights), server_default="unhealed", default=Weights.UNHEALED)
    state: Mapped[ExportState] = mapped_column(_one_of(ExportState), default=ExportState.QUEUED)
    message: Mapped[str | None] = mapped_column(Words)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    # Folder and archive, relative to the artifacts folder.
    folder: Mapped[str | None] = mapped_column(Text)
    archive: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[str | None] = mapped_column(String(64))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    report: Mapped[dict[str, Any] | None]


class Target(Base):
    """A device that latency is measured on: a machine that registered itself, or a table that was uploaded."""

    __tablename__ = "targets"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    # "machine" or "table"
    kind: Mapped[str] = mapped_column(String(20))
    # The key that uploaded the table.
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Last heartbeat of a machine; a silent one is offline.
    seen_at: Mapped[datetime | None]
    # Node that serves it; one machine at a time.
    owner: Mapped[str | None] = mapped_column(String(200))
    # Device, cores, versions, and the runtimes that it has, first the one that a job gets if it names none.
    facts: Mapped[dict[str, Any]]
    # The CSV of a table, as it was uploaded.
    table: Mapped[str | None] = mapped_column(Text)


class Measurement(Leased, Base):
    """A request to measure networks on a registered machine, and its results."""

    __tablename__ = "measurements"
    __table_args__ = (Index(None, "target", "state"), Index(None, "job_id"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    target: Mapped[str] = mapped_column(String(63))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    state: Mapped[ExportState] = mapped_column(_one_of(ExportState), default=ExportState.QUEUED)
    message: Mapped[str | None] = mapped_column(Words)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    # Settings, effort and the names of the networks in the archive.
    request: Mapped[dict[str, Any]]
    # Archive of the networks, relative to the artifacts folder.
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    # For each network its results, or why there are none.
    results: Mapped[list[dict[str, Any]] | None]


class Latency(Base):
    """What one layer or network costs in one place: measured once, for every job that asks again."""

    __tablename__ = "latencies"

    # Digest of device, runtime, its version and the setting.
    place: Mapped[str] = mapped_column(String(64), primary_key=True)
    # "layer", "probe" or "network"
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    # Digest of the layer's or network's specs.
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The same in words: the setting and device, the layer's key or the network's id.
    where: Mapped[dict[str, Any]]
    what: Mapped[str] = mapped_column(Text)
    # As `export.measure` gives them; or one entry with `refused`.
    results: Mapped[list[dict[str, Any]]]


class ApiKey(Base):
    """Who may ask for what. The key itself is stored nowhere; a revoked one stays, because rows name it."""

    __tablename__ = "api_keys"

    # Also the part of the key by which it is found.
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    scope: Mapped[Scope] = mapped_column(_one_of(Scope, 10))
    group: Mapped[str | None] = mapped_column(String(100))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_by: Mapped[str | None] = mapped_column(String(32))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    # Quotas; None: no limit.
    max_jobs: Mapped[int | None]
    max_evaluations: Mapped[int | None] = mapped_column(BigInteger)
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)


class SignInLink(Base):
    """A token that signs a browser in once, as a key."""

    __tablename__ = "sign_in_links"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class Upload(Base):
    """A file that somebody sends, in parts; its bytes are in the uploads folder, under its id."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "owner_id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id", ondelete="SET NULL"))
    kind: Mapped[UploadKind] = mapped_column(_one_of(UploadKind))
    name: Mapped[str] = mapped_column(String(200))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    # What its bytes say that it is, and its place in its folder; None until it is finished.
    type: Mapped[str | None] = mapped_column(String(20))
    path: Mapped[str | None] = mapped_column(String(100))


class Webhook(Base):
    """An address that hears of the states of its key's jobs."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "owner_id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(Text)
    # Signs what is sent; shown once, and stored because it is needed for that.
    secret: Mapped[str] = mapped_column(String(100))
    # Of which it hears; none: of all.
    states: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Since when nothing is sent any more, because the address said that it is gone.
    gone_at: Mapped[datetime | None]


class Delivery(Base):
    """One message to a webhook: written with the state that it tells of, and sent until it arrives."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index(None, "webhook_id", "id"),
        Index("ix_webhook_deliveries_due", "next_at", postgresql_where="state = 'waiting'"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    job_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    payload: Mapped[dict[str, Any]]
    state: Mapped[DeliveryState] = mapped_column(_one_of(DeliveryState), default=DeliveryState.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # What became of the last attempt.
    status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Words)
    delivered_at: Mapped[datetime | None]


class AuditRow(Base):
    """Who did what: one row per request that may change something. A trigger refuses to change or remove rows."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "key_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    # No foreign key: the row says who it was, whatever becomes of the key.
    key_id: Mapped[str | None] = mapped_column(String(32))
    key_name: Mapped[str] = mapped_column(String(100))
    address: Mapped[str | None] = mapped_column(String(100))
    method: Mapped[str] = mapped_column(String(10))
    path: Mapped[str] = mapped_column(String(500))
    status: Mapped[int]
