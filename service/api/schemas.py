"""What the API answers, as pydantic models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from job.versions import upgraded
from search.metrics import Source
from search.picks import Pick
from service.layer_latency import LayerTimes
from service.store.models import (
    EvaluationRow,
    Export,
    ExportState,
    Finalist,
    JobState,
    LogLevel,
    Stage,
    Verb,
    Weights,
)
from service.store.records import (
    BrokenLimit,
    DataRead,
    FidelityReport,
    FidelityScore,
    HealedFront,
    HealedNetwork,
    LayerSensitivity,
    PredictionError,
    SharingCost,
)

if TYPE_CHECKING:
    from search_space.layers import LayerSpec


class Answer(BaseModel):
    """Base of all answers; reads rows."""

    model_config = ConfigDict(from_attributes=True)


class JobOut(Answer):
    """A job: its whole spec, its state, and how far it is."""

    id: str = Field(description="Id of the job.")
    name: str = Field(description="Name of the job.")
    recipe: str = Field(description="Recipe that filled in its defaults.")
    state: JobState = Field(description="What the job does now, or how it ended.")
    stage: Stage | None = Field(description="Stage of a running job.")
    progress: float = Field(description="Share of the whole job, 0 to 1.")
    stage_progress: float = Field(description="Share of the current stage, 0 to 1.")
    stage_done: int | None = Field(
        default=None,
        description="How many things the stage has done, such as finalists; null: it counts none.",
    )
    stage_total: int | None = Field(default=None, description="How many there are, as far as is known now.")
    eta_seconds: float | None = Field(description="Estimated time to the end.")
    eta_low_seconds: float | None = Field(
        default=None,
        description="Lower end of the likely range of that time, by the pace so far and by jobs that ended here.",
    )
    eta_high_seconds: float | None = Field(default=None, description="Upper end of that range.")
    message: str | None = Field(description="Why it failed, paused, waits for a device, or ended early.")
    waits: str | None = Field(
        default=None, description="Why it waits for a worker, behind which jobs, and for how long; null if it does not."
    )
    created_at: datetime = Field(description="When it was submitted.")
    started_at: datetime | None = Field(description="When a worker first took it up; null: none has.")
    finished_at: datetime | None = Field(description="When it ended; null: it has not.")
    environment: dict[str, Any] | None = Field(description="Device and versions of the run.")
    spec: Annotated[dict[str, Any], BeforeValidator(upgraded)] = Field(
        description="The job with every default and decision in it, in the words of this version."
    )
    owner_id: str | None = Field(default=None, description="The key that submitted it.")
    shared_with: str | None = Field(default=None, description="The group whose keys may look at it.")
    labels: list[str] = Field(default_factory=list, description="Words to find it by.")
    notes: str = Field(default="", description="Notes for people.")
    priority: int = Field(default=0, description="Workers take the waiting job with the highest number first.")
    parent_id: str | None = Field(default=None, description="The job that this one was made of.")
    parent_verb: Verb | None = Field(
        default=None, description="How it was made of that job: `clone`, `extend`, `rerun`, `heal` or `measure`."
    )
    deleted_at: datetime | None = Field(
        default=None, description="When its deletion was asked for; it can be restored until its time of grace is over."
    )
    failures: list[dict[str, Any]] = Field(
        default_factory=list,
        description="How its runs ended badly since the last progress: `attempt`, `reason`, `stage`, `at`.",
    )
    verbs: list[Verb] = Field(default_factory=list, description="What may be asked of the job in its present state.")


class LogLineOut(Answer):
    """A line of a job's log."""

    id: int = Field(description="Give the last one as `after` for what comes next.")
    at: datetime = Field(description="When it was written.")
    level: LogLevel = Field(description="How serious it is.")
    epoch: int = Field(description="Number of the run that said it; it grows each time that a worker takes the job up.")
    stage: Stage | None = Field(description="Stage of the job; null: before the first.")
    step: int | None = Field(description="Step of a training, or the number of evaluations.")
    text: str = Field(description="The line.")


