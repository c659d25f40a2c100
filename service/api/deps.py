"""What a route asks for: a transaction, the queue, the settings.

What asks no server is a coroutine: FastAPI calls every other dependency in a thread, and ways there and back cost more
than these take.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from anyio import CancelScope
from fastapi import Depends, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service import upload_store
from service.auth.guard import ADMIN, OPEN, READ, WRITE, IdentityDep
from service.auth.hosts import SAFE_METHODS
from service.depot import Depot
from service.queue import Queue
from service.settings import Settings
from service.store.session import Database
from service.upload_store import UploadStore


async def get_database(request: Request) -> Database:
    """The app's database."""
    database: Database = request.app.state.database
    return database


async def get_queue(request: Request) -> Queue:
    """The app's queue."""
    queue: Queue = request.app.state.queue
    return queue


async def get_app_settings(request: Request) -> Settings:
    """The app's settings."""
    settings: Settings = request.app.state.settings
    return settings


async def get_depot(request: Request) -> Depot | None:
    """Where artifacts are kept besides this machine's folder; None: nowhere."""
    depot: Depot | None = request.app.state.depot
    return depot


async def get_store(request: Request) -> UploadStore | None:
    """Where uploads are kept besides this machine's folder; None: nowhere."""
    store: UploadStore | None = request.app.state.uploads
    return store


async def brought(
    request: Request,
    who: IdentityDep,
    database: Annotated[Database, Depends(get_database)],
    settings: Annotated[Settings, Depends(get_app_settings)],
    store: Annotated[UploadStore | None, Depends(get_store)],
) -> None:
    """See to it that uploads that a body names lie on this machine, before the body is read as a job."""
    if store is None or request.method in SAFE_METHODS or "json" not in request.headers.get("content-type", ""):
        return
    ids = upload_store.named_in((await request.body()).decode("utf-8", "replace"))
    if ids:
        await run_in_threadpool(upload_store.bring, database, store, settings.uploads_dir, ids, who)


async def get_session(database: Annotated[Database, Depends(get_database)]) -> AsyncIterator[Session]:
    """One request, one transaction: committed before the response is made, rolled back on an error."""
    async with AsyncExitStack() as ends:
        transaction = database.transaction()
        session = transaction.__enter__()  # asks nothing of the server yet

        async def end(*error: Any) -> None:
            with CancelScope(shield=True):
                await run_in_threadpool(transaction.__exit__, *error)

        ends.push_async_exit(end)
        yield session


__all__ = [
    "ADMIN",
    "OPEN",
    "READ",
    "WRITE",
    "DatabaseDep",
    "DepotDep",
    "IdentityDep",
    "QueueDep",
    "SessionDep",
    "SettingsDep",
    "StoreDep",
]

DepotDep = Annotated[Depot | None, Depends(get_depot)]
DatabaseDep = Annotated[Database, Depends(get_database)]
QueueDep = Annotated[Queue, Depends(get_queue)]
SettingsDep = Annotated[Settings, Depends(get_app_settings)]
StoreDep = Annotated[UploadStore | None, Depends(get_store)]
# "function": the transaction ends when the route returns, so a client never sees what is not committed.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
