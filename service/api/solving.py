"""Any limits, answered at once from a job's block scores."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field, field_validator

from plugins.registry import one_of
from search.metrics import METRICS
from service.api.deps import READ, SessionDep
from service.api.schemas import Answer

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])


class SweepIn(BaseModel):
    """Several limits on one metric, evenly spread over what networks may have of it."""

    model_config = ConfigDict(extra="forbid")

    metric: str = Field(description="Metric whose limit goes from its best value to that of the best network.")
    points: Annotated[int, Field(ge=2, le=100, description="How many limits; equal networks are answered once.")] = 20


class SolveIn(BaseModel):
    """What a network must keep, and what is made best."""

    model_config = ConfigDict(extra="forbid")

    limits: Annotated[dict[str, float], Field(max_length=16)] = Field(
        default_factory=dict,
        description="Metric -> the worst value that will do: most milliseconds, fewest tokens a second. Only these "
        "count: the job's own limits must be repeated.",
        examples=[{"latency_ms": 5, "params": 1000000}],
    )
    objective: str | None = Field(
        default=None, description="What is made best; null: the first objective of the job that is no plain cost."
    )
    target: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="An uploaded table of layers: `latency_ms` is then its price, not that of the job's own target.",
    )
    sweep: SweepIn | None = Field(default=None, description="A front instead of one network.")

    @field_validator("limits")
    @classmethod
    def _known(cls, limits: dict[str, float]) -> dict[str, float]:
        for metric in limits:
            one_of("metric", metric, tuple(METRICS))
        return limits


class PredictedOut(Answer):
    """A number of a network that nobody has measured."""

    value: float = Field(description="The predicted number.")
    low: float | None = Field(
        description="The true value lies between `low` and `high` nine times out of ten; null: unknown."
    )
    high: float | None = Field(description="Upper end of that range.")
    exact: bool = Field(description="Whether it is counted or priced, and not predicted.")


class BeyondLimitOut(Answer):
    """A limit that the nearest network exceeds."""

    metric: str = Field(description="Name of the metric.")
    limit: float = Field(description="The limit.")
    value: float = Field(description="The predicted number.")
    by: float = Field(description="How far beyond, as a share of the limit.")


class SolvedOut(Answer):
    """The network that is predicted to be best within its limits."""

    limits: dict[str, float] = Field(description="Limits that it was solved for.")
    feasible: bool = Field(description="Whether it keeps its limits; if not, no network does and this comes nearest.")
    gap: float = Field(
        description="How far below its sum of damages the best possible one may lie, as a share; 0: proved best."
    )
    architecture_id: str = Field(description="Id of the network.")
    values: dict[str, Any] = Field(
        description="The network's choices. Name them in `search.seed_architectures` to measure it."
    )
    predicted: dict[str, PredictedOut] = Field(description="What the network is predicted to cost, by metric.")
    beyond: list[BeyondLimitOut] = Field(description="Limits that it exceeds.")
    evaluated: dict[str, float | None] | None = Field(
        description="The network's scores where the search has measured it."
    )


class BlockTrustOut(Answer):
    """How well sums over blocks predict held-out networks."""

    metric: str = Field(description="Name of the metric.")
    scores: str = Field(description="Whose scores of blocks are added up.")
    combinations: int = Field(description="Held-out networks that differ from the largest in several blocks.")
    tau: float | None = Field(description="Kendall's rank correlation of predicted and true values of those networks.")
    error: float | None = Field(
        description="Mean of |predicted - true| / true of those networks, where each counts as 2 at most."
    )
    margin: float | None = Field(description="Nine of ten of those errors are within this share of the value.")
    sum_alone: float | None = Field(description="`error` of plain sums, without the curve and the pair terms.")
    num_pairs: int = Field(description="Pairs of blocks that have a term of their own.")


class SolveOut(Answer):
    """Networks for limits, from what blocks have scored; nothing was evaluated."""

    job_id: str = Field(description="Id of the job.")
    objective: str = Field(description="What was made best.")
    trusted: bool = Field(description="Whether held-out combinations confirm the ranking.")
    distrust: list[str] = Field(description="Why the ranking is not trusted; empty: it is.")
    solutions: list[SolvedOut] = Field(description="One, or the different networks of a sweep.")
    metrics: list[BlockTrustOut] = Field(description="How far each metric's predictions can be trusted.")
    left_out: dict[str, str] = Field(description="Metric -> why it cannot be solved for.")
    seconds: float = Field(description="How long the solver took.")


@router.post("/solve", dependencies=[READ])
def solve(
    job_id: str,
    session: SessionDep,
    given: Annotated[
        SolveIn,
        Body(
            openapi_examples={
                "limits": {"summary": "One network", "value": {"limits": {"size_bytes": 2000000}}},
                "sweep": {"summary": "A front", "value": {"sweep": {"metric": "params", "points": 10}}},
            }
        ),
    ],
) -> SolveOut:
    """Solve for the best network within limits.

    It is the network that is predicted to be best, for a job that searched with `blocks`. Nothing is evaluated and
    nothing stored. To measure the network, extend the job with it.
    """
    # Imported here because the API should start without what only this route needs.
    from service.solving import solve_for

    sweep = None if given.sweep is None else (given.sweep.metric, given.sweep.points)
    answer = solve_for(session, job_id, given.limits, given.objective, sweep, given.target)
    return SolveOut(
        job_id=job_id,
        objective=answer.objective,
        trusted=not answer.distrust,
        distrust=answer.distrust,
        solutions=[SolvedOut.model_validate(one) for one in answer.solutions],
        metrics=[
            BlockTrustOut.model_validate({**one.model_dump(), "num_pairs": len(one.pairs)}, extra="ignore")
            for one in answer.metrics
        ],
        left_out=answer.left_out,
        seconds=answer.seconds,
    )
