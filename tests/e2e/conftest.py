"""A failed test must not cost those after it: what it has left running holds the only worker."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser

from service.client import Client, ClientError
from tests.e2e.browsers import launched
from tests.e2e.helpers import JOB, is_finished, wait_for

# What the job that tests share is called.
SHARED = "seen in a browser <b>&"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all modules; each test has a profile of its own in it."""
    with launched() as running:
        yield running


@pytest.fixture(scope="package")
def job_id(client: Client) -> str:
    """The one job that whoever needs a finished one looks at. It still runs when its first test opens its page."""
    training = {**JOB["training"], "sharing_check": 0.8}
    return str(client.submit({**JOB, "training": training, "name": SHARED, "labels": ["a"]})["id"])


@pytest.fixture
def finished(client: Client, job_id: str) -> dict[str, Any]:
    """That job, when it has ended."""
    ended = wait_for(client, job_id, is_finished)
    assert ended["state"] == "succeeded", ended["message"]
    return ended


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_running(client: Client) -> Iterator[None]:
    """Cancels a module's jobs that are not over at its end."""
    yield
    for job in client.jobs()["jobs"]:
        if not is_finished(job) and job["name"] != SHARED:
            with suppress(ClientError):  # it has just ended
                client.verb(job["id"], "cancel")
