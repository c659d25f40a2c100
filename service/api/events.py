"""Server-sent events of one job: what happened, in order, and where it is now."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from service import jobs
from service.api.answers import Answer as Written
from service.api.cursors import LARGEST
from service.api.deps import READ, DatabaseDep, SessionDep, SettingsDep
from service.api.jobs import with_waits
from service.api.schemas import Answer, JobOut
from service.auth import keys
from service.auth.keys import Identity
from service.errors import InvalidRequest, Unauthorized
from service.store import queries
from service.store.models import TERMINAL_STATES, JobEvent
from service.store.notices import Notices
from service.store.session import Database

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

# An event's number is a `bigint`.
MOST_DIGITS = 18
# Events sent in one go; a late listener gets the rest in the next.
CHUNK = 500
# Events that the history of a job has at most, the newest of them.
MOST_TOLD = 20_000
# Seconds of silence after which a comment keeps proxies from closing the stream.
KEEP_ALIVE_SECONDS = 15
# How often it is looked whether the key of a stream is still valid, if nobody rings: revoked keys ring.
KEY_SECONDS = 15.0
# How often a stream looks although notices arrive and none was of its job: what a job waits for tells nobody.
LOOK_SECONDS = 30.0


def _position(
    database: DatabaseDep,
    job_id: str,
    last_event_id: Annotated[str | None, Header(description="Number of the last event already seen.")] = None,
    after: Annotated[
        int,
        Query(
            ge=0, le=LARGEST, description="The same as the header Last-Event-ID, for clients that cannot set headers."
        ),
    ] = 0,
) -> int:
    """Where to begin; refuses before the stream has started, so that the error has its status."""
    with database.transaction() as session:
        jobs.get(session, job_id)
    return number_of(last_event_id) if last_event_id else after


def still_valid(request: Request) -> bool:
    """Whether the key with which a stream was opened is neither revoked nor expired."""
    who: Identity = request.state.identity
    if who.key_id is None:
        return True
    database: Database = request.app.state.database
    try:
        with database.transaction() as session:
            keys.of_id(session, who.key_id)
    except Unauthorized:
        return False
    return True


def number_of(last_event_id: str | None) -> int:
    """The number that a Last-Event-ID is; 0 where there is none.

    Raises:
        InvalidRequest: it is no number.
    """
    if not last_event_id:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= MOST_DIGITS):
        raise InvalidRequest(f"Last-Event-ID must be the number of an event, got {last_event_id!r}.")
    return int(last_event_id)


PositionDep = Annotated[int, Depends(_position)]


class EventOut(Answer):
    """Something that happened to a job."""

    kind: str = Field(description="What happened: `state`, `stage`, `message` and so on.")
    data: dict[str, Any] = Field(description="The event's fields as in the stream, and its time as `at`.")


class HistoryOut(Answer):
    """What happened to a job so far."""

    last: int = Field(description="Number of the newest event: a stream `after` it tells what comes next.")
    left_out: int = Field(description="Number of older events that did not fit into this answer.")
    events: list[EventOut] = Field(description="Oldest first.")


@router.get("/{job_id}/history", response_model=HistoryOut, dependencies=[READ])
def history(
    job_id: str,
    session: SessionDep,
    accept_encoding: Annotated[str | None, Header(description="`gzip` compresses the answer.")] = None,
) -> Response:
    """List what has happened to a job.

    One answer has the events so far instead of a stream from the beginning. Evaluations have a route of their own,
    `evaluations/columns`.
    """
    last = jobs.get(session, job_id).event_seq
    found, left_out = queries.history(session, job_id, last, "evaluation", MOST_TOLD)
    events = [EventOut(kind=event.kind, data=_payload(event)) for event in found]
    content = HistoryOut(last=last, left_out=left_out, events=events).model_dump_json().encode()
    return Written.of(content).response(None, accept_encoding)


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    response_description="Events of the job, as server-sent events",
    dependencies=[READ],
)
async def events(
    job_id: str, request: Request, database: DatabaseDep, settings: SettingsDep, position: PositionDep
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job's events.

    The stream has the events from the beginning or after `Last-Event-ID`, then live ones.

    Events `state`, `stage`, `data`, `curve`, `gradient`, `evaluation`, `finalist` and `message` carry their number as
    id. `job` is the job itself, sent without an id whenever it changes. The stream ends after the last event of a
    finished job.
    """
    notices: Notices = request.app.state.notices
    with notices.bell(job_id) as bell:
        async for event in _stream(request, bell, database, job_id, position, settings.poll_seconds / 2):
            yield event


async def _stream(
    request: Request, bell: asyncio.Event, database: Database, job_id: str, position: int, poll_seconds: float
) -> AsyncIterator[ServerSentEvent]:
    """Look whenever the bell rings; if nobody would ring it, look again after a while."""
    notices: Notices = request.app.state.notices
    snapshot: JobOut | None = None
    spoke = checked = time.monotonic()
    while not await request.is_disconnected():
        looked = time.monotonic()
        check = looked - checked >= KEY_SECONDS or bell.is_set()
        checked = looked if check else checked
        bell.clear()  # before the look, so that what comes after it rings again
        found = await run_in_threadpool(_look, request if check else None, database, job_id, position)
        if found is None:
            return
        news, now = found
        for event in news:
            position = event.seq
            yield ServerSentEvent(data=_payload(event), event=event.kind, id=str(event.seq))
        if now != snapshot:
            snapshot, spoke = now, time.monotonic()
            yield ServerSentEvent(data=now.model_dump(mode="json", exclude={"spec"}), event="job")
        if len(news) == CHUNK:
            continue
        if now.state in TERMINAL_STATES:  # read before the events, so none of them is missing
            return
        while not bell.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), KEEP_ALIVE_SECONDS if notices.live else poll_seconds)
            if time.monotonic() - spoke >= KEEP_ALIVE_SECONDS:
                spoke = time.monotonic()
                yield ServerSentEvent(comment="still here")
            if not notices.live or time.monotonic() - looked >= LOOK_SECONDS or await request.is_disconnected():
                break


def _look(
    request: Request | None, database: Database, job_id: str, position: int
) -> tuple[list[JobEvent], JobOut] | None:
    """What is new; None: the key with which the request was made is valid no more.

    Args:
        request: whose key is looked at; None: it is not its turn.
    """
    if request is not None and not still_valid(request):
        return None
    return _read(database, job_id, position)


def _read(database: Database, job_id: str, position: int) -> tuple[list[JobEvent], JobOut]:
    with database.transaction() as session:
        now = with_waits(session, jobs.get(session, job_id))
        return list(queries.events_after(session, job_id, position, CHUNK)), now


def _payload(event: JobEvent) -> dict[str, Any]:
    return {"at": event.created_at.isoformat(), **event.data}