class LogPage(Answer):
    """Lines of a job's log, oldest first."""

    lines: list[LogLineOut] = Field(description="Lines, oldest first.")
    next_after: int | None = Field(description="Give it as `after` for the next lines; null where there are none yet.")


class WorkerState(StrEnum):
    """Whether a worker is there: `draining` takes nothing new, `offline` is silent."""

    ONLINE = "online"
    DRAINING = "draining"
    OFFLINE = "offline"


class WorkerOut(Answer):
    """A worker, and what it has."""

    name: str = Field(description="Name of the worker.")
    state: WorkerState = Field(description="Whether it takes work.")
    started_at: datetime = Field(description="When it started.")
    seen_at: datetime = Field(description="Last heartbeat.")
    queues: list[str] = Field(description="Kinds of work that it takes.")
    labels: list[str] = Field(description="Labels of the worker, which jobs may ask for in `needs.labels`.")
    gpus: int = Field(description="GPUs that it sees.")
    memory_bytes: int = Field(description="Memory of its machine.")
    facts: dict[str, Any] = Field(description="Host, cores, names of GPUs, versions.")
    job_id: str | None = Field(default=None, description="The job that it runs, or helps to heal, if you may see it.")


class WorkerPage(Answer):
    """All workers by name."""

    workers: list[WorkerOut] = Field(description="Workers by name.")


class DraftOut(Answer):
    """A job to start another one from."""

    spec: dict[str, Any] = Field(
        description="The job. Decisions that follow from its other parts, such as `training.lr_decay_epochs` from "
        "`training.epochs`, are null: they are made anew when it is submitted."
    )


class JobSummaryOut(JobOut):
    """A job in a list: with what it has found so far."""

    evaluations: int = Field(default=0, description="Architectures evaluated.")
    front_size: int = Field(default=0, description="Networks of the front that are measured.")
    best_accuracy: float | None = Field(default=None, description="Best validation accuracy among those.")
    best_metric: str | None = Field(default=None, description="The job's first objective.")
    best_value: float | None = Field(default=None, description="Best value of it among those.")
    hypervolume: float | None = Field(
        default=None,
        description="Hypervolume of the front up to its worst values, in the objectives' units multiplied.",
    )


class JobPage(Answer):
    """One page of jobs."""

    jobs: list[JobSummaryOut] = Field(description="Jobs in the order that was asked for.")
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null at the end.")


class ObjectiveOut(Answer):
    """An objective of the job."""

    metric: str = Field(description="Name of the metric.")
    goal: str = Field(description="`maximize` or `minimize`.")
    limit: float | None = Field(description="Worst value that is feasible; null: any.")
    unit: str = Field(description="Unit of the metric; empty: none.")


class PointOut(Answer):
    """One architecture with its numbers and how each was obtained."""

    architecture_id: str = Field(description="Id of the network.")
    values: dict[str, Any] = Field(description="The value of each choice.")
    metrics: dict[str, float | None] = Field(description="The value of each metric; null: it is no finite number.")
    sources: dict[str, Source] = Field(description="How the value of each metric was obtained.")
    intervals: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict,
        description="95 % intervals of measured metrics: where they would fall with other examples, or measured "
        "again. A metric without one is exact, or its spread is not known.",
    )
    ratios: dict[str, float] = Field(
        default_factory=dict, description="The number of each metric as a share of the reference's."
    )
    measurements: list[dict[str, Any]] = Field(
        default_factory=list, description="Latency with device, runtime, threads, batch and spread."
    )

    @classmethod
    def of(
        cls,
        row: EvaluationRow,
        finalist: Finalist | None = None,
        reference: Mapping[str, float | None] | None = None,
        **more: Any,
    ) -> Self:
        """A point from its evaluation and, if it is a finalist, its measurements.

        Args:
            reference: numbers of what it is compared with.
        """
        metrics = {**row.metrics, **(finalist.metrics if finalist else {})}
        return cls(
            architecture_id=row.architecture_id,
            values=row.values,
            metrics=metrics,
            sources={**row.sources, **(finalist.sources if finalist else {})},
            intervals=(finalist.intervals or {}) if finalist else {},
            ratios=ratios_of(metrics, reference or {}),
            measurements=finalist.measurements if finalist else [],
            **more,
        )


