"""Pages that stay open while things change: other tabs, a restarted server, a phone, notices, uploads, many jobs."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Route, expect
from sqlalchemy import delete, insert, select, update

from service.client import Client
from service.stack import Stack
from service.store import queries
from service.store.models import Job
from service.store.session import Database
from tests.conftest import TINY_JOB
from tests.e2e.browsers import IN_A_BROWSER
from tests.e2e.helpers import JOB, is_finished, wait_for
from tests.e2e.pages import opened
from tests.service.test_remaining import SAID
from tests.tiers import mostly_thorough

pytestmark = IN_A_BROWSER

ENDLESS = {**TINY_JOB, "training": {"epochs": 100_000}}


@pytest.fixture
def context(browser: Browser, client: Client) -> Iterator[BrowserContext]:
    """A profile whose pages' scripts must not fail."""
    fresh = opened(browser, client, 1280, "light")
    problems: list[str] = []
    fresh.on("weberror", lambda error: problems.append(str(error.error)))
    yield fresh
    fresh.close()
    assert problems == []


@pytest.fixture
def database(stack: Stack) -> Iterator[Database]:
    assert stack.servers is not None
    connected = Database(stack.servers.database_url)
    yield connected
    connected.close()


@pytest.fixture
def paused(client: Client) -> Iterator[str]:
    """A job that nobody works on."""
    job_id = str(client.submit({**ENDLESS, "name": "to be watched"})["id"])
    client.verb(job_id, "pause")
    wait_for(client, job_id, lambda job: job["state"] == "paused")
    yield job_id
    if not is_finished(client.job(job_id)):
        client.verb(job_id, "cancel")


def pretend(database: Database, job_id: str, **values: Any) -> None:
    """The row of a job as a runner would leave it, which nobody is."""
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


# --- the same job in two tabs -------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_verb_in_one_tab_is_seen_in_the_other_and_a_late_one_is_refused(
    context: BrowserContext, client: Client, paused: str
) -> None:
    first, second, third = (context.new_page() for _ in range(3))
    third.route("**/events?*", lambda route: route.abort())  # it hears nothing
    for page in (first, second, third):
        page.goto(f"/jobs/{paused}")
        expect(page.get_by_test_id("verb-resume")).to_be_visible()
    first.get_by_test_id("verb-cancel").click()
    first.get_by_test_id("confirm-cancel").click()
    expect(first.get_by_test_id("state-badge")).to_have_text("cancelled")
    expect(second.get_by_test_id("state-badge")).to_have_text("cancelled")
    expect(second.get_by_test_id("verb-resume")).to_be_hidden()
    expect(second.get_by_test_id("verb-retry")).to_be_visible()

    expect(third.get_by_test_id("state-badge")).to_have_text("paused")
    third.get_by_test_id("verb-resume").click()
    expect(third.locator("#trouble")).to_contain_text(f"Job {paused} is cancelled and cannot be resumed. Allowed now:")
    expect(third.get_by_test_id("verb-resume")).to_be_enabled()
    assert client.job(paused)["state"] == "cancelled"


@pytest.mark.thorough
def test_a_job_that_is_deleted_in_another_tab_says_so_and_is_kept_from_there(
    context: BrowserContext, client: Client, paused: str
) -> None:
    client.verb(paused, "cancel")
    first, second = context.new_page(), context.new_page()
    for page in (first, second):
        page.goto(f"/jobs/{paused}")
        expect(page.get_by_test_id("verb-delete")).to_be_visible()
    first.get_by_test_id("verb-delete").click()
    first.get_by_test_id("confirm-delete").click()
    expect(first.get_by_test_id("job-message")).to_contain_text("This job is deleted")
    second.reload()
    expect(second.get_by_test_id("job-message")).to_contain_text("This job is deleted")
    second.get_by_test_id("verb-restore").click()
    expect(second.get_by_test_id("verb-delete")).to_be_visible()
    assert client.job(paused)["deleted_at"] is None


# --- a server that goes away --------------------------------------------------------------------------


