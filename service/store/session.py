"""The connection to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from service.errors import Unavailable
from service.store.storable import to_json

CONNECT_TIMEOUT_SECONDS = 5


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


class Database:
    """A pool of connections. One transaction per request, task or write of a runner."""

    def __init__(self, url: str) -> None:
        self.url = normalise_url(url)
        self.engine = create_engine(
            self.url,
            pool_pre_ping=True,
            json_serializer=to_json,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS},
        )
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
