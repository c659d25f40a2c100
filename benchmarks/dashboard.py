"""How fast the page of a job is with many evaluations, in headless Chromium on this machine, without a worker.

For each number of evaluations: seconds until the last point is drawn, bytes that a first load transfers, the 95th
percentile of the time between frames while the pointer hovers over the plot and while it drags along an axis of the
parallel coordinates, and milliseconds until a moved slider is drawn. Beside them the same frames on an empty page,
which is what this machine does at best. Networks are of a real space with their real costs; their accuracy is drawn
at random.

    python -m benchmarks.dashboard [--json] [--evaluations N ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
from typing import Any

import numpy as np
from playwright.sync_api import Browser, FloatRect, Page, expect, sync_playwright
from sqlalchemy import insert, update

from benchmarks.idle_service import idle_service
from job.versions import read_job
from predictors.cost import costs
from service.store.models import EvaluationRow, Job
from service.store.session import Database

JOB = {"recipe": "bignas", "search": {"evaluations": 100_000}}
COUNTS = (120, 2_000, 10_000)
# Slider positions that are timed.
MOVES = 15
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
# Times between frames while something goes on, collected in the page.
FRAMES = """() => {
  window.frames_ms = [];
  let last = null;
  const frame = (now) => {
    if (last !== null) window.frames_ms.push(now - last);
    last = now;
    window.watching = requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""
STOP_FRAMES = "() => { cancelAnimationFrame(window.watching); return window.frames_ms; }"
# A slider is moved; the time until the frame after the one in which that was drawn.
MOVE = """(place) => new Promise((done) => {
  const slider = document.querySelector("#limits input[data-metric=macs]");
  slider.value = String(Math.round(place * Number(slider.max)));
  const began = performance.now();
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
})"""


def fill(database: Database, job_id: str, count: int) -> None:
    """Different networks of the job's space, as a search would leave them: better networks cost more."""
    with database.transaction() as session:
        job = session.get(Job, job_id)
        assert job is not None
        space, rng = read_job(job.spec).space(), np.random.default_rng(0)
        largest = costs(space, space.largest())["macs"]
        rows: dict[str, dict[str, Any]] = {}
        while len(rows) < count:
            one = space.sample(rng)
            if one.id in rows:
                continue
            found = costs(space, one)
            reached = 0.97 * (found["macs"] / largest) ** 0.12 - 0.25 * float(rng.random()) ** 3
            metrics = {"accuracy": round(359 * reached) / 359, **found}
            sources = {name: "measured" if name == "accuracy" else "analytic" for name in metrics}
            rows[one.id] = {
                "job_id": job_id,
                "architecture_id": one.id,
                "number": len(rows) + 1,
                "values": dict(one.values),
                "metrics": metrics,
                "sources": sources,
                "seconds": 0.1,
                "epoch": 1,
            }
        session.execute(insert(EvaluationRow), list(rows.values()))
        session.execute(update(Job).where(Job.id == job_id).values(stage="search", state="paused"))


def percentile(values: list[float], share: float) -> float:
    """A value that so many are below."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def frames_of(page: Page, work: Any) -> dict[str, float]:
    """Times between frames while work goes on, in ms."""
    page.evaluate(FRAMES)
    work()
    found = page.evaluate(STOP_FRAMES)
    return {"p50_ms": statistics.median(found), "p95_ms": percentile(found, 0.95), "frames": len(found)}


def wander(page: Page, box: FloatRect, steps: int = 90) -> None:
    """Moves the pointer over a box, to and fro."""
    for step in range(steps):
        x = box["x"] + box["width"] * (0.15 + 0.7 * abs((step * 7) % 100 - 50) / 50)
        y = box["y"] + box["height"] * (0.15 + 0.7 * (step % 30) / 30)
        page.mouse.move(x, y)


def one_page(browser: Browser, url: str, key: str, job_id: str, count: int) -> dict[str, Any]:
    """A job's page, in a browser that has never been there."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=url)
    assert context.request.post(f"{url}/v1/session", data={"key": key}).status == 201
    page = context.new_page()
    idle = frames_of(page, lambda: wander(page, {"x": 200, "y": 200, "width": 600, "height": 400}, 60))
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    transferred: list[float] = []
    devtools.on("Network.loadingFinished", lambda event: transferred.append(event["encodedDataLength"]))
    page.goto(f"/jobs/{job_id}", wait_until="commit")
    plot, axes = page.locator("#plot"), page.locator("#parallel")
    expect(plot).to_have_attribute("data-points", str(count), timeout=120_000)
    page.wait_for_load_state("networkidle")
    drawn = float(plot.get_attribute("data-drawn-at") or "nan") / 1000
    first_load = sum(transferred)
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    wander(page, box, 5)
    hovering = frames_of(page, lambda: wander(page, box))
    slider = [page.evaluate(MOVE, place) for place in np.linspace(0.95, 0.1, MOVES).tolist()]
    page.evaluate(MOVE, 1)
    axes.scroll_into_view_if_needed()
    box = axes.bounding_box()
    assert box is not None

    def brush() -> None:
        page.mouse.move(box["x"] + 46, box["y"] + 60)
        page.mouse.down()
        for step in range(40):
            page.mouse.move(box["x"] + 46, box["y"] + 60 + 4 * step)
        page.mouse.up()

    brushing = frames_of(page, brush)
    context.close()
    return {
        "evaluations": count,
        "last_point_drawn_s": drawn,
        "first_load_bytes": int(first_load),
        "requests": len(transferred),
        "hovering": hovering,
        "brushing": brushing,
        "slider_ms": {"p50": statistics.median(slider), "p95": percentile(slider, 0.95)},
        "empty_page": idle,
    }


def measure(counts: list[int]) -> dict[str, Any]:
    """All sizes, on a service of its own."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium is not None, "install chromium"
    with idle_service() as (stack, client, database):
        found = []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            for count in counts:
                job_id = client.submit(JOB)["id"]
                client.verb(job_id, "pause")
                fill(database, job_id, count)
                found.append(one_page(browser, stack.url, stack.api_key or "", job_id, count))
            version = browser.version
            browser.close()
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "system": platform.platform(), "chromium": version}
    return {"machine": machine, "pages": found}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--evaluations", type=int, nargs="+", default=list(COUNTS))
    arguments = parser.parse_args()
    found = measure(arguments.evaluations)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for one in found["pages"]:
        print(
            f"{one['evaluations']} evaluations: last point after {one['last_point_drawn_s']:.2f} s, "
            f"first load {one['first_load_bytes'] / 1000:.0f} kB in {one['requests']} requests; p95 of frames "
            f"{one['hovering']['p95_ms']:.0f} ms hovering, {one['brushing']['p95_ms']:.0f} ms brushing "
            f"({one['empty_page']['p95_ms']:.0f} ms on an empty page); slider {one['slider_ms']['p95']:.0f} ms (p95)"
        )


if __name__ == "__main__":
    main()