@pytest.mark.thorough
def test_pages_outlive_a_restart_of_the_api_and_no_banner_stays(
    context: BrowserContext, client: Client, stack: Stack, paused: str
) -> None:
    job, jobs = context.new_page(), context.new_page()
    job.goto(f"/jobs/{paused}")
    jobs.goto("/")
    for page in (job, jobs):
        expect(page.locator("#link-state")).to_have_text("Live")
    api = stack.children["api"]
    api.terminate()
    api.wait(30)
    try:
        expect(job.locator("#link-state")).to_have_text("Reconnecting…", timeout=20_000)
        expect(jobs.locator("#trouble")).to_contain_text("Winnow does not answer", timeout=20_000)
    finally:
        stack.spawn_api()
        stack._wait_until_ready()
    for page in (job, jobs):
        expect(page.locator("#link-state")).to_have_text("Live", timeout=30_000)
        expect(page.locator("#trouble")).to_be_hidden()
    client.verb(paused, "cancel")
    expect(job.get_by_test_id("state-badge")).to_have_text("cancelled")
    row = jobs.locator(f"[data-job-id='{paused}']")  # a calm list asks every few seconds
    expect(row.get_by_test_id("state-badge")).to_have_text("cancelled", timeout=20_000)
    expect(job.locator("#trouble")).to_be_hidden()


def test_what_a_job_tells_beside_all_that_its_page_shows_is_passed_over(
    context: BrowserContext, client: Client, database: Database, paused: str
) -> None:
    """A kind of event without words stopped the page, which then read all events again, and again."""
    with database.transaction() as session:
        job = session.get(Job, paused)
        assert job is not None
        queries.add_event(session, job, "baseline score", {"number": 1})
        queries.add_event(session, job, "message", {"text": "The last of all."})
    page, asked, errors = context.new_page(), list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/history") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"/jobs/{paused}")
    expect(page.locator("#link-state")).to_have_text("Live")
    expect(page.locator("#log")).to_contain_text("The last of all.")
    assert (len(asked), errors) == (1, [])


