"""The log of a job: lines with level, stage and step, as a page or as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service import jobs
from service.api.deps import READ, DatabaseDep, SettingsDep
from service.api.events import KEEP_ALIVE_SECONDS, KEY_SECONDS, number_of, still_valid
from service.api.schemas import LogLineOut, LogPage
from service.store.models import TERMINAL_STATES, JobLog, LogLevel
from service.store.queries import containing
from service.store.session import Database

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])

# Lines sent in one go.
CHUNK = 500
# Looks at an ended job's log before its stream ends: a runner's last lines may come after its last word.
LAST_LOOKS = 4


@router.get(
    "/logs",
    response_model=LogPage,
    dependencies=[READ],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def logs(
    job_id: str,
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    level: Annotated[LogLevel, Query(description="Lines of this level and of more serious ones.")] = LogLevel.DEBUG,
    search: Annotated[str | None, Query(max_length=200, description="Only lines that contain this text.")] = None,
    after: Annotated[int, Query(ge=0, lt=2**63, description="Only lines after this one, by id.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    last: Annotated[bool, Query(description="Give the last lines instead of the first.")] = False,
    follow: Annotated[
        bool, Query(description="Send lines as server-sent events `log` until the job is finished.")
    ] = False,
    last_event_id: Annotated[str | None, Header(description="Id of the last line already seen.")] = None,
) -> LogPage | StreamingResponse:
    """Read a job's log.

    Lines are kept for `WINNOW_LOG_DAYS`.
    """
    after = max(after, number_of(last_event_id))
    wanted = _wanted(level, search)
    with database.transaction() as session:
        jobs.get(session, job_id)
        if not follow:
            lines = _lines(session, job_id, wanted, after, limit, last=last)
            return LogPage(lines=lines, next_after=lines[-1].id if lines else None)
        if last:
            first = _lines(session, job_id, wanted, after, limit, last=True)
            after = first[0].id - 1 if first else after
    stream = _follow(request, database, job_id, wanted, after, settings.poll_seconds)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _wanted(level: LogLevel, search: str | None) -> list[ColumnElement[bool]]:
    levels = list(LogLevel)
    conditions: list[ColumnElement[bool]] = [JobLog.level.in_(levels[levels.index(level) :])]
    if search:
        conditions.append(containing(JobLog.text, search))
    return conditions


def _lines(
    session: Session, job_id: str, wanted: Sequence[ColumnElement[bool]], after: int, limit: int, *, last: bool = False
) -> list[LogLineOut]:
    query = select(JobLog).where(JobLog.job_id == job_id, JobLog.id > after, *wanted)
    rows = session.scalars(query.order_by(JobLog.id.desc() if last else JobLog.id).limit(limit)).all()
    return [LogLineOut.model_validate(row) for row in (reversed(rows) if last else rows)]


async def _follow(
    request: Request,
    database: Database,
    job_id: str,
    wanted: Sequence[ColumnElement[bool]],
    after: int,
    poll_seconds: float,
) -> AsyncIterator[str]:
    silence, looks, checked = 0.0, 0, time.monotonic()

    def read() -> tuple[list[LogLineOut], bool]:
        with database.transaction() as session:
            ended = jobs.get(session, job_id).state in TERMINAL_STATES
            return _lines(session, job_id, wanted, after, CHUNK), ended

    while not await request.is_disconnected():
        if time.monotonic() - checked >= KEY_SECONDS:
            checked = time.monotonic()
            if not await run_in_threadpool(still_valid, request):
                return
        lines, ended = await run_in_threadpool(read)
        for line in lines:
            after, silence = line.id, 0.0
            yield f"id: {line.id}\nevent: log\ndata: {line.model_dump_json()}\n\n"
        if len(lines) == CHUNK:
            continue
        looks = looks + 1 if ended and not lines else 0
        if looks == LAST_LOOKS:
            return
        await asyncio.sleep(poll_seconds)
        silence += poll_seconds
        if silence >= KEEP_ALIVE_SECONDS:
            silence = 0.0
            yield ": still here\n\n"