def ratios_of(metrics: Mapping[str, float | None], reference: Mapping[str, float | None]) -> dict[str, float]:
    """Each number as a share of the reference's, where both are numbers and the reference's is above 0."""
    found = {}
    for name, value in metrics.items():
        other = reference.get(name)
        if value is not None and other is not None and other > 0:
            found[name] = value / other
    return found


class FrontPointOut(PointOut):
    """A network of the front."""

    healed: HealedNetwork | None = Field(
        default=None,
        description="The network's numbers before and after healing, and the cost; null: it was not chosen.",
    )
    rivals: list[str] = Field(
        default_factory=list,
        description="Networks of the front that are clearly better in some objective, while this one is clearly better "
        "in none: the intervals overlap, so its place beside them may be luck.",
    )


class ReferenceOut(PointOut):
    """What the networks of a job are compared with, measured as they are; it need not keep their limits."""

    name: str = Field(description="`checkpoint`, `largest network`, or of a search by gradient the largest found.")
    breaks: list[BrokenLimit] = Field(default_factory=list, description="Limits of the job that it does not keep.")


class BeatenOut(PointOut):
    """A measured network that some network of the front equals or beats in every objective."""

    by: str = Field(description="A network of the front that is no worse in any objective.")


class BeyondOut(PointOut):
    """A network that was measured and breaks a limit."""

    breaks: list[BrokenLimit] = Field(description="Limits that it breaks, with by how much.")


class BaselineOut(PointOut):
    """A network that the front of a search of policies is compared with."""

    name: str = Field(description="What the baseline is.")


class FrontOut(Answer):
    """The Pareto front of a job."""

    job_id: str = Field(description="Id of the job.")
    state: JobState = Field(description="State of the job.")
    final: bool = Field(description="Whether the points are measured finalists of a finished search.")
    objectives: list[ObjectiveOut] = Field(description="Objectives of the job.")
    healed_front: HealedFront | None = Field(
        default=None, description="The front once networks were healed, each with the better of its weights."
    )
    knee: str | None = Field(
        description="The recommendation: nearest to the ideal point, objectives that span decades as logarithms; of "
        "those whose intervals overlap with it the one that is better in another objective."
    )
    points: list[FrontPointOut] = Field(description="Best in the first objective first.")
    reference: ReferenceOut | None = Field(
        default=None,
        description="What the networks are compared with; null before finalists are measured, and in jobs of "
        "older versions.",
    )
    beaten: list[BeatenOut] = Field(default_factory=list, description="Measured, but no better than the front.")
    beyond: list[BeyondOut] = Field(default_factory=list, description="Measured, but beyond a limit.")
    held_out: list[str] = Field(
        default_factory=list, description="Metrics on examples or questions that no search has seen, unlike the others."
    )
    hypervolume: float | None = Field(
        default=None,
        description="Volume that the final front dominates, up to `worst`, in the objectives' units multiplied.",
    )
    worst: dict[str, float | None] = Field(
        default_factory=dict, description="Per objective its limit, or else its worst measured value."
    )
    stable: bool = Field(
        default=True, description="Whether every network with a fair chance to be on the front was measured."
    )
    predictions: list[PredictionError] = Field(
        default_factory=list, description="How the search's predictions of a metric turned out as measured."
    )
    baselines: list[BaselineOut] = Field(
        description="Where quantization policies are searched: the largest network in its widest and its narrowest "
        "numbers, and the best architecture in its narrowest, measured like the points."
    )


