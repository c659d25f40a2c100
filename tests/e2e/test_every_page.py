"""Every page: no serious barrier that axe-core finds, no error in the console, nothing wider than the screen, and
nothing that jumps while it loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

from service.client import Client
from tests.e2e.browsers import IN_A_BROWSER
from tests.e2e.pages import every_page, opened

AXE = Path(__file__).parent / "axe" / "axe-4.14.1.min.js"
SERIOUS = ("serious", "critical")
RUN = "() => axe.run(document, {resultTypes: ['violations']})"
# Share of the window that things may move by while a page loads (the web vital "cumulative layout shift").
MOST_SHIFT = 0.1
# Adds up what moves without anybody having asked for it, from the first picture on.
SHIFTS = """(() => {
  window.shifts = { sum: 0, of: [] };
  const hear = (entry) => {
    if (entry.hadRecentInput) return;
    const nodes = entry.sources.map(({ node }) => node?.id || node?.className || node?.nodeName);
    window.shifts.sum += entry.value;
    window.shifts.of.push(`${entry.value.toFixed(3)}: ${nodes.join(", ")}`);
  };
  new PerformanceObserver((list) => list.getEntries().forEach(hear)).observe({ type: "layout-shift", buffered: true });
})()"""

pytestmark = IN_A_BROWSER


@pytest.fixture
def addresses(client: Client, finished: dict[str, Any]) -> dict[str, str]:
    """Addresses of all pages, with the job that tests share."""
    points = client.front(finished["id"])["points"]
    return every_page([finished["id"]], points[0]["architecture_id"], points[-1]["architecture_id"])


def violations(page: Page) -> list[str]:
    """Serious and critical ones, with where they are."""
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate(RUN)
    return [
        f"{one['id']}: {node['target'][0]} {node.get('failureSummary', '')[:200]}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        pytest.param(1280, "light"),
        pytest.param(1280, "dark", marks=pytest.mark.thorough),
        pytest.param(390, "light", marks=pytest.mark.thorough),
        pytest.param(390, "dark", marks=pytest.mark.thorough),
    ],
)
def test_every_page_is_open_to_everybody(
    browser: Browser, client: Client, addresses: dict[str, str], width: int, theme: str
) -> None:
    context = opened(browser, client, width, theme)
    problems = [f"{name}: {one}" for name, address in addresses.items() for one in problems_of(context, address)]
    context.close()
    assert problems == []


def problems_of(context: BrowserContext, address: str) -> list[str]:
    """What is wrong with a page."""
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))

    def hear(said: ConsoleMessage) -> None:
        # A page that is not there says so with its status; that alone is no error of ours.
        if said.type == "error" and "404" not in said.text:
            problems.append(said.text)

    def note(asked: Request) -> None:
        if not asked.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            problems.append(f"asked {asked.url}")

    page.add_init_script(SHIFTS)
    page.on("console", hear)
    page.on("request", note)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(600)
    shifts = page.evaluate("window.shifts")
    if shifts["sum"] > MOST_SHIFT:
        problems.append(f"moves by {shifts['sum']:.3f} while it loads: {'; '.join(shifts['of'])}")
    problems += violations(page)
    if not page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
        problems.append("wider than the screen")
    page.close()
    return problems
