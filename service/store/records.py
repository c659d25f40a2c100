"""Records: what a job has found out on its way, as state. This module alone writes and reads them.

A record is a row of `job_records` with a typed model. People hear of it as an event, which is written in the same
transaction and is never read back (docs/decisions/0082). A record's natural key makes a repeated write harmless.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from search.metrics import Adds, Goal, Source
from search_space.architecture import Option
from service.store import queries
from service.store.models import Job, JobRecord, Stage
from service.store.storable import storable

log = logging.getLogger(__name__)

Number: TypeAlias = int | float
# Metric -> value; null stands for what JSON cannot say.
Metrics: TypeAlias = dict[str, Number | None]
# Longest key that is kept as it is; of longer ones the digest is.
KEY_LENGTH = 64
# Classes that an event lists.
CLASSES_TOLD = 100


@dataclass(frozen=True, slots=True)
class Moment:
    """Numbers of one moment of a stage.

    Attributes:
        of: what they belong to within the stage, such as an architecture; empty: to the stage.
        step: how far it was: an epoch or a step.
    """

    of: tuple[str, ...]
    step: float
    numbers: Metrics


class Record(BaseModel):
    """Base of all records: what one kind of row holds.

    Attributes:
        kind: kind of the row.
        version: version of the model that rows are written with.
        event, phase: names under which people hear of it.
        named_by: fields that tell records of a kind apart; none: a job has one.
        last_counts: whether a later record of the same name takes the place of the first, as a point of a training
            that went back to a checkpoint does; if not, the first stays and the later one is nothing new.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    event: ClassVar[str]
    phase: ClassVar[str | None] = None
    named_by: ClassVar[tuple[str, ...]] = ()
    last_counts: ClassVar[bool] = False

    @property
    def key(self) -> str:
        """What tells this record from others of its kind in the same job."""
        name = json.dumps([getattr(self, field) for field in self.named_by], sort_keys=True)
        return name if len(name) <= KEY_LENGTH else hashlib.sha256(name.encode()).hexdigest()

    def data(self) -> dict[str, Any]:
        """As JSON takes it; a number that is not finite is null."""
        data: dict[str, Any] = storable(self.model_dump(mode="json"))
        return data

    def told(self) -> dict[str, Any]:
        """What its event says."""
        return self.data() if self.phase is None else {"phase": self.phase, **self.data()}

    def moment(self) -> Moment | None:
        """The numbers that make up a point of a curve; None: it is no point."""
        return None


class _Shown(Record):
    """A record with numbers whose names the training decides, such as losses."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: Metrics = Field(init=False)

    last_counts: ClassVar[bool] = True

    @property
    def shown(self) -> Metrics:
        """Those numbers."""
        return dict(self.__pydantic_extra__)

    def moment(self) -> Moment:
        """See `Record.moment`. The last of the names says when, those before it of what."""
        *of, when = (getattr(self, field) for field in self.named_by)
        return Moment(tuple(map(str, of)), when, self.shown)


class StageBegan(Record):
    """A stage that one run of the job began; a stage has several where a run was interrupted in it."""

    kind: ClassVar[str] = "stage began"
    event: ClassVar[str] = "stage"
    named_by: ClassVar[tuple[str, ...]] = ("stage", "run")

    stage: Stage
    run: int = Field(description="The epoch of the run's lease.")

    def told(self) -> dict[str, Any]:
        """See `Record.told`."""
        return {"stage": self.stage}


class CurvePoint(_Shown):
    """A point of a training's curve: means of losses, scores of validated networks, speed and memory."""

    kind: ClassVar[str] = "curve point"
    event: ClassVar[str] = "curve"
    named_by: ClassVar[tuple[str, ...]] = ("epoch",)

    epoch: Number


