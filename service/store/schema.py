"""The schema's version: apply migrations, and refuse to work on an old one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from service.errors import Unavailable
from service.store.session import Database


def _config(url: str) -> Config:
    # By name, not by import: `migrations` is a row above.
    found = importlib.util.find_spec("migrations")
    assert found is not None
    assert found.origin is not None
    config = Config()
    config.set_main_option("script_location", str(Path(found.origin).parent))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Bring the schema of a database to the newest version. Does nothing if it is there."""
    command.upgrade(_config(url), "head")


def check(database: Database) -> None:
    """See to it that the database has the schema that this code expects.

    Raises:
        Unavailable: it has an older or newer one, or none.
    """
    head = ScriptDirectory.from_config(_config(database.url)).get_current_head()
    found = version_of(database)
    if found != head:
        has = f"has schema {found}" if found else "has no schema"
        raise Unavailable(f"The database {has}, this version needs {head}: run `winnow db upgrade`.")


def version_of(database: Database) -> str | None:
    """The version of the schema that a database has; None: it has none."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
