"""Pages of jobs with odd results: no network on the front, one, no numbers, one value, and a job that goes while it is
looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import delete, insert, update

from job.versions import read_job
from service.client import Client
from service.stack import Stack
from service.store.models import EvaluationRow, Job
from service.store.session import Database
from tests.conftest import TINY_JOB
from tests.e2e.browsers import IN_A_BROWSER
from tests.e2e.pages import opened

pytestmark = IN_A_BROWSER


@pytest.fixture
def page(browser: Browser, client: Client) -> Iterator[Page]:
    """A page whose scripts must not fail."""
    context = opened(browser, client, 1280, "light")
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def database(stack: Stack) -> Iterator[Database]:
    assert stack.servers is not None
    connected = Database(stack.servers.database_url)
    yield connected
    connected.close()


def searched(client: Client, database: Database, scores: list[dict[str, Any]], **parts: Any) -> str:
    """A paused job that has evaluated as many networks with these scores."""
    job_id = str(client.submit({**TINY_JOB, "name": "odd", **parts})["id"])
    client.verb(job_id, "pause")
    with database.transaction() as session:
        job = session.get(Job, job_id)
        assert job is not None
        space = read_job(job.spec).space()
        rng = np.random.default_rng(0)
        networks: dict[str, Any] = {}
        while len(networks) < len(scores):
            one = space.sample(rng)
            networks.setdefault(one.id, one)
        rows = [
            {
                "job_id": job_id,
                "architecture_id": one.id,
                "number": number,
                "values": dict(one.values),
                "metrics": metrics,
                "sources": dict.fromkeys(metrics, "measured"),
                "seconds": 0.1,
                "epoch": 1,
            }
            for number, (one, metrics) in enumerate(zip(networks.values(), scores, strict=True), start=1)
        ]
        if rows:
            session.execute(insert(EvaluationRow), rows)
        session.execute(update(Job).where(Job.id == job_id).values(stage="search", state="paused"))
    return job_id


@pytest.mark.parametrize(
    ("scores", "front", "points"),
    # The thorough run has the others.
    [
        pytest.param([{"accuracy": 0.5, "macs": 1000}], 1, 1, id="one", marks=pytest.mark.thorough),
        pytest.param([{"accuracy": None, "macs": 1000}, {"accuracy": 0.5, "macs": 2000}], 1, 1, id="no-number"),
        pytest.param([{"accuracy": None, "macs": 1000}], 0, 1, id="only-no-numbers", marks=pytest.mark.thorough),
        pytest.param([{"accuracy": 0.5, "macs": 1000}] * 5, 1, 5, id="one-value", marks=pytest.mark.thorough),
        pytest.param([{"accuracy": 0.0, "macs": 0}, {"accuracy": 0.5, "macs": 9}], 2, 2, id="zero"),
    ],
)
def test_a_front_is_drawn_whatever_it_has(
    page: Page, client: Client, database: Database, scores: list[dict[str, Any]], front: int, points: int
) -> None:
    job_id = searched(client, database, scores)
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_test_id("front-row")).to_have_count(front)
    plot = page.get_by_test_id("pareto-plot")
    expect(plot).to_have_attribute("data-front", str(front))
    expect(plot).to_have_attribute("data-points", str(points))
    if points:
        page.get_by_test_id("log-x").check()
        page.get_by_test_id("log-y").check()
        page.get_by_test_id("colour").select_option("macs")
        expect(plot).to_have_attribute("data-front", str(sum(all(v for v in one.values()) for one in scores[-front:])))
        page.reload()
        expect(plot).to_have_attribute("data-front", str(sum(all(v for v in one.values()) for one in scores[-front:])))


@pytest.mark.thorough
def test_limits_that_nothing_keeps_leave_a_front_that_says_so(page: Page, client: Client, database: Database) -> None:
    goals = [{"metric": "accuracy"}, {"metric": "macs", "limit": 10_000}]
    job_id = searched(client, database, [{"accuracy": 0.5, "macs": 90_000}], objectives=goals)
    page.goto(f"/jobs/{job_id}")
    expect(page.get_by_test_id("front-table")).to_contain_text("No network that was evaluated meets the limits")
    expect(page.get_by_test_id("pareto-plot")).to_have_attribute("data-points", "1")


@pytest.mark.thorough
def test_a_job_that_is_removed_while_its_page_is_open_says_so(page: Page, client: Client, database: Database) -> None:
    job_id = searched(client, database, [{"accuracy": 0.5, "macs": 1000}])
    page.goto(f"/jobs/{job_id}")
    expect(page.locator("#link-state")).to_have_text("Live")
    with database.transaction() as session:
        session.execute(delete(Job).where(Job.id == job_id))
    page.evaluate("() => fetch('/v1/session')")
    expect(page.locator("#trouble")).to_contain_text("removed while its page was open", timeout=60_000)
    expect(page.locator("#link-state")).to_have_text("")


@pytest.mark.thorough
def test_an_address_that_means_nothing_is_the_page_as_it_is(page: Page, client: Client, database: Database) -> None:
    job_id = searched(client, database, [{"accuracy": 0.5, "macs": 1000}, {"accuracy": 0.6, "macs": 2000}])
    page.goto(f"/jobs/{job_id}#x=shoe&y=&zoom=1,2&in.macs=b..a&max.macs=&colour=none&architecture=none")
    plot = page.get_by_test_id("pareto-plot")
    expect(plot).to_have_attribute("data-points", "2")
    expect(page.get_by_test_id("axis-x")).to_have_value("macs")
    expect(page.get_by_test_id("reset-zoom")).to_be_hidden()
    expect(page.get_by_test_id("clear-selection")).to_be_hidden()


def test_many_jobs_are_sorted_paged_labelled_and_deleted_with_undo(
    page: Page, client: Client, database: Database
) -> None:
    ids = [str(client.submit({**TINY_JOB, "name": f"many {n:02d}", "labels": ["many"]})["id"]) for n in range(30)]
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id.in_(ids)).values(state="succeeded", progress=1.0))
    page.goto("/?label=many")
    rows = page.get_by_test_id("job-row")
    expect(rows).to_have_count(25)
    page.locator("[data-sort=name]").click()
    expect(rows.first).to_contain_text("many 00")
    page.get_by_test_id("next-page").click()
    expect(rows).to_have_count(5)
    expect(rows.last).to_contain_text("many 29")
    page.reload()
    expect(rows).to_have_count(5)
    page.go_back()
    expect(rows.first).to_contain_text("many 00")
    for place in (0, 1):
        rows.nth(place).get_by_test_id("select-job").check()
    expect(page.get_by_test_id("bulk")).to_contain_text("2 selected")
    page.locator("[data-bulk=delete]").click()
    expect(page.get_by_test_id("toast")).to_contain_text("2 jobs deleted")
    expect(rows.first).to_contain_text("many 02")
    page.get_by_test_id("undo").click()
    expect(rows.first).to_contain_text("many 00")
    expect(page.get_by_test_id("toast")).to_contain_text("2 jobs restored")