class DataOut(Answer):
    """What was read of a job's data, and what was left out."""

    job_id: str = Field(description="Id of the job.")
    loads: list[DataRead] = Field(
        description="What each reading found; none before the first, several where a later run of the job found "
        "other data."
    )


class SharingOut(Answer):
    """What sharing weights costs in the supernet of a job."""

    job_id: str = Field(description="Id of the job.")
    networks: list[SharingCost] = Field(
        description="Networks trained alone as well as sliced; empty where `training.sharing_check` does not ask for "
        "it, or before that is done. For a reused supernet, what the job found that trained it."
    )


class SensitivityOut(Answer):
    """How much each layer minds being quantized; empty before that is known, or where policies are not searched."""

    layers: list[LayerSensitivity] = Field(description="Every layer at every width.")


class GradientNetworkOut(Answer):
    """One network that a search by gradient was asked for."""

    number: int = Field(description="Number from 0, in the order of the search.")
    target: str = Field(description="Target that it is searched for.")
    latency_weight: float | None = Field(description="Weight of latency in the loss; null: it has a budget.")
    budget_ms: float | None = Field(description="Latency that it is driven to; null: it has a weight.")
    search: list[dict[str, Any]] = Field(
        description="By epoch: probabilities of every block's options, mean entropy in nats, expected latency and that "
        "of the most likely network from the target's table, losses."
    )
    training: list[dict[str, Any]] = Field(description="By epoch: losses of the derived network, trained alone.")
    derived: dict[str, Any] | None = Field(description="The network, and its latency from the target's table.")
    measured: dict[str, Any] | None = Field(
        description="The network's metrics once it is trained, with measured latency."
    )


class GradientOut(Answer):
    """What a search by gradient has found."""

    job_id: str = Field(description="Id of the job.")
    state: JobState = Field(description="State of the job.")
    blocks: list[dict[str, Any]] = Field(description="Name and options of every block, in forward order.")
    prices: dict[str, dict[str, Any]] = Field(description="Per target: ms of every option of every block.")
    networks: list[GradientNetworkOut] = Field(description="Networks in the order in which they are searched for.")
    cross_latency_ms: dict[str, dict[str, float]] = Field(
        description="Per architecture: its latency from the table of every target."
    )
    baselines: list[dict[str, Any]] = Field(description="Published networks of the same data, as the job gave them.")


class EvaluationOut(Answer):
    """The scores of one architecture."""

    number: int = Field(description="Position in the order of evaluation, from 1.")
    architecture_id: str = Field(description="Id of the network.")
    values: dict[str, Any] = Field(description="The value of each choice.")
    metrics: dict[str, float | None] = Field(description="The value of each metric; null: it is no finite number.")
    sources: dict[str, Source] = Field(description="How the value of each metric was obtained.")
    seconds: float = Field(description="How long its evaluation took.")
    created_at: datetime = Field(description="When it was stored.")


class EvaluationPage(Answer):
    """One page of evaluations."""

    evaluations: list[EvaluationOut] = Field(description="Evaluations in their order.")
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null at the end.")


class LayerOut(Answer):
    """One layer of a network."""

    slot: str = Field(description="Position of the layer in the supernet.")
    kind: str = Field(description="Kind of the layer.")
    fields: dict[str, Any] = Field(description="Sizes of the layer, by name.")
    params: int = Field(description="Parameters of the layer.")
    macs: int = Field(description="Multiply-accumulates of the layer for one sample.")
    weight_bytes: int = Field(description="Bytes that the layer's weights take.")
    policy: dict[str, str] = Field(description="Part -> how it is quantized; empty where no policy speaks of it.")

    @classmethod
    def of(cls, slot: str, layer: LayerSpec, float_bits: int = 32) -> LayerOut:
        """A layer from its spec; `float_bits` of a number that nothing quantizes."""
        return cls(
            slot=slot,
            kind=layer.kind,
            fields=layer.fields(),
            params=layer.params(),
            macs=layer.macs(),
            weight_bytes=layer.weight_bytes(float_bits, float_bits),
            policy={part: str(precision) for part, precision in layer.policy},
        )