class PredictorReport(Record):
    """How good the predictor of one metric is, and what room limits leave for its errors. Further facts are its own."""

    model_config = ConfigDict(extra="allow")
    kind: ClassVar[str] = "predictor"
    event: ClassVar[str] = "predictor"
    named_by: ClassVar[tuple[str, ...]] = ("metric",)

    metric: str
    unit: str
    target: str | None
    used: bool
    margin: float


class LayerSensitivity(BaseModel):
    """The largest network with one layer quantized."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: str = Field(description="`slot.part`.")
    precision: str = Field(description="How the layer was quantized.")
    divergence: float | None = Field(
        description="KL divergence of its answers from the full network's, in nats; null where it is no number."
    )
    agreement: float = Field(description="Share of examples with the same first answer.")
    bits: int = Field(description="Width of its weights.")


class SensitivityRecord(Record):
    """What quantizing each layer alone does to the largest network's answers."""

    kind: ClassVar[str] = "sensitivity"
    event: ClassVar[str] = "sensitivity"

    architecture_id: str
    layers: tuple[LayerSensitivity, ...]


class Baseline(Record):
    """A network that a front is compared with, scored and measured like a finalist."""

    kind: ClassVar[str] = "baseline"
    event: ClassVar[str] = "baseline"
    named_by: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    architecture_id: str
    values: dict[str, Option]
    metrics: Metrics
    sources: dict[str, Source]
    measurements: list[dict[str, Any]]


class BaselineScore(Record):
    """Scores of a network in its widest numbers, in the search for the best one."""

    kind: ClassVar[str] = "baseline score"
    event: ClassVar[str] = "baseline score"
    named_by: ClassVar[tuple[str, ...]] = ("values",)

    values: dict[str, Option]
    metrics: Metrics


class SharingCost(Record):
    """A network that was trained alone for as many epochs as the supernet, beside the same one sliced from it."""

    kind: ClassVar[str] = "sharing cost"
    event: ClassVar[str] = "sharing cost"
    named_by: ClassVar[tuple[str, ...]] = ("architecture_id",)

    architecture_id: str = Field(description="Id of the network.")
    values: dict[str, Option] = Field(description="The value of each choice.")
    metric: str = Field(description="What both are scored by.")
    sliced: float | None = Field(description="Score with the supernet's weights, on the validation samples.")
    alone: float | None = Field(description="Score with weights of its own, on the same samples.")
    samples: int = Field(description="Validation samples of the scores.")
    error: float | None = Field(
        description="Standard error of the difference over samples; null of other metrics than accuracy."
    )
    epochs: int = Field(description="Epochs that it was trained alone.")
    share: float = Field(description="Cost of its training as a share of the supernet's, by multiply-accumulates.")

    def said(self) -> str:
        """The record as a sentence."""
        if self.sliced is None or self.alone is None:
            return f"What sharing costs {self.architecture_id} is no number."
        error = "" if self.error is None else f" (standard error {self.error:.2g})"
        return (
            f"{self.architecture_id}: {self.metric} {self.sliced:.4g} sliced from the supernet, {self.alone:.4g} "
            f"trained alone for the same {self.epochs} epochs; difference {self.sliced - self.alone:+.3g}{error}."
        )


# --- the data ---------------------------------------------------------------------------------------


class LeftOutRows(BaseModel):
    """Files or rows that are not used, for one reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: str = Field(description="The reason.")
    count: int = Field(description="How many.")
    some: tuple[str, ...] = Field(description="Names of the first few.")


class SplitRead(BaseModel):
    """One split of the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int = Field(description="Images, texts, or blocks of a language model.")
    source: str | None = Field(description="Where the split comes from; null: the data source does not say.")
    classes: tuple[int, ...] = Field(description="Samples of every class, in the order of the classes.")


