"""Jobs: submit, list, read. What may be asked of one that is there is in `verbs`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Response, status
from pydantic import BaseModel
from sqlalchemy.orm import Session

from job.resolve import opened
from job.spec import JobSpec
from job.versions import read_job
from search_space import plugins
from service import jobs, waiting
from service.api.answers import Kept
from service.api.cursors import make_cursor, read_cursor
from service.api.deps import READ, WRITE, DatabaseDep, IdentityDep, QueueDep, SessionDep
from service.api.schemas import DraftOut, JobOut, JobPage, JobSummaryOut
from service.auth.ownership import visible_jobs
from service.errors import InvalidRequest, Unavailable
from service.queue import RUN_JOB, Queue
from service.store import queries
from service.store.models import JOB_STATES, TERMINAL_STATES, Job, JobState
from service.store.queries import JobSort, ListedJob

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

# Rows of lists, of jobs that have ended.
ROWS = Kept[bytes](most_bytes=16 * 2**20)

Spec = Annotated[
    JobSpec,
    Body(
        openapi_examples={
            "smallest": {"summary": "Everything from the recipe", "value": {"recipe": "bignas"}},
            "with a limit": {
                "summary": "At most 100,000 MACs",
                "value": {
                    "name": "digits on my laptop",
                    "recipe": "bignas",
                    "objectives": [{"metric": "accuracy"}, {"metric": "macs", "limit": 100000}],
                    "search": {"evaluations": 250, "seed": 1},
                },
            },
        }
    ),
]


@router.post("", status_code=status.HTTP_201_CREATED, response_model=JobOut, dependencies=[WRITE])
def submit(
    spec: Spec,
    database: DatabaseDep,
    queue: QueueDep,
    who: IdentityDep,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Response:
    """Submit a job.

    With an `Idempotency-Key`, sending the same request again gives the same job (200).
    """
    with database.transaction() as session:
        job, is_new = jobs.submit(session, spec, idempotency_key, who)
        answer = JobOut.model_validate(job)
    response = written(answer, status.HTTP_201_CREATED)
    made(answer, is_new, response, queue)
    return response


def written(answer: BaseModel, code: int = status.HTTP_200_OK) -> Response:
    """An answer as JSON, written here: FastAPI would change the thread once more to look at it again."""
    return Response(answer.model_dump_json(), code, media_type="application/json")


def made(answer: JobOut, is_new: bool, response: Response, queue: Queue) -> JobOut:
    """The answer about a job that is stored: a worker is woken for it; 200 where the same request made it before."""
    if is_new:
        wake(queue, answer.id)
    else:
        response.status_code = status.HTTP_200_OK
    response.headers["Location"] = f"/v1/jobs/{answer.id}"
    return answer


def wake(queue: Queue, job_id: str) -> None:
    """Wake a worker after the commit. If the broker is away the job waits in its row for the reaper."""
    try:
        queue.wake(RUN_JOB, job_id)
    except Unavailable as error:
        log.warning("wake-up for job %s not sent, the reaper will send it: %s", job_id, error.detail)


@router.get("", response_model=JobPage, dependencies=[READ])
def list_jobs(
    database: DatabaseDep,
    who: IdentityDep,
    state: Annotated[str | None, Query(description="Only jobs in this state.")] = None,
    recipe: Annotated[str | None, Query(description="Only jobs of this recipe.")] = None,
    text: Annotated[
        str | None, Query(max_length=200, description="Only jobs whose name, id or notes contain this text.")
    ] = None,
    label: Annotated[list[str] | None, Query(max_length=32, description="Only jobs with all of these labels.")] = None,
    deleted: Annotated[
        bool, Query(description="Deleted jobs that can still be restored, instead of the others.")
    ] = False,
    supernet: Annotated[
        str | None,
        Query(max_length=32, description="Only jobs that trained or reused this supernet."),
    ] = None,
    sort: Annotated[JobSort, Query(description="What the jobs are sorted by.")] = JobSort.CREATED,
    order: Annotated[
        Literal["asc", "desc"], Query(description="Whether the smallest or the largest value comes first.")
    ] = "desc",
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before, in the same order.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List jobs.

    The list has your jobs and those shared with your group, newest first. Admins see all.
    """
    if state is not None and state not in JOB_STATES:
        raise InvalidRequest(f"No state {state!r}. Known: {', '.join(JOB_STATES)}.", known=list(JOB_STATES))
    after = None if cursor is None else _place(cursor, sort)
    wanted = None if state is None else JobState(state)
    with database.transaction() as session:
        listed = queries.list_jobs(
            session,
            state=wanted,
            recipe=recipe,
            text=text,
            after=after,
            limit=limit + 1,
            visible=visible_jobs(who),
            labels=label or (),
            deleted=deleted,
            supernet=supernet,
            sort=sort,
            rising=order == "asc",
        )
        page, more = listed[:limit], len(listed) > limit
        rows = _rows(session, page)
    next_cursor = _cursor(page[-1], sort) if more else None
    content = b'{"jobs":[' + b",".join(rows) + b'],"next_cursor":' + json.dumps(next_cursor).encode() + b"}"
    return Response(content, media_type="application/json")