class HealingOut(Answer):
    """What healing has made of a job's networks."""

    job_id: str = Field(description="Id of the job.")
    state: JobState = Field(description="State of the job.")
    networks: list[HealedNetwork] = Field(description="Each before and after; empty before the first is healed.")
    points: list[dict[str, Any]] = Field(
        description="Validations while networks heal: `architecture_id`, `step`, losses and the score."
    )
    front: HealedFront | None = Field(description="The front once networks are healed; null before the last one is.")
    fidelities: FidelityReport | None = Field(
        description="What the search has chosen with `search.fidelities`, and how alike the fidelities rank networks; "
        "null: it does not use them, or is not done."
    )
    fidelity_scores: list[FidelityScore] = Field(
        description="Validation scores of the networks that healed in the search, on every rung."
    )
    fidelity_found: dict[str, dict[str, float | None]] = Field(
        description="Scores of the same networks as found, by architecture id."
    )


class ArchitectureOut(PointOut):
    """One architecture with its layers in forward order."""

    job_id: str = Field(description="Id of the job.")
    healed: HealedNetwork | None = Field(
        default=None, description="The network's numbers before and after healing; null: it was not healed."
    )
    layers: list[LayerOut] = Field(description="Layers in forward order.")
    formats: list[str] = Field(description="Export formats that it can have.")


class LayersOut(Answer):
    """A network layer by layer, beside the largest of its space."""

    job_id: str = Field(description="Id of the job.")
    architecture_id: str = Field(description="Id of the network.")
    layers: list[LayerOut] = Field(description="Layers in forward order.")
    largest: list[LayerOut] = Field(description="Layers of the largest network of the space, to compare with.")
    latency: LayerTimes | None = Field(
        description="Latency of each layer on the job's target; null: no target, or nothing is known."
    )


class RuleIn(BaseModel):
    """Which network of the front is meant."""

    model_config = ConfigDict(extra="forbid")

    pick: Pick = Field(
        default="most_accurate",
        description="How to choose; the most accurate language model has the lowest perplexity. `as_good`: the "
        "cheapest network whose score lies within the interval of the most accurate one's.",
    )
    under: dict[str, float] = Field(
        default_factory=dict,
        description="Metric: the most of it that a network may have.",
        examples=[{"latency_ms": 5}],
    )


