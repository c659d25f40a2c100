"""Runs migrations against WINNOW_DATABASE_URL, or the URL that the caller put into the configuration."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from service.settings import get_settings
from service.store.models import Base
from service.store.session import normalise_url

# Any number, the same for all of Winnow's: of two upgrades at once the second waits, then finds nothing to do.
UPGRADING = 8420


def run() -> None:
    """Apply migrations over one connection, in one transaction."""
    url = context.config.get_main_option("sqlalchemy.url") or get_settings().database_url
    if not url:
        raise SystemExit("Set WINNOW_DATABASE_URL to the database to migrate.")
    engine = create_engine(normalise_url(url.replace("%%", "%")), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADING})
            context.run_migrations()


run()