def _rows(session: Session, page: Sequence[ListedJob]) -> list[bytes]:
    """A page of jobs, each as JSON of a `JobSummaryOut`. Those that have ended are written out once."""
    users = plugins.users_families()  # whose files decide whether a job can still be read
    stamp = None if users is None else users.stamp()
    known = {one.id: ROWS.get(one.id, (one.version, stamp)) for one in page if one.ended}
    missing = queries.jobs_of(session, [one.id for one in page if known.get(one.id) is None])
    found, waits = queries.summaries(session, list(missing)), waiting.why(session, list(missing.values()))
    made = {
        job.id: JobSummaryOut.model_validate(job)
        .model_copy(update={**found.get(job.id, {}), "waits": waits.get(job.id)})
        .model_dump_json()
        .encode()
        for job in missing.values()
    }
    for one in page:
        if one.ended and one.id in made and missing[one.id].state in TERMINAL_STATES:
            ROWS.keep(one.id, (one.version, stamp), made[one.id])
    rows = (known.get(one.id) or made.get(one.id) for one in page)
    return [row for row in rows if row is not None]


def _cursor(last: ListedJob, sort: JobSort) -> str:
    """After the last job of a page; it says what the list was sorted by."""
    value = last.place
    return make_cursor(sort.value, value.isoformat() if isinstance(value, datetime) else str(value), last.id)


def _place(cursor: str, sort: JobSort) -> tuple[Any, str]:
    """The value that was sorted by, and the id, of the last job before.

    Raises:
        InvalidRequest: the cursor is of another order, or not one that `_cursor` made.
    """
    sorted_by, value, job_id = read_cursor(cursor, str, str, str)
    if sorted_by != sort:
        raise InvalidRequest(
            f"The cursor belongs to a list sorted by {sorted_by!r}, not by {sort.value!r}; begin without it."
        )
    kind = sort.column.type.python_type
    return (datetime.fromisoformat(value) if issubclass(kind, datetime) else kind(value)), job_id


@router.get("/{job_id}", dependencies=[READ])
def read(job_id: str, session: SessionDep) -> JobOut:
    """Read a job.

    The answer has its state, its progress and its spec with every default.
    """
    return with_waits(session, jobs.get(session, job_id))


def with_waits(session: Session, job: Job) -> JobOut:
    """A job, and why it waits if it does."""
    return JobOut.model_validate(job).model_copy(update={"waits": waiting.why(session, [job]).get(job.id)})


@router.get("/{job_id}/draft", dependencies=[READ])
def draft(job_id: str, session: SessionDep) -> DraftOut:
    """Read a job as a draft of another one.

    Decisions that follow from its other parts are left open.
    """
    return DraftOut(spec=opened(read_job(jobs.get(session, job_id).spec)).model_dump(mode="json"))
