"""The dashboard as a person uses it, in headless Chromium."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page, Request, Route, expect

from service.client import Client
from service.demo_job import DEMO_JOB
from tests.conftest import TINY_JOB
from tests.e2e.browsers import IN_A_BROWSER
from tests.e2e.helpers import JOB, is_finished, sign_in, wait_for

pytestmark = IN_A_BROWSER
PATIENCE_MS = 180_000


# A phone's width shows the same in another order: what is too wide for it, the thorough tests see.
@pytest.fixture(params=[pytest.param(1280, id="wide"), pytest.param(390, id="narrow", marks=pytest.mark.thorough)])
def page(browser: Browser, client: Client, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of the dashboard that fails its test if a script fails or anything is asked of another host."""
    context = browser.new_context(viewport={"width": request.param, "height": 900}, base_url=client.url)
    sign_in(context, client)
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(f"script: {error}"))

    def note_other_hosts(asked: Request) -> None:
        if not asked.url.startswith((client.url, "data:", "blob:")):
            problems.append(asked.url)

    opened.on("request", note_other_hosts)
    yield opened
    context.close()
    assert problems == []


def test_job_is_followed_live_selected_and_exported(page: Page, job_id: str, client: Client, tmp_path: Path) -> None:
    page.goto("/")
    row = page.locator(f"[data-testid=job-row][data-job-id='{job_id}']")
    expect(row).to_contain_text("seen in a browser <b>&")
    row.get_by_role("link").first.click()

    # Nobody reloads: state, curve and front arrive by themselves.
    expect(page.get_by_test_id("state-badge")).to_contain_text("succeeded", timeout=PATIENCE_MS)
    expect(page.get_by_test_id("progress").first).to_have_attribute("aria-valuenow", "100")
    expect(page.get_by_test_id("curve")).to_be_visible()
    expect(page.get_by_test_id("stage")).to_have_count(6)
    expect(page.get_by_test_id("sharing").get_by_role("listitem")).to_have_count(2)
    expect(page.get_by_test_id("sharing")).to_contain_text(" alone after ")
    front = client.front(job_id)
    expect(page.get_by_test_id("pareto-plot")).to_have_attribute("data-points", str(JOB["search"]["evaluations"]))
    expect(page.get_by_test_id("pareto-plot")).to_have_attribute("data-front", str(len(front["points"])))
    expect(page.get_by_test_id("front-row")).to_have_count(len(front["points"]))

    # A click on a point of the plot shows that network.
    chosen = front["points"][-1]["architecture_id"]
    plot = page.get_by_test_id("pareto-plot")
    plot.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    position = plot.evaluate("(element, id) => element.pixelOf(id)", chosen)
    plot.click(position=position)
    panel = page.get_by_test_id("detail-panel")
    expect(panel).to_have_attribute("data-architecture-id", chosen)
    assert page.url.endswith(chosen)
    for expected in ("analytic", "measured", "stage1_block1", "head"):
        expect(panel).to_contain_text(expected)

    # So does a row of the table, by keyboard; then the network is exported and downloaded.
    viewport = page.viewport_size
    assert viewport is not None
    best = front["points"][0 if viewport["width"] > 1000 else 1]["architecture_id"]
    page.locator(f"[data-testid=front-row][data-architecture-id='{best}']").get_by_role("button").first.focus()
    page.keyboard.press("Enter")
    expect(panel).to_have_attribute("data-architecture-id", best)
    page.get_by_test_id("export-button").click()
    expect(page.get_by_test_id("export-result")).to_have_attribute("data-state", "succeeded", timeout=PATIENCE_MS)
    with page.expect_download() as download:
        page.get_by_test_id("download").first.click()
    archive = tmp_path / "network.tar.gz"
    download.value.save_as(archive)
    with tarfile.open(archive) as tar:
        assert f"{job_id}-{best}/model.safetensors" in tar.getnames()
        card = tar.extractfile(f"{job_id}-{best}/README.md")
        assert card is not None
        assert b"## What sharing costs" in card.read()

    # Nothing is wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


# How opaque a plot's point of the front is, 0 to 255, and its canvases from the back to the front.
OPACITY = """(element, id) => {
  const { x, y } = element.pixelOf(id);
  const [left, top] = [x, y].map((place) => Math.round(place * devicePixelRatio));
  return element.querySelector(".dots").getContext("2d").getImageData(left, top, 1, 1).data[3];
}"""
LAYERS = """(element) => [...element.querySelectorAll("canvas")]
  .sort((a, b) => (Number(getComputedStyle(a).zIndex) || 0) - (Number(getComputedStyle(b).zIndex) || 0))
  .map((canvas) => canvas.dataset.zrDomId ?? canvas.className)"""


