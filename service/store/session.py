"""The connection to PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from service.errors import Unavailable
from service.store.storable import to_json

CONNECT_TIMEOUT_SECONDS = 5
# Nobody waits longer than this for a row that somebody else holds, and nobody holds one for longer while idle: a
# process that is frozen or cut off within a transaction loses its connection, and with it whatever it had locked.
LOCK_TIMEOUT_SECONDS = 10
IDLE_IN_TRANSACTION_SECONDS = 15
STATEMENT_TIMEOUT_SECONDS = 60
# SQLSTATEs of a transaction that was ended for taking too long between statements, or at all.
IDLE_STATES = ("25P03", "25P04")
# A connection whose other end is gone is noticed within half a minute, whether or not something is sent.
KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
POOL_SIZE, POOL_OVERFLOW = 10, 20
# A connection that has rested for so long is tried before it is used: a request that follows another saves that way.
PING_AFTER_SECONDS = 1.0
RESTS_SINCE = "rests_since"
# A request that gets no connection in this time is answered with 503.
POOL_TIMEOUT_SECONDS = 5


def normalise_url(url: str) -> str:
    """The URL with psycopg 3 as its driver.

    Raises:
        ValueError: it is not a PostgreSQL URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(
            f"WINNOW_DATABASE_URL is not a URL: {error}. Example: postgresql://user:password@host:5432/winnow"
        ) from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError(
            f"WINNOW_DATABASE_URL names a {parsed.get_backend_name()} database; Winnow needs PostgreSQL: "
            "postgresql://user:password@host:5432/winnow"
        )
    return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _server_limits() -> str:
    """Time limits that the server keeps for every connection, also those whose client hangs."""
    limits = {
        "lock_timeout": LOCK_TIMEOUT_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_SECONDS,
        "statement_timeout": STATEMENT_TIMEOUT_SECONDS,
    }
    return " ".join(f"-c {name}={seconds}s" for name, seconds in limits.items())


def _cut_off(context: ExceptionContext) -> OperationalError | None:
    """A transaction that the server has ended for its idleness is a lost connection as any other; the driver calls it
    an internal error."""
    original = context.original_exception
    if getattr(original, "sqlstate", None) not in IDLE_STATES:
        return None
    context.is_disconnect = True
    return OperationalError(context.statement, None, original, connection_invalidated=True)


def _note_rest(_raw: object, record: ConnectionPoolEntry) -> None:
    """A connection goes back to the pool."""
    record.info[RESTS_SINCE] = time.monotonic()


def _ping_after_rest(raw: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Try a connection that has rested for long enough to have died; one that dies otherwise costs a 503 as any."""
    if time.monotonic() - record.info.get(RESTS_SINCE, float("inf")) < PING_AFTER_SECONDS:
        return
    import psycopg

    try:
        raw.autocommit = True
        raw.execute("")
        raw.autocommit = False
    except psycopg.Error as error:
        raise InvalidatePoolError(str(error)) from None  # the pool connects anew, and so do those that are as old


class Database:
    """A pool of connections. One transaction per request, task or write of a runner."""

    def __init__(self, url: str) -> None:
        self.url = normalise_url(url)
        self.engine = create_engine(
            self.url,
            json_serializer=to_json,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "options": f"{make_url(self.url).query.get('options', '')} {_server_limits()}".strip(),
                **KEEPALIVES,
            },
        )
        event.listen(self.engine, "handle_error", _cut_off)
        event.listen(self.engine, "checkin", _note_rest)
        event.listen(self.engine, "checkout", _ping_after_rest)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or rolls back on an error."""
        with self._sessions.begin() as session:
            yield session

    def check(self) -> None:
        """Ask the server for an answer.

        Raises:
            Unavailable: it gives none.
        """
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except OperationalError as error:
            raise Unavailable(f"PostgreSQL does not answer: {first_line(error)}") from None

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def first_line(error: Exception) -> str:
    """The first line of a driver's message, without SQLAlchemy's additions."""
    original = getattr(error, "orig", None) or error
    return str(original).strip().split("\n")[0]