# --- how long it still takes --------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("page_of", ["/", "/jobs/{}", "/supernets", "/targets"])
def test_a_page_whose_answers_are_slow_says_so_and_nothing_that_is_not_so(
    context: BrowserContext, paused: str, page_of: str
) -> None:
    page = context.new_page()
    held: list[Route] = []
    holds = True

    def answer(route: Route) -> None:
        held.append(route) if holds else route.continue_()

    page.route("**/v1/**", answer)
    page.goto(page_of.format(paused), wait_until="domcontentloaded")
    reading = page.get_by_test_id("page-reads")
    expect(reading).to_be_visible()
    # After a while what is known is shown, and the word stays; nothing is called empty that nobody has read.
    expect(page.locator("main[data-loading]")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    said = re.compile("before its first evaluation|No job|No supernet|No machine")
    expect(page.get_by_text(said).filter(visible=True)).to_have_count(0)
    expect(reading).to_be_visible()
    holds = False
    for route in held:
        route.continue_()
    expect(reading).to_have_count(0)
    expect(page.locator("main")).to_contain_text(re.compile("to be watched|No supernet|No machine"))


def test_a_running_job_says_its_items_and_between_what_it_ends(
    context: BrowserContext, database: Database, paused: str
) -> None:
    page, jobs = context.new_page(), context.new_page()
    page.goto(f"/jobs/{paused}")
    expect(page.locator("#r-left")).to_have_text("–")
    running = {"state": "running", "stage": "measure finalists", "stage_done": 3, "stage_total": 16, "progress": 0.8}
    left = {"eta_seconds": 900.0, "eta_low_seconds": 720.0, "eta_high_seconds": 1080.0}
    try:
        # A lease that outlasts the test keeps workers away.
        held = {"lease_owner": "nobody", "lease_until": "2100-01-01"}
        pretend(database, paused, stage_progress=3 / 16, **running, **left, **held)
        page.reload()
        jobs.goto("/")
        expect(page.locator("#r-left")).to_have_text("12 to 18 min")
        current = page.locator("[data-stage='measure finalists'] .stage-note")
        expect(current).to_contain_text("3 of 16")
        expect(jobs.locator(f"[data-job-id='{paused}'] .c-progress")).to_contain_text(
            "measure finalists · 3 of 16 · 12 to 18 min left"
        )
        pretend(database, paused, eta_seconds=None, eta_low_seconds=None, eta_high_seconds=None, stage_total=None)
        page.reload()
        expect(page.locator("#r-left")).to_have_text("–")
        expect(current).to_contain_text("18")  # a share, where nothing is counted
    finally:
        pretend(database, paused, state="paused", lease_owner=None, lease_until=None)


SAY = """async (all) => {
  const { between } = await import("/static/js/format.js");
  return all.map(([low, high]) => between(low, high));
}"""


def test_pages_say_times_as_the_command_line_does(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/recipes")
    said = page.evaluate(SAY, [[low, high] for low, high, _ in SAID])
    assert [words.replace("\u00a0", " ") for words in said] == [words for *_, words in SAID]


# --- from one page to another -------------------------------------------------------------------------


def test_a_new_job_starts_from_a_family_and_from_a_device(context: BrowserContext) -> None:
    page = context.new_page()
    text = page.get_by_test_id("job-text")
    page.goto("/families#family=llama&preset=matformer")
    page.get_by_test_id("new-job-of").click()
    expect(text).to_have_value(re.compile(r"recipe: llama_nas[\s\S]*family: llama[\s\S]*preset: matformer"))
    page.goto("/targets")
    page.get_by_test_id("new-job-of").filter(has_text="cpu-torch").first.click()
    expect(text).to_have_value(re.compile(r"metric: accuracy[\s\S]*metric: latency_ms[\s\S]*target: cpu-torch"))


def test_the_list_of_jobs_has_the_hypervolume_of_each_front(
    context: BrowserContext, client: Client, finished: dict[str, Any]
) -> None:
    (listed,) = client.jobs(text=finished["id"])["jobs"]
    assert listed["hypervolume"] == pytest.approx(client.front(finished["id"])["hypervolume"])
    page = context.new_page()
    page.goto(f"/?text={finished['id']}")
    row = page.locator(f"[data-job-id='{finished['id']}']")
    expect(row.get_by_test_id("hypervolume")).to_contain_text("volume")


# --- a phone ------------------------------------------------------------------------------------------


def test_on_a_phone_a_network_comes_up_as_a_sheet_and_goes_again(
    browser: Browser, client: Client, finished: dict[str, Any]
) -> None:
    phone = opened(browser, client, 390, "light")
    page = phone.new_page()
    page.goto(f"/jobs/{finished['id']}")
    rows = page.get_by_test_id("front-row")
    # Rows are drawn anew until all evaluations are told.
    expect(page.get_by_test_id("pareto-plot")).to_have_attribute("data-points", str(JOB["search"]["evaluations"]))
    expect(rows).to_have_count(len(client.front(finished["id"])["points"]))
    panel = page.get_by_test_id("detail-panel")
    expect(panel).not_to_have_class(re.compile(r"\bup\b"))  # the knee is chosen, and nobody asked to see it
    # In one go, because a row may be drawn anew between two of playwright's steps.
    page.evaluate("document.querySelector('[data-testid=front-row] button').scrollIntoView({block: 'center'})")
    before = page.evaluate("scrollY")
    rows.first.get_by_role("button").first.click()
    expect(panel).to_have_class(re.compile(r"\bup\b"))
    expect(panel).to_contain_text(rows.first.get_attribute("data-architecture-id") or "-")
    box = panel.bounding_box()
    assert box is not None
    # It lies at the bottom of what is seen, over two thirds at most, and the page beneath stays where it was.
    assert box["y"] + box["height"] == pytest.approx(900, abs=1)
    assert 200 < box["height"] <= 0.67 * 900
    assert page.evaluate("scrollY") == before
    page.keyboard.press("Escape")
    expect(panel).not_to_have_class(re.compile(r"\bup\b"))
    rows.first.get_by_role("button").first.click()
    panel.get_by_role("button", name="Close").click()
    expect(panel).not_to_have_class(re.compile(r"\bup\b"))
    phone.close()


# --- notices ------------------------------------------------------------------------------------------

HEARD = """() => {
  window.heard = [];
  const real = window.Notification;
  window.Notification = class extends real {
    constructor(title, more) { super(title, more); window.heard.push([title, more.body]); }
  };
}"""


@pytest.mark.parametrize("where", mostly_thorough(["job", "list"], "job"))
def test_a_notice_of_the_browser_says_that_a_job_has_ended(
    context: BrowserContext, client: Client, paused: str, where: str
) -> None:
    context.grant_permissions(["notifications"], origin=client.url)
    page = context.new_page()
    page.add_init_script(f"({HEARD})()")
    page.goto(f"/jobs/{paused}" if where == "job" else "/")
    expect(page.locator("#link-state")).to_have_text("Live")
    box = page.locator("#notify")
    expect(box).not_to_be_checked()
    box.check()
    page.reload()
    expect(box).to_be_checked()  # it is remembered
    expect(page.locator("#link-state")).to_have_text("Live")
    client.verb(paused, "cancel")
    page.wait_for_function("() => window.heard.length > 0", timeout=20_000)
    assert page.evaluate("window.heard")[0][0] == "to be watched cancelled"


@pytest.mark.thorough
def test_who_does_not_allow_notices_gets_none_and_sees_it(context: BrowserContext, client: Client, paused: str) -> None:
    page = context.new_page()
    page.add_init_script(f"({HEARD})()")
    page.goto(f"/jobs/{paused}")
    box = page.locator("#notify")
    box.click()
    expect(box).not_to_be_checked()
    client.verb(paused, "cancel")
    expect(page.get_by_test_id("state-badge")).to_have_text("cancelled")
    assert page.evaluate("window.heard") == []


# --- uploads ------------------------------------------------------------------------------------------


def pictures() -> bytes:
    """Ten pictures of each of ten classes, as a zip file."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for kind in range(10):
            for number in range(10):
                pixels = rng.integers(0, 60, (8, 8)).astype(np.uint8)
                pixels[kind % 8, :] = 255
                picture = io.BytesIO()
                Image.fromarray(pixels).save(picture, "PNG")
                archive.writestr(f"class{kind}/{number}.png", picture.getvalue())
    return file.getvalue()


@pytest.mark.parametrize("used", mostly_thorough([False, True], False))
def test_data_are_sent_from_the_browser_in_parts_and_a_job_uses_them(
    context: BrowserContext, client: Client, used: bool
) -> None:
    """The job that uses them is for the thorough run."""
    page = context.new_page()
    file, sent = pictures(), []

    def in_small_parts(route: Route) -> None:
        answer = route.fetch()
        text = answer.text()
        assert "32 * 2 ** 20" in text
        route.fulfill(response=answer, body=text.replace("32 * 2 ** 20", "5_000"))

    page.route("**/js/datasets.js", in_small_parts)
    page.on("request", lambda asked: sent.append(asked.url) if asked.method == "PUT" else None)
    page.goto("/datasets")
    page.get_by_label("Name").fill("stripes")
    page.get_by_label("File").set_input_files({"name": "s.zip", "mimeType": "application/zip", "buffer": file})
    page.get_by_test_id("send").click()
    row = page.get_by_test_id("upload-row").filter(has_text="stripes")
    expect(row).to_contain_text("ready", timeout=30_000)
    assert [int(url.rsplit("=", 1)[1]) for url in sent] == list(range(0, len(file), 5_000))
    assert len(sent) > 2
    path = row.locator("code").inner_text()

    job = {
        **TINY_JOB,
        "name": "of an upload",
        "data": {"source": "images", "path": path, "size": 8, "channels": 1},
        "training": {"epochs": 1, "batch_size": 16},
        "search": {"algorithm": "random", "evaluations": 2, "calibration_images": 16, "options": {"batch": 2}},
    }
    if used:
        page.goto("/jobs/new")
        page.get_by_test_id("job-text").fill(json.dumps(job))
        page.get_by_test_id("submit").click()
        page.wait_for_url(re.compile("/jobs/[0-9a-f]{12}$"))
        expect(page.get_by_test_id("state-badge")).to_have_text("succeeded", timeout=180_000)
        expect(page.get_by_test_id("data-card")).to_contain_text("100 of 100")
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/datasets")
    row.get_by_role("button").click()
    expect(row).to_have_count(0)


# --- many jobs ----------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_five_hundred_jobs_are_a_page_at_a_time(context: BrowserContext, database: Database, paused: str) -> None:
    with database.transaction() as session:
        row = session.execute(select(Job.__table__).where(Job.id == paused)).mappings().one()
        like = {**row, "state": "succeeded", "progress": 1.0, "labels": ["crowd"], "idempotency_key": None}
        many = [{**like, "id": f"crowd{n:07d}", "name": f"one of many {n:03d}"} for n in range(500)]
        session.execute(insert(Job), many)
    try:
        page = context.new_page()
        page.goto("/?label=crowd&sort=name&order=asc")
        rows = page.get_by_test_id("job-row")
        expect(rows).to_have_count(25)
        expect(rows.first).to_contain_text("one of many 000")
        for number in (25, 50, 75):
            page.get_by_test_id("next-page").click()
            expect(rows.first).to_contain_text(f"one of many {number:03d}")
        assert page.locator("tr").count() < 40  # rows of other pages are not kept
        search = page.get_by_role("searchbox")
        search.fill("many 499")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text("one of many 499")
        page.go_back()
        expect(rows).to_have_count(25)
    finally:
        with database.transaction() as session:
            session.execute(delete(Job).where(Job.id.startswith("crowd")))
