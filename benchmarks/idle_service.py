"""A service of its own for benchmarks of the API and of pages: no limits of rate, and no worker."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.client import Client
from service.settings import Settings
from service.stack import Stack, running_stack
from service.store.session import Database


@contextmanager
def idle_service() -> Iterator[tuple[Stack, Client, Database]]:
    """The service, a client with an admin's key, and a connection to its database. Jobs stay as they are."""
    os.environ["WINNOW_RATE_LIMIT"] = "off"
    with tempfile.TemporaryDirectory(prefix="winnow-benchmark-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        settings = Settings(data_dir=Path(folder), database_url=None, redis_url=None)
        with running_stack(settings, 0) as stack, Client(stack.url, key=stack.api_key) as client:
            stack.children["worker"].terminate()  # nothing is worked on
            stack.children.pop("worker").wait()
            assert stack.servers is not None
            database = Database(stack.servers.database_url)
            yield stack, client, database
            database.close()