class DataRead(Record):
    """What was read of a job's data and left out, what each column is for, and where every split comes from."""

    kind: ClassVar[str] = "data"
    event: ClassVar[str] = "data"
    named_by: ClassVar[tuple[str, ...]] = ("fingerprint",)

    source: str = Field(description="Name of the data source.")
    origin: str = Field(description="Where the data lie.")
    fingerprint: str = Field(
        description="Digest of all samples, labels and the preprocessing: other data have another one."
    )
    unit: str | None = Field(description="What is counted: files, rows, documents; null: the source does not say.")
    seen: int | None = Field(description="How many there are; null: the source does not say.")
    used: int | None = Field(description="How many are used; null: the source does not say.")
    left_out: tuple[LeftOutRows, ...] = Field(description="What is not used, by reason.")
    columns: dict[str, str] = Field(description="Columns of a table, by what they are for.")
    num_classes: int = Field(description="Number of labels; for a language model the size of its vocabulary.")
    classes: tuple[str, ...] = Field(description="Names of the classes; empty for language models.")
    splits: dict[str, SplitRead] = Field(description="`train`, `validation` and `test`.")
    mean: tuple[float, ...] = Field(description="Mean of each channel, in stored pixels; empty for text.")
    std: tuple[float, ...] = Field(description="Standard deviation of each channel; empty for text.")
    preprocessing: str = Field(description="How an example is prepared before a network gets it.")
    remarks: tuple[str, ...] = Field(description="What else to know of the data.")

    def told(self) -> dict[str, Any]:
        """People hear the first of thousands of classes; the rest is in the row."""
        data = super().told()
        data["classes"] = data["classes"][:CLASSES_TOLD]
        for split in data["splits"].values():
            split["classes"] = split["classes"][:CLASSES_TOLD]
        return data


# --- the final front ------------------------------------------------------------------------------


class BrokenLimit(BaseModel):
    """A limit that a network does not keep as measured, or a score of it that is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(description="Name of the metric.")
    limit: float | None = Field(description="The limit; null: the score is no number.")
    value: float | None = Field(description="The measured number; null: it is none.")
    by: float | None = Field(description="How far beyond, as a share of the limit; null: the score is no number.")


class OnFront(BaseModel):
    """A network of the front."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture_id: str
    rivals: tuple[str, ...] = ()


class BeatenNetwork(BaseModel):
    """A network that was measured and is no better than one of the front."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture_id: str
    by: str


class BeyondLimits(BaseModel):
    """A network that was measured and breaks limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture_id: str
    breaks: tuple[BrokenLimit, ...]


class PredictionError(BaseModel):
    """How the search's predictions of a metric turned out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(description="Name of the metric.")
    networks: int = Field(description="Number of networks that were predicted in the search and then measured.")
    bias: float = Field(description="Mean of (measured - predicted) / predicted.")
    spread: float = Field(description="Standard deviation of that.")


class ReferenceNetwork(BaseModel):
    """What the networks of a job are compared with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    architecture_id: str
    breaks: tuple[BrokenLimit, ...] = ()


class FrontRecord(Record):
    """The final front of a job: made once from measured values, and read ever after."""

    kind: ClassVar[str] = "front"
    event: ClassVar[str] = "front"
    last_counts: ClassVar[bool] = True

    points: tuple[OnFront, ...]
    knee: str | None
    reference: ReferenceNetwork | None
    beaten: tuple[BeatenNetwork, ...]
    beyond: tuple[BeyondLimits, ...]
    hypervolume: float | None
    worst: dict[str, float | None]
    stable: bool
    predictions: tuple[PredictionError, ...]


# --- healing --------------------------------------------------------------------------------------


class HealingPlan(Record):
    """How long a network is healed: decided once, so that a run that goes on does not decide otherwise."""

    kind: ClassVar[str] = "healing plan"
    event: ClassVar[str] = "healing"
    phase: ClassVar[str | None] = "plan"
    named_by: ClassVar[tuple[str, ...]] = ("architecture_id",)

    architecture_id: str
    steps: int


