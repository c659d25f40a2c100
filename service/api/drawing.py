"""What charts are drawn from, in few and small answers: evaluations as columns, hypervolumes, what happened so far."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from pydantic import Field
from sqlalchemy import func, select

from search.metrics import Source
from service import drawing, jobs
from service.api.answers import Answer as Written
from service.api.answers import Kept
from service.api.deps import READ, IdentityDep, SessionDep
from service.api.results import objectives_of
from service.api.schemas import Answer, ObjectiveOut
from service.auth.ownership import see
from service.store import queries
from service.store.models import EvaluationRow, JobState

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])
together = APIRouter(prefix="/v1", tags=["results"])
# Jobs whose fronts are compared at once.
MOST_JOBS = 6
# Columns as they were answered, by job.
COLUMNS = Kept[Written](most_bytes=32 * 2**20)
COURSES = Kept[Written](most_bytes=2**20)


class ColumnsOut(Answer):
    """Evaluations as columns: entry i of each belongs to evaluation `after + 1 + i`."""

    after: int = Field(description="Number of the evaluation before the first one here.")
    last: int = Field(description="Number of the last evaluation; give it as `after` for what comes next.")
    ids: list[str] = Field(description="Ids of the networks.")
    metrics: dict[str, list[float | None]] = Field(
        description="Numbers to seven digits; `evaluations` has all digits. Null: no number, or this network has none."
    )
    sources: dict[str, Source | list[Source | None] | None] = Field(
        description="How the numbers of each metric were obtained: one word if all are alike, otherwise one for "
        "each evaluation."
    )


class CourseOut(Answer):
    """How the hypervolume of one search grew."""

    job_id: str = Field(description="Id of the job.")
    name: str = Field(description="Name of the job.")
    algorithm: str = Field(description="Search algorithm of the job.")
    evaluations: int = Field(description="Evaluations of the job so far.")
    points: list[tuple[int, float]] = Field(
        description="Pairs (evaluations so far, share of the box), one wherever it grew; evenly thinned where "
        "there are many."
    )


class CoursesOut(Answer):
    """How the hypervolume of a search grew, as shares of a box from `ideal` to `corner`."""

    job_id: str = Field(description="Id of the job.")
    objectives: list[ObjectiveOut] = Field(description="Objectives of the job, which are the sides of the box.")
    ideal: dict[str, float] = Field(description="Best value of each objective on the front; empty without a front.")
    corner: dict[str, float] = Field(
        description="Each objective's limit, or else a tenth of the front's span beyond its worst value."
    )
    own: CourseOut | None = Field(description="Course of this search; null: no network keeps the limits.")
    random: CourseOut | None = Field(
        description="Course of a random search of the same supernet with the same objectives, if you see one."
    )


class ComparedOut(Answer):
    """One job among those that are compared."""

    id: str = Field(description="Id of the job.")
    name: str = Field(description="Name of the job.")
    state: JobState = Field(description="State of the job.")
    evaluations: int = Field(description="Evaluations of the job so far.")
    share: float | None = Field(description="Share of the box that its front dominates; null: it has no front.")
    only: float | None = Field(
        description="Share of the box that its front dominates and the other jobs' fronts do not."
    )


class ComparisonOut(Answer):
    """Fronts of jobs, compared by hypervolumes from one corner."""

    metrics: list[str] = Field(description="Objectives that every network of these fronts has a number for.")
    ideal: dict[str, float] = Field(description="Best value of each on any front; empty where no job has a front.")
    corner: dict[str, float] = Field(
        description="Where hypervolumes are measured from: a tenth of the fronts' span beyond the worst value of each."
    )
    jobs: list[ComparedOut] = Field(description="Jobs in the order of the request.")


IfNoneMatch = Annotated[str | None, Header(description="`ETag` of the answer that the client has.")]
AcceptEncoding = Annotated[str | None, Header(description="`gzip` compresses the answer.")]
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "The answer is still the one of `If-None-Match`"}}


@router.get("/evaluations/columns", response_model=ColumnsOut, responses=UNCHANGED, dependencies=[READ])
def columns(
    job_id: str,
    session: SessionDep,
    after: Annotated[int, Query(ge=0, lt=2**31, description="Only evaluations after this number.")] = 0,
    if_none_match: IfNoneMatch = None,
    accept_encoding: AcceptEncoding = None,
) -> Response:
    """List evaluations of a job as columns.

    One answer has every evaluation, for charts of thousands of networks.
    """
    jobs.get(session, job_id)
    # Evaluations are added and never changed, so their newest number says whether there is something new.
    newest = session.scalar(select(func.max(EvaluationRow.number)).where(EvaluationRow.job_id == job_id)) or 0
    answer = COLUMNS.get(f"{job_id} {after}", newest)
    if answer is None:
        answer = _written(drawing.columns_of(session, job_id, after))
        COLUMNS.keep(f"{job_id} {after}", newest, answer)
    return answer.response(if_none_match, accept_encoding)


@router.get("/hypervolume", response_model=CoursesOut, responses=UNCHANGED, dependencies=[READ])
def hypervolume(
    job_id: str,
    session: SessionDep,
    who: IdentityDep,
    if_none_match: IfNoneMatch = None,
    accept_encoding: AcceptEncoding = None,
) -> Response:
    """Read how a search's hypervolume grew.

    It is told evaluation by evaluation, by the numbers that the search itself had.
    """
    job = jobs.get(session, job_id)
    # A random search that ends later is found within a minute.
    version = (queries.front_version(session, job_id), int(time.time() // 60))
    name = f"{job_id} {who.key_id}"
    answer = COURSES.get(name, version)
    if answer is None:
        found = drawing.courses_of(session, job, who)
        ends = (
            [("ideal", found.box.ideal), ("corner", found.box.corner)] if found.box else [("ideal", ()), ("corner", ())]
        )
        named = {
            end: {o.metric: value for o, value in zip(found.objectives, values, strict=False)} for end, values in ends
        }
        answer = _written(
            CoursesOut(
                job_id=job_id,
                objectives=objectives_of(job),
                ideal=named["ideal"],
                corner=named["corner"],
                own=CourseOut.model_validate(found.own) if found.own else None,
                random=CourseOut.model_validate(found.random) if found.random else None,
            ).model_dump(mode="json")
        )
        COURSES.keep(name, version, answer)
    return answer.response(if_none_match, accept_encoding)


def _written(content: dict[str, Any]) -> Written:
    return Written.of(json.dumps(content, separators=(",", ":"), allow_nan=False).encode())


@together.get("/hypervolumes", dependencies=[READ])
def hypervolumes(
    session: SessionDep,
    who: IdentityDep,
    job: Annotated[list[str], Query(min_length=1, max_length=MOST_JOBS, description="Id of a job; up to six.")],
) -> ComparisonOut:
    """Compare fronts of jobs by hypervolume.

    All are measured from one corner, in the objectives that every network has a number for.
    """
    for job_id in job:
        see(session, who, "job_id", job_id)
    found = drawing.compared(session, [jobs.get(session, job_id) for job_id in dict.fromkeys(job)])
    return ComparisonOut(
        metrics=[objective.metric for objective in found.objectives],
        ideal=found.ideal,
        corner=found.corner,
        jobs=[ComparedOut.model_validate(one) for one in found.jobs],
    )
