"""A failed test must not cost those after it: what it has left running holds the only worker."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from playwright.sync_api import Browser

from service.client import Client, ClientError
from tests.e2e.browsers import launched
from tests.e2e.helpers import is_finished


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all modules; each test has a profile of its own in it."""
    with launched() as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_running(client: Client) -> Iterator[None]:
    """Cancels a module's jobs that are not over at its end."""
    yield
    for job in client.jobs()["jobs"]:
        if not is_finished(job):
            with suppress(ClientError):  # it has just ended
                client.verb(job["id"], "cancel")