class HealingPoint(_Shown):
    """A network that is validated while it heals: its losses since the last time, rate, and its score."""

    kind: ClassVar[str] = "healing point"
    event: ClassVar[str] = "healing"
    phase: ClassVar[str | None] = "point"
    named_by: ClassVar[tuple[str, ...]] = ("architecture_id", "step")

    architecture_id: str
    step: int


class HealedNetwork(Record):
    """A network before and after it was healed."""

    kind: ClassVar[str] = "healed network"
    event: ClassVar[str] = "healing"
    phase: ClassVar[str | None] = "healed"
    named_by: ClassVar[tuple[str, ...]] = ("architecture_id",)

    architecture_id: str = Field(description="Id of the network.")
    metric: str = Field(description="Metric of the job that chose the best step and compares both.")
    before: Metrics = Field(description="Numbers as it was found: a slice of the supernet.")
    after: Metrics | None = Field(
        default=None, description="Numbers with its healed weights; null: it could not be healed."
    )
    intervals: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict, description="95 % intervals of the numbers after healing."
    )
    better: bool = Field(
        default=False, description="Whether the healed weights are better, so that they are what is shipped."
    )
    teacher: str = Field(description="`largest network` or `checkpoint`.")
    learned_from: str = Field(description="Name of the data that it learned from.")
    steps: int = Field(default=0, description="Steps that were done.")
    best_step: int = Field(default=0, description="The step whose weights were kept.")
    ended_early: bool = Field(
        default=False, description="Whether it got no better for so long that its healing ended before its budget."
    )
    examples: int = Field(default=0, description="Images, texts or blocks of text that it saw.")
    tokens: int | None = Field(default=None, description="Tokens in these; null: they are images.")
    seconds: float = Field(default=0.0, description="Seconds that its healing took, validations included.")
    refused: str | None = Field(default=None, description="Why it could not be healed; null if it was.")

    def said(self) -> str:
        """The record as a sentence."""
        if self.refused is not None:
            return f"{self.architecture_id} was not healed: {self.refused}"
        before, after = (values.get(self.metric) for values in (self.before, self.after or {}))
        numbers = " to ".join("no number" if value is None else f"{value:.4g}" for value in (before, after))
        cost = f"{self.steps:,} steps, {self.examples:,} examples"
        cost += "" if self.tokens is None else f" of {self.tokens:,} tokens"
        kept = "" if self.better else " Healing made it no better, so its weights are shipped as they were found."
        return (
            f"{self.architecture_id}: {self.metric} {numbers} by healing with the {self.teacher} as teacher "
            f"({cost}, {self.seconds / 60:.3g} minutes).{kept}"
        )


class OnHealedFront(BaseModel):
    """A network of the front with the better of its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture_id: str = Field(description="Id of the network.")
    healed: bool = Field(description="Whether its healed weights are the better ones.")


class HealedFront(Record):
    """The front over the same networks with the better of their weights, beside the one before."""

    kind: ClassVar[str] = "healed front"
    event: ClassVar[str] = "healing"
    phase: ClassVar[str | None] = "front"

    points: tuple[OnHealedFront, ...] = Field(description="Best in the first objective first.")
    knee: str | None = Field(description="The network to take without a rule; null: the front is empty.")
    hypervolume_before: float | None = Field(
        description="Hypervolume before healing, up to the worst value of each objective then."
    )
    hypervolume_after: float | None = Field(description="Hypervolume after healing, up to the same corner.")
    rank_correlation: float | None = Field(
        description="Kendall's tau of the healed networks' scores before and after; null of fewer than three."
    )


# --- choosing what heals best ---------------------------------------------------------------------


class FidelityScore(Record):
    """The score of a network of the search that has healed up to a rung."""

    kind: ClassVar[str] = "fidelity score"
    event: ClassVar[str] = "healing"
    phase: ClassVar[str | None] = "rung"
    named_by: ClassVar[tuple[str, ...]] = ("architecture_id", "level")

    architecture_id: str = Field(description="Id of the network.")
    level: int = Field(description="The rung, from 1.")
    steps: int = Field(description="Healing steps from the start; fewer than the rung's if the network got no better.")
    metrics: Metrics = Field(description="Scores on validation examples; they choose the networks.")
    seconds: float = Field(default=0.0, description="Time of the healing so far, with validations.")
    refused: str | None = Field(default=None, description="Why the network could not heal; null if it did.")


class FidelityRung(BaseModel):
    """One rung of the ladder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(description="Healing steps from the start.")
    networks: int = Field(description="Networks that healed up to this rung.")
    spent_steps: int = Field(description="Steps that all of them took from the rung below.")
    refused: int = Field(description="Networks that could not heal.")


