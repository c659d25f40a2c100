"""A failed test must not cost those after it: what it has left running holds the only worker."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from service.client import Client, ClientError
from tests.e2e.helpers import is_finished


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_running(client: Client) -> Iterator[None]:
    """Cancels a module's jobs that are not over at its end."""
    yield
    for job in client.jobs()["jobs"]:
        if not is_finished(job):
            with suppress(ClientError):  # it has just ended
                client.verb(job["id"], "cancel")
