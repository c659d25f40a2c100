"""Shrink: a whole job from one sentence, with what was decided and what it takes. Nothing is stored."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from job.formats import refuse_for_all
from job.resolve import resolve
from job.shrink.plan import make_plan
from job.shrink.spec import ShrinkSpec
from service.api.deps import WRITE, SessionDep
from service.api.problems import explained
from service.checks import check
from service.errors import InvalidRequest
from service.estimate import EstimateOut, estimate

router = APIRouter(prefix="/v1/shrink", tags=["jobs"])

Asked = Annotated[
    ShrinkSpec,
    Body(
        openapi_examples={
            "digits": {
                "summary": "A small CNN for digits, under a tenth of a millisecond",
                "value": {"model": "mobilenet/digits", "data": "digits", "under": {"latency_ms": 0.1}},
            }
        }
    ),
]


class DecisionOut(BaseModel):
    """A decision that the request left open."""

    model_config = ConfigDict(from_attributes=True)

    what: str = Field(description="What was decided.")
    value: str = Field(description="The decision.")
    why: str = Field(description="The reason for it.")
    change: str = Field(description="The part of a job that `changes` may set otherwise.")


class PlanOut(BaseModel):
    """A job to submit, and what to export of its front."""

    job: dict[str, Any] = Field(description="The job, as `POST /v1/jobs` takes it.")
    rule: dict[str, Any] = Field(description="The network to export, as `POST /v1/jobs/{id}/exports` takes it.")
    decisions: list[DecisionOut] = Field(description="Every decision, in the order of the table.")
    warnings: list[str] = Field(description="What to know of the data before the job begins.")
    estimate: EstimateOut = Field(description="Time and disk that the job and its export take.")


@router.post("", dependencies=[WRITE])
def shrink(asked: Asked, session: SessionDep) -> PlanOut:
    """Plan a job that shrinks a model.

    Winnow looks into the folders of a model and its data, decides what is left open, and estimates time and disk. It
    stores nothing. Submit the answer's `job`, then export by its `rule`. A question that the folders leave open is a
    422 that asks it.
    """
    try:
        plan = make_plan(asked)
    except ValidationError as error:
        raise InvalidRequest("; ".join(explained(error))) from None
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    resolved = resolve(plan.spec)
    check(session, resolved)  # what a submission would refuse is no plan
    try:
        refuse_for_all(asked.formats, resolved)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    return PlanOut(
        job=plan.job,
        rule=plan.rule,
        decisions=[DecisionOut.model_validate(decision) for decision in plan.decisions],
        warnings=list(plan.warnings),
        estimate=estimate(session, plan.spec, plan.examples, count=True, exports=max(1, len(asked.formats))),
    )
