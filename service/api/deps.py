"""What a route asks for: a transaction, the queue, the settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from service.auth.guard import ADMIN, OPEN, READ, WRITE, IdentityDep
from service.depot import Depot
from service.queue import Queue
from service.settings import Settings
from service.store.session import Database


def get_database(request: Request) -> Database:
    """The app's database."""
    database: Database = request.app.state.database
    return database


def get_queue(request: Request) -> Queue:
    """The app's queue."""
    queue: Queue = request.app.state.queue
    return queue


def get_app_settings(request: Request) -> Settings:
    """The app's settings."""
    settings: Settings = request.app.state.settings
    return settings


def get_depot(request: Request) -> Depot | None:
    """Where artifacts are kept besides this machine's folder; None: nowhere."""
    depot: Depot | None = request.app.state.depot
    return depot


def get_session(database: Annotated[Database, Depends(get_database)]) -> Iterator[Session]:
    """One request, one transaction: committed before the response is made, rolled back on an error."""
    with database.transaction() as session:
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
]

DepotDep = Annotated[Depot | None, Depends(get_depot)]
DatabaseDep = Annotated[Database, Depends(get_database)]
QueueDep = Annotated[Queue, Depends(get_queue)]
SettingsDep = Annotated[Settings, Depends(get_app_settings)]
# "function": the transaction ends when the route returns, so a client never sees what is not committed.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