def test_limits_narrow_the_front_and_survive_a_reload(page: Page, job_id: str, client: Client) -> None:
    wait_for(client, job_id, is_finished)
    points = client.front(job_id)["points"]
    page.goto(f"/jobs/{job_id}")
    limits = page.get_by_test_id("limits")
    expect(page.get_by_test_id("front-row")).to_have_count(len(points))
    slider = limits.locator("input[data-metric=macs]")
    expect(slider).to_be_visible()  # what is not shown yet takes no focus
    plot, verdict = page.get_by_test_id("pareto-plot"), page.get_by_test_id("verdict-network")
    expect(verdict).to_have_text(client.front(job_id)["knee"])
    expect(plot).to_have_attribute("data-drawn-at", re.compile(r"\d"))
    # From the back to the front: axes, the cloud, lines, points of the front, marks and words.
    assert plot.evaluate(LAYERS) == ["zr_0.0", "cloud", "zr_1.0", "cloud dots", "zr_2.0"]
    slider.focus()
    page.keyboard.press("Home")  # the strictest: the cheapest network alone
    cheapest = min(points, key=lambda point: point["metrics"]["macs"])
    expect(limits).to_have_attribute("data-remaining", "1")
    expect(page.get_by_test_id("take")).to_have_text(cheapest["architecture_id"])
    expect(verdict).to_have_text(cheapest["architecture_id"])
    expect(page.get_by_test_id("remains")).to_contain_text("would give")  # what a little more buys
    expect(page.locator("[data-testid=front-row].beyond")).to_have_count(len(points) - 1)
    expect(page).to_have_url(re.compile(f"max.macs={cheapest['metrics']['macs']:.0f}"))
    # Others are faint in the plot.
    seen = {point["architecture_id"]: plot.evaluate(OPACITY, point["architecture_id"]) for point in points}
    assert seen[cheapest["architecture_id"]] == 255
    assert min(seen.values()) < 128
    page.get_by_test_id("take").click()
    expect(page.get_by_test_id("detail-panel")).to_have_attribute("data-architecture-id", cheapest["architecture_id"])

    page.reload()
    expect(limits).to_have_attribute("data-remaining", "1")
    expect(page.get_by_test_id("detail-panel")).to_have_attribute("data-architecture-id", cheapest["architecture_id"])
    expect(slider).to_be_visible()
    slider.focus()
    page.keyboard.press("End")
    expect(limits).to_have_attribute("data-remaining", str(len(points)))
    expect(page).not_to_have_url(re.compile(r"max\."))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_view_of_a_front_is_in_its_address(page: Page, job_id: str, client: Client) -> None:
    wait_for(client, job_id, is_finished)
    points = client.front(job_id)["points"]
    count = JOB["search"]["evaluations"]
    page.goto(f"/jobs/{job_id}")
    plot = page.get_by_test_id("pareto-plot")
    expect(plot).to_have_attribute("data-points", str(count))
    page.get_by_test_id("axis-x").select_option("params")
    page.get_by_test_id("colour").select_option("macs")
    page.get_by_test_id("log-x").check()
    page.get_by_test_id("dominated").uncheck()
    expect(plot).to_have_attribute("data-points", str(len(points)))
    expect(page.get_by_test_id("scale")).to_contain_text("MACs")

    # A drag in the plot zooms, the wheel scrolls the page, and a button takes the zoom back.
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 90, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 240, steps=4)
    page.mouse.up()
    expect(page.get_by_test_id("reset-zoom")).to_be_visible()
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 120)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") != before
    page.reload()
    for name, value in {"axis-x": "params", "colour": "macs"}.items():
        expect(page.get_by_test_id(name)).to_have_value(value)
    expect(page.get_by_test_id("log-x")).to_be_checked()
    expect(page.get_by_test_id("dominated")).not_to_be_checked()
    page.get_by_test_id("reset-zoom").click()
    assert "zoom" not in page.url

    # A range along an axis of the parallel coordinates narrows the table, and survives a reload.
    half = sorted(point["metrics"]["macs"] for point in points)[len(points) // 2]
    axes = page.get_by_test_id("parallel")
    axes.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    low, high = (axes.evaluate("(element, value) => element.pixelOf('macs', value)", value) for value in (0, half))
    box = axes.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + low["x"], box["y"] + min(low["y"], box["height"] - 4))
    page.mouse.down()
    page.mouse.move(box["x"] + high["x"], box["y"] + high["y"] + (3 if high["y"] > low["y"] else -3), steps=4)
    page.mouse.up()
    expect(page.get_by_test_id("front-row")).to_have_count(sum(point["metrics"]["macs"] <= half for point in points))
    expect(page).to_have_url(re.compile(r"in\.macs="))
    page.reload()
    expect(page.locator("#table-title")).to_contain_text("Selected:")
    page.get_by_test_id("clear-selection").click()
    expect(page.get_by_test_id("front-row")).to_have_count(len(points))
    expect(page.get_by_test_id("hypervolume")).to_be_visible()
    with page.expect_download() as saved:
        page.locator("#save-plot [data-save=csv]").click()
    assert len(saved.value.path().read_text().splitlines()) == 1 + len(points)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.thorough
