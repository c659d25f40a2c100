"""The profile of a space: what its networks cost and whether limits can be met, before anything is trained.

One implementation answers `POST /v1/profile`, `winnow profile` and the question that every submission
asks: is it possible? It needs no torch, no weights and no server.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from job.fit import resizes, stated_misfit
from job.hardware_spec import HardwareSpec
from job.spec import ConstraintSpec, DataSpec, JobSpec, ObjectiveSpec, Part, SupernetSpec
from search.intervals import wilson
from search.metrics import METRICS, ON_TARGET, Source
from search.objectives import Objective, violation
from search_space.inputs import ImageInput, PairInput

if TYPE_CHECKING:
    from search.feasibility import SeenNetwork, Verdict
    from search_space.space import SearchSpace

DEFAULT_SAMPLES, MAX_SAMPLES = 1000, 10_000


class ProfileSpec(Part):
    """What to profile: a space, and limits if there are any. A whole job is accepted as it is."""

    supernet: SupernetSpec = Field(description="The space, as in a job.")
    objectives: Annotated[tuple[ObjectiveSpec, ...], Field(max_length=16)] = Field(
        default=(), description="Objectives with limits, as in a job."
    )
    constraints: Annotated[tuple[ConstraintSpec, ...], Field(max_length=16)] = Field(
        default=(), description="Further limits, as in a job."
    )
    data: DataSpec | None = Field(default=None, description="Checked to fit the space; nothing is loaded.")
    hardware: HardwareSpec = Field(
        default_factory=HardwareSpec, description="Number and length of the texts whose caches are counted."
    )
    samples: Annotated[
        int, Field(ge=1, le=MAX_SAMPLES, description="Random networks to count; a smaller space is counted whole.")
    ] = DEFAULT_SAMPLES
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Seed of the random networks.")] = 0

    @model_validator(mode="before")
    @classmethod
    def _from_job(cls, given: Any) -> Any:
        """The parts of a whole job that a profile is about; the job is checked as a job."""
        if not isinstance(given, dict):
            return given
        of_a_job = {name: value for name, value in given.items() if name in JobSpec.model_fields}
        if not set(of_a_job) - set(cls.model_fields):
            return given
        job = JobSpec.model_validate(of_a_job)
        parts = {name: getattr(job, name) for name in cls.model_fields if name in JobSpec.model_fields}
        return {**{name: value for name, value in given.items() if name not in of_a_job}, **parts}

    @field_validator("objectives")
    @classmethod
    def _different(cls, objectives: tuple[ObjectiveSpec, ...]) -> tuple[ObjectiveSpec, ...]:
        metrics = [objective.metric for objective in objectives]
        twice = sorted({metric for metric in metrics if metrics.count(metric) > 1})
        if twice:
            raise ValueError(f"Objective {twice[0]!r} is listed twice; list each metric once.")
        return objectives


class MetricRange(BaseModel):
    """An exact cost over the networks that were counted."""

    metric: str = Field(description="Name of the metric.")
    unit: str = Field(description="Unit of the metric.")
    smallest: int = Field(description="Smallest value seen.")
    median: int = Field(description="Median of the counted networks.")
    largest: int = Field(description="Largest value seen.")


class LimitOut(BaseModel):
    """A limit, and when it can be judged."""

    metric: str = Field(description="Name of the metric.")
    limit: float = Field(description="The limit.")
    bound: str = Field(description="`at most` or `at least`.")
    known: str = Field(description="`now`, or `only after training` or `only after measuring`.")
    share: float | None = Field(description="Share of the counted networks that meet this limit alone.")


class NetworkOut(BaseModel):
    """One network with its exact costs."""

    architecture_id: str = Field(description="Id of the network.")
    values: dict[str, Any] = Field(description="The value of each choice.")
    metrics: dict[str, int] = Field(description="Exact costs of the network.")
    beyond: dict[str, float] = Field(description="Metric: how far beyond its limit, as a share of the limit.")


class Feasibility(BaseModel):
    """Whether networks meet all limits on exact costs together."""

    answer: str = Field(description="`feasible`, `infeasible` (proven), or `not found` (no proof).")
    reason: str = Field(description="How that is known, as a sentence.")
    share: float = Field(description="Share of the counted networks that meet the limits.")
    share_low: float = Field(description="Lower end of the 95 % interval (Wilson); the share where all were counted.")
    share_high: float = Field(description="Upper end of that interval.")
    nearest: NetworkOut = Field(description="A network that meets the limits, or the one that comes closest.")
    looked_at: int = Field(description="Networks counted, those of the guided search included.")


class ProfileOut(BaseModel):
    """What is known about a space without training."""

    space: str = Field(description="Name of the search space.")
    takes: str = Field(description="What its networks take, in words, with resolution or sequence length.")
    input: dict[str, Any] = Field(description="`takes` for programs.")
    num_choices: int = Field(description="Choices of the space.")
    architectures: str = Field(description="Exact number of distinct networks; text, as it may exceed 2^53.")
    architectures_log10: float = Field(description="Decimal logarithm of the number of networks.")
    counted: int = Field(description="Networks whose costs were counted for ranges and shares.")
    counted_how: str = Field(description="`every network`, or `random, uniform over genes`.")
    seed: int = Field(description="Seed of the random networks.")
    metrics: list[MetricRange] = Field(description="Range of each exact cost.")
    limits: list[LimitOut] = Field(description="What is known of each limit by itself.")
    feasibility: Feasibility | None = Field(
        description="Whether the limits can be met together; null without a limit on an exact cost."
    )
    data_misfit: str | None = Field(description="Why space and data do not fit; null if they do or none was named.")
    deployable: str | None = Field(
        default=None,
        description="What `supernet.deployable` costs, named or decided, beside the space without it; null without it.",
    )
    seconds: float = Field(description="Time that the profile took.")


def make_profile(spec: ProfileSpec) -> ProfileOut:
    """Profile a space.

    Raises:
        ValueError: the space has no layers to count.
    """
    import numpy as np

    from predictors.cost import check_has

    began = time.perf_counter()
    space = spec.supernet.space()
    space.cache_tokens, space.cache_batch = spec.hardware.context, spec.hardware.batch
    objectives = limits_stated(spec.objectives, spec.constraints)
    limits = limits_known_now(objectives)
    for limit in limits:
        check_has(space, limit.metric)
    rng = np.random.default_rng(spec.seed)
    counted, whole = _count(space, spec.samples, rng)
    ends = [_look(space, space.smallest()), _look(space, space.largest())]
    misfits = None if spec.data is None else stated_misfit(space, spec.data)
    size = space.size()
    return ProfileOut(
        space=space.name,
        takes="" if space.takes is None else str(space.takes),
        input=input_facts(space),
        num_choices=len(space.choices),
        architectures=str(size),
        architectures_log10=log10(size),
        counted=len(counted),
        counted_how="every network" if whole else "random, uniform over genes",
        seed=spec.seed,
        metrics=_ranges(counted, ends),
        limits=[_limit(objective, counted) for objective in objectives if objective.limit is not None],
        feasibility=_feasibility(space, limits, counted, whole, rng) if limits else None,
        data_misfit=misfits,
        deployable=_deployable(spec.supernet, space),
        seconds=time.perf_counter() - began,
    )


def _deployable(supernet: SupernetSpec, space: SearchSpace) -> str | None:
    if not (engines := supernet.engines):
        return None
    from search_space.deployable import cost_of

    told = cost_of(space, supernet.model_copy(update={"deployable": ()}).space(), engines)
    if supernet.deployable:
        return told
    return f"{told} Winnow decided that; `supernet.deployable: []` leaves the space whole."


def look_for_feasible(space: SearchSpace, objectives: Sequence[Objective], seed: int = 0) -> Verdict:
    """Whether a network meets the limits on exact costs, without counting random ones first."""
    import numpy as np

    from predictors.cost import costs
    from search.feasibility import find_feasible

    limits = limits_known_now(objectives)
    return find_feasible(space, limits, lambda one: costs(space, one), np.random.default_rng(seed))


def limits_stated(objectives: Sequence[ObjectiveSpec], constraints: Sequence[ConstraintSpec]) -> list[Objective]:
    """Objectives and constraints alike: for a profile only their limits matter."""
    stated = [objective.objective() for objective in objectives]
    return [*stated, *(Objective(c.metric, c.goal, c.limit) for c in (spec.constraint() for spec in constraints))]


def limits_known_now(objectives: Sequence[Objective]) -> list[Objective]:
    """The objectives with a limit that can be judged before training."""
    return [o for o in objectives if o.limit is not None and METRICS[o.metric].source == Source.ANALYTIC]


def input_facts(space: SearchSpace) -> dict[str, Any]:
    """What the networks of a space eat, for programs; `sizes` where the first layer resizes."""
    if space.takes is None:
        return {}
    if not isinstance(space.takes, ImageInput):
        kind = "pairs" if isinstance(space.takes, PairInput) else "tokens"
        return {"kind": kind, **asdict(space.takes)}
    facts = {"kind": "images", **asdict(space.takes)}
    if resizes(space):
        ends = (space.smallest(), space.largest())
        facts["sizes"] = [next(iter(space.layers(end).values())).fields()["size"] for end in ends]
    return facts


def nearest_out(nearest: SeenNetwork, limits: Sequence[Objective]) -> NetworkOut:
    """A network as the API shows it."""
    beyond = {limit.metric: limit.violation(nearest.metrics[limit.metric]) for limit in limits}
    return NetworkOut(
        architecture_id=nearest.architecture.id,
        values=nearest.architecture.values,
        metrics={metric: int(value) for metric, value in nearest.metrics.items()},
        beyond={metric: share for metric, share in beyond.items() if share > 0},
    )


def _count(space: SearchSpace, samples: int, rng: Any) -> tuple[list[SeenNetwork], bool]:
    """Networks with their costs, and whether they are all of the space."""
    if space.size() <= samples:
        return [_look(space, architecture) for architecture in space.every()], True
    return [_look(space, space.sample(rng)) for _ in range(samples)], False


def _look(space: SearchSpace, architecture: Any) -> SeenNetwork:
    from predictors.cost import costs
    from search.feasibility import SeenNetwork

    return SeenNetwork(architecture, costs(space, architecture))


def _ranges(counted: Sequence[SeenNetwork], ends: Sequence[SeenNetwork]) -> list[MetricRange]:
    ranges = []
    for metric in ends[0].metrics:
        values = sorted(int(one.metrics[metric]) for one in counted)
        extremes = [values[0], values[-1], *(int(end.metrics[metric]) for end in ends)]
        ranges.append(
            MetricRange(
                metric=metric,
                unit=METRICS[metric].unit,
                smallest=min(extremes),
                median=values[len(values) // 2],
                largest=max(extremes),
            )
        )
    return ranges


def _limit(objective: Objective, counted: Sequence[SeenNetwork]) -> LimitOut:
    assert objective.limit is not None
    share = None
    known = f"only after {'measuring' if objective.metric in ON_TARGET else 'training'}"
    if METRICS[objective.metric].source == Source.ANALYTIC:
        known = "now"
        share = sum(objective.violation(one.metrics[objective.metric]) == 0 for one in counted) / len(counted)
    bound = "at most" if objective.goal == "minimize" else "at least"
    return LimitOut(metric=objective.metric, limit=objective.limit, bound=bound, known=known, share=share)


def _feasibility(
    space: SearchSpace, limits: Sequence[Objective], counted: Sequence[SeenNetwork], whole: bool, rng: Any
) -> Feasibility:
    from predictors.cost import costs
    from search.feasibility import find_feasible

    verdict = find_feasible(space, limits, lambda one: costs(space, one), rng, known=counted)
    met = sum(violation(limits, one.metrics) == 0 for one in counted)
    share = met / len(counted)
    low, high = (share, share) if whole else wilson(met, len(counted))
    return Feasibility(
        answer=verdict.answer,
        reason=verdict.reason,
        share=share,
        share_low=low,
        share_high=high,
        nearest=nearest_out(verdict.nearest, limits),
        looked_at=verdict.looked_at,
    )


def log10(number: int) -> float:
    """Also of integers beyond the range of floats."""
    digits = len(str(number))
    return math.log10(number) if digits < 300 else math.log10(int(str(number)[:15])) + digits - 15


def asked_for(
    given: Mapping[str, Any] | None,
    supernet: Mapping[str, str | Sequence[str] | None],
    limits: Mapping[str, float],
    samples: int | None,
    seed: int | None,
) -> ProfileSpec:
    """What somebody asks for: the content of a file, with what options say besides or instead.

    Args:
        limits: metric -> worst value that is allowed; replaces a limit of the file on the same metric.

    Raises:
        ValueError: neither names a space, or something is wrong in them; one line says what.
    """
    named = {name: value for name, value in supernet.items() if value is not None}
    if given is None and not named:
        raise ValueError("Nothing names a space. Give a job, or a family and a preset.")
    whole: dict[str, Any] = dict(given or {})
    if named:
        whole["supernet"] = named
    if limits:
        stated = {"objectives": [], **whole}["objectives"]
        others = stated if isinstance(stated, list) else []
        kept = [one for one in others if not (isinstance(one, dict) and one.get("metric") in limits)]
        whole["objectives"] = kept + [{"metric": metric, "limit": limit} for metric, limit in limits.items()]
    whole |= {name: value for name, value in (("samples", samples), ("seed", seed)) if value is not None}
    try:
        return ProfileSpec.model_validate(whole)
    except ValidationError as error:
        raise ValueError("; ".join(_line(item) for item in error.errors())) from None


def _line(item: Any) -> str:
    field = ".".join(str(part) for part in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def parse_limit(text: str) -> tuple[str, float]:
    """A limit as the command line has it, such as `macs=100000` or `macs=1e5`.

    Raises:
        ValueError: it is not written so.
    """
    metric, _, value = text.partition("=")
    try:
        return metric, float(value)
    except ValueError:
        raise ValueError(f"Got --limit {text!r}; write it as METRIC=NUMBER, such as macs=100000.") from None