class ExportRequest(BaseModel):
    """Which architecture to export: one by its id, or one of the front by a rule. Without either, the knee is exported
    if it loses little to the largest network; otherwise the request is refused, and asks for a rule."""

    model_config = ConfigDict(extra="forbid")

    architecture_id: str | None = Field(default=None, description="An architecture that the job has evaluated.")
    rule: RuleIn | None = Field(default=None, description="Chooses a network of the front.")
    formats: list[Annotated[str, Field(max_length=64)]] | None = Field(
        default=None,
        max_length=64,
        description="Formats to write, each in a folder of the archive; the catalogue has those that there are. Left "
        "out: `load.py` with its weights, and `model.onnx`, in one folder.",
        examples=[["huggingface", "onnx"]],
    )

    weights: Literal["best", "healed", "unhealed"] = Field(
        default="best",
        description="Which weights of a healed network. `best`: the healed ones if they are better by the job's own "
        "score. A rule chooses by the numbers of the same weights.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> ExportRequest:
        if self.architecture_id is not None and self.rule is not None:
            raise ValueError("Give architecture_id or a rule, not both: they may mean different networks.")
        if self.formats is not None and not self.formats:
            raise ValueError("formats names none; leave it out, or name some.")
        return self


class ExportOut(Answer):
    """An export and the report of its verification."""

    id: str = Field(description="Id of the export.")
    job_id: str = Field(description="Id of the job.")
    architecture_id: str = Field(description="Id of the network.")
    formats: list[str] = Field(description="Formats that were asked for; empty: none was named.")
    weights: Weights = Field(description="Whether the weights that are shipped were healed.")
    state: ExportState = Field(description="What the export does now, or how it ended.")
    message: str | None = Field(description="Why it failed; null: it did not.")
    created_at: datetime = Field(description="When it was asked for.")
    finished_at: datetime | None = Field(description="When it ended; null: it has not.")
    sha256: str | None = Field(description="Digest of the archive.")
    size_bytes: int | None = Field(description="Size of the archive.")
    report: dict[str, Any] | None = Field(description="What was compared after reloading, and how it agreed.")
    download_url: str | None = Field(default=None, description="Where its archive is; null: there is none yet.")
    chosen: str | None = Field(default=None, description="The network that a rule chose, in words.")

    @field_validator("formats", mode="before")
    @classmethod
    def _listed(cls, stored: str | list[str]) -> list[str]:
        return [name for name in stored.split(",") if name] if isinstance(stored, str) else stored

    @classmethod
    def of(cls, export: Export, chosen: str | None = None) -> ExportOut:
        """An export with its download address once there is something to download."""
        answer = cls.model_validate(export)
        answer.chosen = chosen
        if export.archive is not None:
            answer.download_url = f"/v1/exports/{export.id}/download"
        return answer


class ReadingOut(Answer):
    """One time that a network was measured, or is about to be."""

    job_id: str = Field(description="The job that measured it.")
    state: JobState = Field(description="State of that job.")
    message: str | None = Field(description="Why that job failed, paused or waits.")
    created_at: datetime = Field(description="When that job was submitted.")
    measured_at: datetime | None = Field(description="When it was measured; null until then, or where it could not be.")
    metrics: dict[str, float | None] = Field(description="Numbers that only measured networks have.")
    sources: dict[str, Source] = Field(description="How each number was obtained.")
    intervals: dict[str, tuple[float | None, float | None]] = Field(description="Intervals of 95 %.")
    measurements: list[dict[str, Any]] = Field(description="Latency with device, runtime, threads, batch and spread.")


class ReadingsOut(Answer):
    """Every time that a network was measured, oldest first."""

    job_id: str = Field(description="The job that found the network.")
    architecture_id: str = Field(description="Id of the network.")
    readings: list[ReadingOut] = Field(description="The first measurement, then each later one.")


class SupernetOut(Answer):
    """A trained supernet: set `supernet.reuse` of a job to its id to search it again without training."""

    id: str = Field(description="Id of the supernet.")
    job_id: str | None = Field(description="The job that trained it; null if that was deleted.")
    created_at: datetime = Field(description="When it was trained.")
    name: str = Field(description="Name of the job that trained it.")
    recipe: str = Field(description="Recipe of that job.")
    space: str = Field(description="Name of its search space.")
    supernet: dict[str, Any] = Field(description="The parts of the job that trained it: space, data, training.")
    data: dict[str, Any] = Field(description="Data that it learned from.")
    training: dict[str, Any] = Field(description="How it was trained.")
    metric: str = Field(description="What its sub-networks are scored by on the validation split.")
    scores: dict[str, Any] = Field(description="Scores of the smallest, the largest and some random sub-networks.")
    step: int = Field(description="Steps of the training.")
    sha256: str = Field(description="Digest of its file.")
    size_bytes: int = Field(description="Size of its file.")


class SupernetDetailOut(SupernetOut):
    """A trained supernet with its training curve."""

    curve: list[dict[str, Any]] = Field(description="Points of its training curve.")


class SupernetPage(Answer):
    """One page of trained supernets."""

    supernets: list[SupernetOut] = Field(description="Supernets, newest first.")
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null at the end.")