def test_a_jobs_page_says_what_its_data_are(page: Page, job_id: str, client: Client) -> None:
    wait_for(client, job_id, is_finished)
    page.goto(f"/jobs/{job_id}")
    card = page.get_by_test_id("data-card")
    expect(card).to_contain_text("digits: scikit-learn load_digits")
    expect(card).to_contain_text("1,797 of 1,797 images are used")
    expect(card).to_contain_text("carved from training data")
    assert client.data(job_id)["loads"][0]["used"] == 1797


@pytest.mark.thorough
def test_a_network_that_is_still_loading_cannot_be_mistaken_for_the_one_before(
    browser: Browser, job_id: str, client: Client
) -> None:
    wait_for(client, job_id, is_finished)
    first, last = (client.front(job_id)["points"][i]["architecture_id"] for i in (0, -1))
    context = browser.new_context(base_url=client.url)
    sign_in(context, client)
    opened = context.new_page()
    opened.goto(f"/jobs/{job_id}#architecture={first}")
    panel = opened.get_by_test_id("detail-panel")
    expect(panel).to_have_attribute("data-architecture-id", first)

    # The answer about the next network is late: what is shown is still the first, so nothing there can be pressed.
    waiting: list[Route] = []
    opened.route(f"**/architectures/{last}", lambda route: waiting.append(route))
    opened.locator(f"[data-testid=front-row][data-architecture-id='{last}']").get_by_role("button").first.click()
    expect(panel).to_have_attribute("aria-busy", "true")
    assert panel.evaluate("panel => panel.inert")
    expect(panel).to_contain_text(first)

    waiting[0].continue_()
    expect(panel).to_have_attribute("data-architecture-id", last)
    expect(panel).to_contain_text(last)
    assert not panel.evaluate("panel => panel.inert")
    context.close()


@pytest.mark.thorough
def test_a_front_that_is_refused_says_why_and_is_not_asked_for_again(page: Page, job_id: str, client: Client) -> None:
    wait_for(client, job_id, is_finished)
    why = "The space of this job has changed since 0123456789abcdef was evaluated."
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=409, content_type="application/problem+json", body=json.dumps({"detail": why}))

    page.route(f"**/v1/jobs/{job_id}/front", refuse)
    page.goto(f"/jobs/{job_id}")
    expect(page.locator("#trouble")).to_have_text(why)
    page.wait_for_timeout(3_000)  # all events of the job are told by then
    before = len(asked)
    # Longer than the page waits before it asks a server again that was away.
    page.wait_for_timeout(4_000)
    assert len(asked) == before
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_job_is_cancelled_from_its_page(page: Page, client: Client) -> None:
    job = client.submit({**TINY_JOB, "training": {"epochs": 200}, "name": "to be cancelled"})
    wait_for(client, job["id"], lambda j: j["state"] == "running")
    page.goto(f"/jobs/{job['id']}")
    page.get_by_test_id("verb-cancel").click()
    page.get_by_test_id("confirm-cancel").click()
    expect(page.get_by_test_id("state-badge")).to_contain_text("cancelled", timeout=PATIENCE_MS)
    assert is_finished(client.job(job["id"]))