class FidelityCorrelation(BaseModel):
    """How alike two fidelities rank the networks that have scores at both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(description="Metric that both rank by.")
    low: int = Field(description="Healing steps of the lower fidelity; 0: as found.")
    high: int = Field(description="Healing steps of the higher fidelity.")
    networks: int = Field(description="Networks with scores at both.")
    kendall: float | None = Field(description="Kendall's tau; null for fewer than three networks, or ties alone.")
    spearman: float | None = Field(description="Spearman's rho.")


# Networks, and a tau of theirs, from which on two rankings are called the same.
ENOUGH_RANKED, SAME_PLACES = 8, 0.9


class FidelityReport(Record):
    """What a search with healing steps as fidelities has chosen, and how far the low ones could be trusted."""

    kind: ClassVar[str] = "fidelities"
    event: ClassVar[str] = "healing"
    phase: ClassVar[str | None] = "rungs"
    last_counts: ClassVar[bool] = True

    chosen_by: str = Field(description="`ranks` or `Gaussian process`: what said which networks go on.")
    rungs: tuple[FidelityRung, ...] = Field(description="The ladder, the lowest rung first.")
    correlations: tuple[FidelityCorrelation, ...] = Field(description="Rank correlations between every two fidelities.")
    points: tuple[str, ...] = Field(
        description="The front on the highest rung, by validation scores there; best in the first objective first."
    )
    knee: str | None = Field(description="The recommended one of these.")
    not_found_before: tuple[str, ...] = Field(description="Points that are not on the front of the networks as found.")

    def said(self) -> str:
        """The record as sentences."""
        spent = " ".join(
            f"{rung.networks} networks healed up to {rung.steps:,} steps ({rung.spent_steps:,} steps in all)."
            for rung in self.rungs
        )
        told = "".join(
            f" {one.metric} after {one.low:,} and {one.high:,} steps: Kendall's tau {one.kendall:.2f}, Spearman's rho "
            f"{one.spearman:.2f} of {one.networks} networks."
            for one in self.correlations
            if one.kendall is not None and one.spearman is not None
        )
        found = f" {len(self.points)} are on the front there, {len(self.not_found_before)} of which were not before."
        advice = (
            " Networks hardly changed places while they healed. Without search.fidelities the same compute heals more "
            "of them."
            if self.kept_their_places
            else ""
        )
        return f"Chosen by {self.chosen_by}: {spent}{told}{found}{advice}"

    @property
    def kept_their_places(self) -> bool:
        """Whether what networks scored as they were found ranks them as the first rung does, in every metric.

        Where that was so, choosing by rungs lost 2 to 4 % of the hypervolume (docs/results.md).
        """
        rung = (0, self.rungs[0].steps)
        first = [one for one in self.correlations if (one.low, one.high) == rung and one.networks >= ENOUGH_RANKED]
        return bool(first) and all(one.kendall is not None and one.kendall >= SAME_PLACES for one in first)


# --- a search by blocks ---------------------------------------------------------------------------


class ScoredBlock(BaseModel):
    """Choices that are made together, and their combinations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    alternatives: tuple[dict[str, Option], ...]
    largest: int = Field(description="The alternative of the largest network.")


