"""What a job says about hardware: under which conditions latency is measured, and how it is predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from job.parts import Part
from predictors.targets import RUNTIMES, TargetName
from search.metrics import METRICS, OF_GENERATION, ON_TARGET
from search.objectives import Constraint, Objective

# The decode phase needs a cache of keys and values, which an ONNX file of fixed length has not.
DEFAULT_TARGETS = {"latency_ms": "cpu-onnxruntime", "tokens_per_second": "cpu-torch"}


class HardwareSpec(Part):
    """How a job's latencies come about. Only metrics that have a target use it."""

    threads: Annotated[int, Field(ge=1, le=1024, description="Threads inside an operator.")] = 1
    batch: Annotated[int, Field(ge=1, le=65536, description="Samples in one run.")] = 1
    context: Annotated[
        int | None,
        Field(ge=1, le=10_000_000, description="Tokens of each text in the cache of `kv_cache_bytes`; null: as costs."),
    ] = None
    predict: Literal["auto", "never"] = Field(
        default="auto",
        description="`auto`: a predictor of stated quality drives the search; `never`: every network is measured.",
    )
    networks: Annotated[
        int, Field(ge=10, le=10_000, description="Networks measured whole, to fit the predictor and to judge it.")
    ] = 40
    max_layers: Annotated[
        int, Field(ge=0, le=100_000, description="Most different layers to measure one by one; 0: no table.")
    ] = 2000
    min_within_10_percent: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Least share of held-out networks predicted within 10 %; below it, every network is measured.",
        ),
    ] = 0.9
    margin_quantile: Annotated[
        float,
        Field(ge=0.5, lt=1, description="Limits leave room for this quantile of the predictor's relative errors."),
    ] = 0.95
    seconds: Annotated[float, Field(gt=0, le=3600, description="Most measuring time of one network.")] = 2.0
    wait_minutes: Annotated[
        float, Field(ge=0, le=100_000, description="How long a job waits for a target that is offline.")
    ] = 60.0


class OnTarget(Part):
    """A metric that may need a target, with what that means. Base of objectives and constraints."""

    metric: str = Field(description="One of the catalogue's metrics.")
    target: str | None = Field(
        default=None,
        description="For latency: a runtime of the machine that runs the job, such as `cpu-onnxruntime`, a "
        "registered machine, `NAME/RUNTIME`, or an uploaded table.",
        examples=["cpu-onnxruntime"],
    )

    @model_validator(mode="after")
    def _has_a_target_where_one_is_needed(self) -> OnTarget:
        if self.metric not in METRICS:
            return self  # told elsewhere, with the names that are known
        if self.metric not in ON_TARGET:
            if self.target is not None:
                raise ValueError(
                    f"Metric {self.metric!r} is the same on every device and has no target; leave target out."
                )
            return self
        target = self.target or DEFAULT_TARGETS[self.metric]
        name = TargetName.parse(target)
        if self.metric == "tokens_per_second" and name.runtime is not None:
            runtime = RUNTIMES[name.runtime]
            if not runtime.keeps_cache:
                raise ValueError(
                    f"tokens_per_second is measured with a cache of keys and values, which {name.runtime} does not "
                    "keep here; choose cpu-torch or cuda-torch."
                )
        object.__setattr__(self, "target", target)
        return self


def target_of(parts: tuple[OnTarget, ...], kind: str | None) -> str | None:
    """The one target of a job; None for a job without metrics that need one.

    Raises:
        ValueError: two targets, or tokens of data that are no text.
    """
    needing = [part for part in parts if part.metric in ON_TARGET]
    targets = sorted({part.target for part in needing if part.target is not None})
    if len(targets) > 1:
        raise ValueError(f"A job has one target; got {' and '.join(targets)}. Submit one job for each.")
    generating = next((part.metric for part in parts if part.metric in OF_GENERATION), None)
    if generating is not None and kind not in (None, "text"):
        instead = "latency_ms" if generating in ON_TARGET else "size_bytes"
        raise ValueError(f"Only language models have {generating}, and the data are {kind}; ask for {instead}.")
    return targets[0] if targets else None


def with_margin(
    objectives: tuple[Objective, ...], constraints: tuple[Constraint, ...], margins: Mapping[str, float]
) -> tuple[tuple[Objective, ...], tuple[Constraint, ...]]:
    """The limits that a search keeps so that measured values keep the stated ones.

    Args:
        margins: metric -> relative error that predictions of it rarely exceed.
    """

    def inside(metric: str, goal: str, limit: float) -> float:
        share = 1 + margins.get(metric, 0.0)
        return limit / share if goal == "minimize" else limit * share

    kept = tuple(
        o if o.limit is None else Objective(o.metric, o.goal, inside(o.metric, o.goal, o.limit), o.target)
        for o in objectives
    )
    return kept, tuple(Constraint(c.metric, inside(c.metric, c.goal, c.limit), c.goal) for c in constraints)