@pytest.mark.thorough
@pytest.mark.parametrize("page", [1280], indirect=True)
def test_a_search_is_stopped_from_its_page(page: Page, client: Client) -> None:
    many = {**TINY_JOB["search"], "evaluations": 240}  # type: ignore[dict-item]
    job = client.submit({**TINY_JOB, "search": many, "name": "to be stopped"})
    page.goto(f"/jobs/{job['id']}")
    expect(page.get_by_test_id("verb-pause")).to_be_visible()
    expect(page.get_by_test_id("verb-stop")).to_be_hidden()
    page.get_by_test_id("verb-stop").click(timeout=PATIENCE_MS)  # once there is something to keep
    expect(page.get_by_test_id("confirm-cancel")).to_be_hidden()
    page.get_by_test_id("confirm-stop").click()
    expect(page.get_by_test_id("state-badge")).to_contain_text("succeeded", timeout=PATIENCE_MS)
    expect(page.get_by_test_id("job-message")).to_contain_text("of 240 evaluations")
    expect(page.get_by_test_id("verb-stop")).to_be_hidden()


def test_a_job_is_written_checked_and_submitted_in_the_browser(page: Page, client: Client) -> None:
    page.goto("/")
    expect(page.locator("#link-state")).to_have_text("Live")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_test_id("new-job").click()
    text = page.get_by_test_id("job-text")
    expect(page.get_by_test_id("recipe-bignas")).to_be_checked()
    expect(text).to_have_value("recipe: bignas\n")  # what nobody changed has the recipe's default

    # Form and text are in step.
    form = page.get_by_test_id("fields")
    form.locator("[data-path='training.epochs']").fill("3")
    form.locator("[data-path='search.evaluations']").fill("1.5")
    form.locator("[data-path='job']").evaluate_all("() => document.activeElement.blur()")
    expect(form).to_contain_text("Write a whole number; got 1.5.")
    expect(text).to_have_value(re.compile("epochs: 3"))
    form.locator("[data-path='objectives.1.limit']").fill("100000")
    form.locator("[data-path='objectives.1.limit']").blur()
    expect(text).to_have_value(re.compile("limit: 100000"))
    text.fill("recipe: sortednet\ntraining: {epochs: 7}")
    expect(page.get_by_test_id("recipe-sortednet")).to_be_checked()
    expect(form.locator("[data-path='training.epochs']")).to_have_value("7")
    expect(page.get_by_test_id("estimate")).to_contain_text("Stores at most")
    page.on("dialog", lambda dialog: dialog.accept())

    sentence = page.get_by_test_id("shrink")
    for name, value in {"model": "vit", "data": "digits", "under": "latency_ms=0.5, size_bytes=2e6"}.items():
        sentence.locator(f"[name={name}]").fill(value)
    page.get_by_test_id("plan").click()
    expect(page.get_by_test_id("trouble")).to_contain_text("Name one")
    sentence.locator("[name=model]").fill("mobilenet/digits")
    page.get_by_test_id("plan").click()
    expect(page.get_by_test_id("decisions")).to_contain_text("shapes and bits are searched together")
    expect(page.get_by_test_id("trouble")).to_be_hidden()
    limits = {goal["metric"]: goal.get("limit") for goal in yaml.safe_load(text.input_value())["objectives"]}
    assert limits == {"accuracy": None, "latency_ms": 0.5, "size_bytes": 2e6}

    text.fill("{")
    page.get_by_test_id("submit").click()
    expect(page.get_by_test_id("trouble")).to_contain_text("This is not YAML yet")
    text.fill(json.dumps({"recipe": "bignas", "epochs": 3}))
    page.get_by_test_id("submit").click()
    expect(page.get_by_test_id("trouble")).to_contain_text("epochs: There is no such field")
    text.fill("recipe: bignas\nsearch: {evaluations: 0}")
    page.get_by_test_id("submit").click()
    expect(page.locator("#f-search-evaluations-wrong")).to_be_visible()  # beside its field
    limited = {**TINY_JOB, "objectives": [{"metric": "accuracy"}, {"metric": "macs", "limit": 100_000}]}
    text.fill(json.dumps(limited))
    page.get_by_test_id("check").click()
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-answer", "feasible")
    expect(page.get_by_test_id("trouble")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_test_id("submit").click()
    page.wait_for_url(re.compile("/jobs/[0-9a-f]{12}$"))
    client.verb(page.url.rsplit("/", 1)[1], "cancel")


@pytest.mark.thorough
@pytest.mark.parametrize("page", [1280], indirect=True)
def test_a_finished_job_is_copied_and_searched_further(page: Page, job_id: str, client: Client) -> None:
    wait_for(client, job_id, is_finished)
    page.goto(f"/jobs/{job_id}")
    page.get_by_test_id("copy").click()
    expect(page.get_by_test_id("about")).to_contain_text("The same as")
    spec = client.job(job_id)["spec"]
    left_open = {"lr_decay_epochs": None, "sharded": None}  # decided anew, when it is submitted
    copied = {**spec, "training": {**spec["training"], **left_open}}
    assert yaml.safe_load(page.get_by_test_id("job-text").input_value()) == copied

    page.goto(f"/jobs/{job_id}")
    page.get_by_test_id("extend").click()
    expect(page.get_by_test_id("about")).to_contain_text("without training")
    page.get_by_test_id("submit").click()
    page.wait_for_url(re.compile("/jobs/[0-9a-f]{12}$"))
    further = page.url.rsplit("/", 1)[1]
    assert further != job_id
    assert wait_for(client, further, is_finished)["state"] == "succeeded"
    asked = client.job(job_id)["spec"]["search"]["evaluations"]
    evaluated = [row["architecture_id"] for row in client.evaluations(further)]
    assert evaluated[:asked] == [row["architecture_id"] for row in client.evaluations(job_id)]
    assert asked < len(set(evaluated)) == len(evaluated) <= 2 * asked


@pytest.mark.thorough
def test_demo_job_is_submitted_from_the_list(page: Page, client: Client) -> None:
    page.goto("/")
    page.locator("[data-demo]:visible").first.click()
    page.wait_for_url("**/jobs/*")
    job = client.job(page.url.rsplit("/", 1)[1])
    client.verb(job["id"], "cancel")
    for part, values in DEMO_JOB.items():
        given = job["spec"][part] if isinstance(values, dict) else job[part]
        assert given == values or values.items() <= given.items()


@pytest.mark.thorough
def test_a_preset_is_profiled_with_limits_typed_in(page: Page, client: Client) -> None:
    page.goto("/")
    page.get_by_role("link", name="Families").click()
    catalog = client.catalog()
    presets = sum(len(presets) for presets in catalog["families"].values())
    expect(page.get_by_test_id("preset")).to_have_count(presets)
    digits = page.locator("[data-family=mobilenet][data-preset=digits]")
    expect(digits).to_contain_text("images of 1x8x8 in 10 classes")
    digits.get_by_role("button").focus()
    page.keyboard.press("Enter")
    outcome = page.get_by_test_id("outcome")
    expect(outcome).to_contain_text("18,003,384 networks")
    expect(page.get_by_test_id("verdict")).to_have_count(0)

    page.get_by_label("MACs").fill("60k")
    page.get_by_label("Size").fill("30 kB")
    page.get_by_test_id("profile-button").click()
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-answer", "feasible")
    page.get_by_label("MACs").fill("8e3")
    page.get_by_test_id("profile-button").click()
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-answer", "infeasible")
    expect(outcome).to_contain_text("8,256")
    page.get_by_label("MACs").fill("lots")
    page.get_by_test_id("profile-button").click()
    expect(page.get_by_role("alert")).to_contain_text("write a number such as 300M")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.thorough
def test_a_table_is_uploaded_on_the_page_of_targets_and_removed(page: Page, tmp_path: Path) -> None:
    page.goto("/targets")
    page.get_by_label("Name").fill("pocket phone")
    page.get_by_label("File").set_input_files(
        {"name": "t.csv", "mimeType": "text/csv", "buffer": b"target,key,latency_ms\nphone,conv(a),1\n"}
    )
    page.get_by_test_id("upload").click()
    expect(page.locator("#upload-says")).to_contain_text("lower-case letters")
    page.get_by_label("Name").fill("pocket-phone")
    page.get_by_test_id("upload").click()
    row = page.locator("[data-target=pocket-phone]")
    expect(row).to_contain_text("1 rows")
    if shots := os.environ.get("WINNOW_TEST_SHOTS"):
        page.screenshot(path=f"{shots}/targets-{page.viewport_size['width']}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    row.get_by_role("button").click()
    expect(row).to_have_count(0)


@pytest.mark.thorough
def test_unknown_job_is_a_page_that_says_so(page: Page) -> None:
    answer = page.goto("/jobs/nope")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_test_id("not-found")).to_be_visible()


@pytest.mark.thorough
def test_api_documentation_needs_no_internet(page: Page) -> None:
    page.goto("/docs")
    expect(page.locator("#swagger-ui")).to_contain_text("/v1/jobs/{job_id}/front")


@pytest.mark.thorough
@pytest.mark.parametrize("page", [1280], indirect=True)
def test_a_network_is_measured_again_and_its_first_numbers_stay(page: Page, job_id: str, client: Client) -> None:
    wait_for(client, job_id, is_finished)
    network = client.front(job_id)["points"][0]["architecture_id"]
    page.goto(f"/jobs/{job_id}/networks/{network}")
    readings = page.get_by_test_id("reading")
    settings = len(client.network(job_id, network)["measurements"])
    expect(readings).to_have_count(settings)
    before = readings.first.inner_text()
    page.get_by_test_id("measure-again").click()
    expect(page.get_by_test_id("measure-again")).to_be_disabled()
    expect(readings).to_have_count(2 * settings, timeout=PATIENCE_MS)
    expect(page.get_by_test_id("measure-again")).to_be_enabled()
    assert readings.first.inner_text().split("\n")[1:] == before.split("\n")[1:]
    again = readings.last
    expect(again).to_contain_text("again")
    expect(again).to_contain_text("onnxruntime")
    expect(again.locator("small")).to_contain_text("%")  # beside the first time
    again.get_by_role("link").click()
    expect(page.get_by_test_id("state-badge")).to_have_text("succeeded")
    expect(page.locator(".meta")).to_contain_text(f"measure of {job_id}")


@pytest.mark.thorough
@pytest.mark.parametrize("page", [1280], indirect=True)
def test_a_supernet_says_who_searched_it_and_is_searched_again(page: Page, job_id: str, client: Client) -> None:
    wait_for(client, job_id, is_finished)
    page.goto("/supernets")
    page.get_by_test_id("supernet").get_by_role("link", name="seen in a browser <b>&").first.click()
    page.wait_for_url(f"**/supernets/{job_id}")
    rows = page.get_by_test_id("supernet-job")
    listed = [job["id"] for job in client.jobs(supernet=job_id, limit=25)["jobs"]]
    expect(rows).to_have_count(len(listed))
    assert [row.get_attribute("data-job-id") for row in rows.all()] == listed
    expect(rows.last).to_contain_text("trained it")
    expect(page.locator("#curve canvas")).to_be_visible()
    page.get_by_test_id("search-again").click()
    expect(page.get_by_test_id("job-text")).to_have_value(re.compile(f"reuse: {job_id}"))
    page.get_by_test_id("check").click()
    expect(page.get_by_test_id("trouble")).to_be_hidden()


def test_a_network_has_a_page_and_is_compared_with_another(page: Page, job_id: str, client: Client) -> None:
    wait_for(client, job_id, is_finished)
    first, last = (client.front(job_id)["points"][i]["architecture_id"] for i in (0, -1))
    page.goto(f"/jobs/{job_id}#architecture={first}")
    page.get_by_test_id("compare-add").click()
    page.get_by_test_id("network-page").click()
    page.wait_for_url(f"**/jobs/{job_id}/networks/{first}")
    layers = client.network(job_id, first)["layers"]
    expect(page.get_by_test_id("network-picture")).to_have_attribute("data-layers", str(len(layers)))
    expect(page.get_by_test_id("network-numbers")).to_contain_text("measured")
    expect(page.get_by_test_id("layer-row")).to_have_count(8)
    expect(page.get_by_test_id("compare-add")).to_have_text("Take out of comparison")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.goto(f"/jobs/{job_id}/networks/{last}")
    page.get_by_test_id("compare-add").click()
    page.get_by_test_id("compare-open").click()
    expect(page.get_by_test_id("compared")).to_contain_text(first)
    different = page.locator("[data-testid=compared-row][data-differs=true]")
    expect(different.first).to_be_visible()
    count = different.count()
    page.get_by_test_id("only-different").check()
    expect(page.get_by_test_id("compared-row")).to_have_count(count)

    # Fronts of jobs, here of one, with a hypervolume from a corner.
    page.locator(f"#choices input[value='{job_id}']").check()
    page.get_by_test_id("compare-jobs").click()
    expect(page.get_by_test_id("front-of-job")).to_have_count(1)
    expect(page.get_by_test_id("fronts")).to_have_attribute("data-series", "1")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