class PairTerm(BaseModel):
    """What a network has beyond the sum where two blocks are both in sets of their alternatives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: int
    of_first: tuple[int, ...]
    second: int
    of_second: tuple[int, ...]
    weight: float


class BlockMetric(BaseModel):
    """One metric over the blocks of a space (`search.blocks.table.Quantity`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    goal: Goal
    adds: Adds
    largest: float
    base: float
    costs: tuple[tuple[float, ...], ...]
    pairs: tuple[PairTerm, ...]
    curve: tuple[float, float]
    scores: str
    source: Source
    combinations: int
    tau: float | None
    error: float | None
    margin: float | None
    sum_alone: float | None


class BlockScores(Record):
    """What every alternative of every block adds to each metric, alone inside the largest network, and how far sums of
    that can be trusted: from this any limits are solved for."""

    kind: ClassVar[str] = "block scores"
    event: ClassVar[str] = "blocks"
    last_counts: ClassVar[bool] = True

    blocks: tuple[ScoredBlock, ...]
    metrics: tuple[BlockMetric, ...]
    left_out: dict[str, str] = Field(description="Metric -> why it is not there.")
    evaluations: int = Field(description="Evaluations of the search so far.")

    def told(self) -> dict[str, Any]:
        """How far each metric can be trusted; the scores are in the row."""
        facts = ("metric", "combinations", "tau", "error", "margin", "sum_alone")
        metrics = [{name: getattr(one, name) for name in facts} for one in self.metrics]
        counts = {"blocks": len(self.blocks), "alternatives": sum(len(one.alternatives) for one in self.blocks)}
        told: dict[str, Any] = storable({**counts, "evaluations": self.evaluations, "metrics": metrics})
        return {**told, "left_out": dict(self.left_out)}


# --- a search by gradient -------------------------------------------------------------------------


class Prices(Record):
    """What every option of every block costs on a target, in ms, and what all networks have in common."""

    kind: ClassVar[str] = "prices"
    event: ClassVar[str] = "gradient"
    phase: ClassVar[str | None] = "prices"
    named_by: ClassVar[tuple[str, ...]] = ("target",)

    target: str
    fixed_ms: float
    blocks_ms: tuple[tuple[float, ...], ...]


class SearchPoint(_Shown):
    """A point of the search for one network: its losses, and where the distribution over networks stands."""

    kind: ClassVar[str] = "search point"
    event: ClassVar[str] = "gradient"
    phase: ClassVar[str | None] = "search"
    named_by: ClassVar[tuple[str, ...]] = ("run", "epoch")

    run: int
    epoch: float
    probabilities: tuple[tuple[float | None, ...], ...]
    entropy: float | None
    expected_ms: float | None
    most_likely_ms: float | None


class Derived(Record):
    """The network that one search has led to."""

    kind: ClassVar[str] = "derived"
    event: ClassVar[str] = "gradient"
    phase: ClassVar[str | None] = "derived"
    named_by: ClassVar[tuple[str, ...]] = ("run",)

    run: int
    target: str
    latency_weight: float | None
    budget_ms: float | None
    architecture_id: str
    values: dict[str, Option]
    table_ms: float
    argmax: bool
    probabilities: tuple[tuple[float | None, ...], ...]
    entropy: float | None
    expected_ms: float | None
    most_likely_ms: float | None


class TrainingPoint(_Shown):
    """A point of the training of one derived network: its losses."""

    kind: ClassVar[str] = "training point"
    event: ClassVar[str] = "gradient"
    phase: ClassVar[str | None] = "train"
    named_by: ClassVar[tuple[str, ...]] = ("run", "epoch")

    run: int
    epoch: float


class Measured(Record):
    """Scores and measurements of one derived network, once it is trained."""

    kind: ClassVar[str] = "measured"
    event: ClassVar[str] = "gradient"
    phase: ClassVar[str | None] = "measured"
    named_by: ClassVar[tuple[str, ...]] = ("run",)

    run: int
    architecture_id: str
    metrics: Metrics
    sources: dict[str, Source]
    test: Metrics
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    measurements: list[dict[str, Any]]


class CrossTable(Record):
    """Latency of every network on every target, from the targets' tables: architecture id -> target -> ms."""

    kind: ClassVar[str] = "cross"
    event: ClassVar[str] = "gradient"
    phase: ClassVar[str | None] = "cross"

    latency_ms: dict[str, dict[str, float]]


R = TypeVar("R", bound=Record)


# --- rows -----------------------------------------------------------------------------------------


def write(session: Session, job_id: str, epoch: int, record: Record) -> None:
    """Store a record and tell people, fenced by the epoch. What is stored already is neither stored nor told again.

    Raises:
        LeaseLost: the epoch is over.
    """
    job = queries.fenced_job(session, job_id, epoch)
    data, now = record.data(), session.get(JobRecord, (job_id, record.kind, record.key))
    if now is None:
        newest = select(func.max(JobRecord.number)).where(JobRecord.job_id == job_id, JobRecord.kind == record.kind)
        number = (session.scalar(newest) or 0) + 1
        found = {"number": number, "version": record.version, "data": data}
        session.add(JobRecord(job_id=job_id, kind=record.kind, key=record.key, **found))
    elif record.last_counts and now.data != data:
        now.version, now.data = record.version, data
    else:
        return
    queries.add_event(session, job, record.event, record.told())


def sort(session: Session, job_id: str, model: type[R], place: Callable[[R], Any]) -> None:
    """Number a job's records of a kind anew, by their places; equals stay in the order in which they were written."""
    rows = session.scalars(
        select(JobRecord).where(JobRecord.job_id == job_id, JobRecord.kind == model.kind).order_by(JobRecord.number)
    ).all()
    for number, row in enumerate(sorted(rows, key=lambda row: place(parsed(model, row.data))), 1):
        row.number = number


def read(session: Session, job_id: str, model: type[R]) -> list[R]:
    """A job's records of a kind, in the order in which they were first written."""
    query = select(JobRecord.data).where(JobRecord.job_id == job_id, JobRecord.kind == model.kind)
    return [parsed(model, data) for data in session.scalars(query.order_by(JobRecord.number))]


def healed_of(session: Session, job_id: str) -> dict[str, HealedNetwork]:
    """The networks that a job has healed, or tried to, by architecture id."""
    return {one.architecture_id: one for one in read(session, job_id, HealedNetwork)}


def fidelities_of(session: Session, job_id: str) -> FidelityReport | None:
    """What a job's search has chosen by healing networks a little; None if it did not."""
    return next(iter(read(session, job_id, FidelityReport)), None)


def sharing_of(session: Session, job: Job) -> list[SharingCost]:
    """What sharing costs in a job's supernet, which may be another job's."""
    reused: str | None = job.spec.get("supernet", {}).get("reuse")
    return read(session, reused or job.id, SharingCost)


def moments(session: Session, job_id: str, model: type[R]) -> list[tuple[R, datetime]]:
    """A job's records of a kind in the order in which they were written, and when each was."""
    query = select(JobRecord.data, JobRecord.created_at).where(JobRecord.job_id == job_id, JobRecord.kind == model.kind)
    rows = session.execute(query.order_by(JobRecord.number)).all()
    return [(parsed(model, row.data), row.created_at) for row in rows]


def parsed(model: type[R], data: Mapping[str, Any]) -> R:
    """A record from its row. Fields of another version are left aside."""
    if model.model_config.get("extra") == "forbid" and (unknown := data.keys() - model.model_fields.keys()):
        log.warning("%s has fields of another version: %s", model.__name__, ", ".join(sorted(unknown)))
        data = {name: value for name, value in data.items() if name not in unknown}
    return model.model_validate(data)
