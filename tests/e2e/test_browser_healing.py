"""Healing as a person asks for it and sees it, in headless Chromium."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import Page, expect

from service.client import Client
from tests.conftest import TINY_JOB
from tests.e2e.browsers import IN_A_BROWSER
from tests.e2e.helpers import is_finished, wait_for
from tests.e2e.test_browser import PATIENCE_MS, page

__all__ = ["page"]

pytestmark = [*IN_A_BROWSER, pytest.mark.thorough]


@pytest.fixture(scope="module")
def finished(client: Client) -> str:
    job = client.submit({**TINY_JOB, "name": "to be healed"})
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    return str(job["id"])


def test_the_knee_of_a_job_is_healed_from_its_page(page: Page, finished: str, client: Client) -> None:
    page.goto(f"/jobs/{finished}")
    page.get_by_test_id("heal").click()
    page.get_by_test_id("heal-networks").select_option("front")
    page.get_by_label("Steps of each").fill("12")
    page.get_by_test_id("confirm-heal").click()
    page.wait_for_url(lambda address: finished not in address)
    expect(page.get_by_test_id("state-badge")).to_contain_text("succeeded", timeout=PATIENCE_MS)
    healed = client.healing(page.url.rsplit("/", 1)[1].split("#")[0])
    rows = page.get_by_test_id("healed-row")
    expect(rows).to_have_count(len(healed["networks"]))
    first = healed["networks"][0]
    expect(rows.first).to_contain_text(first["architecture_id"])
    expect(rows.first).to_contain_text("largest network")
    expect(rows.first).to_contain_text("healed" if first["better"] else "as found")
    expect(page.get_by_test_id("healing-note")).to_contain_text("With the better weights of each, the front has")
    expect(page.get_by_test_id("stage").filter(has_text="Heal")).to_have_attribute("data-status", "done")
    expect(page.get_by_test_id("pareto-plot")).to_have_attribute("data-healed", str(len(healed["networks"])))
    expect(page.locator("#key-healed")).to_have_text(f"{len(healed['networks'])} after healing")
    if (folder := os.environ.get("WINNOW_SCREENSHOTS")) is not None:
        page.screenshot(path=f"{folder}/healing.png", full_page=True)
