"""A search whose networks heal a little, through the API, a worker that is killed, and the dashboard."""

from __future__ import annotations

import os
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from service.client import Client
from tests.conftest import TINY_JOB
from tests.e2e.helpers import is_finished, kill_runner, wait_for
from tests.e2e.test_browser import PATIENCE_MS, browser, page
from tests.e2e.test_browser import pytestmark as in_a_browser

__all__ = ["browser", "page"]

pytestmark = [*in_a_browser, pytest.mark.thorough]

JOB: dict[str, Any] = {
    **TINY_JOB,
    "name": "chosen by healing",
    "search": {
        **TINY_JOB["search"],
        "algorithm": "winnow",
        "evaluations": 12,
        "options": {"batch": 3},
        "fidelities": {"steps": [4, 16], "candidates": 6},
    },
    "healing": {"networks": "front", "most": 2, "steps": 24, "validations": 3},
}


def outcome(client: Client, job_id: str) -> dict[str, Any]:
    """All but how long it took."""
    found = client.healing(job_id)
    for one in [*found["networks"], *found["fidelity_scores"]]:
        one["seconds"] = 0
        for numbers in (one.get("before"), one.get("after")):
            (numbers or {}).pop("latency_ms", None)  # measured again
    return {name: found[name] for name in ("fidelities", "fidelity_scores", "fidelity_found", "points")} | {
        "healed": [(one["architecture_id"], one["after"], one["best_step"]) for one in found["networks"]]
    }


def test_networks_climb_are_seen_and_survive_a_death(page: Page, client: Client) -> None:
    job = client.submit(JOB)
    assert wait_for(client, job["id"], is_finished)["state"] == "succeeded"
    whole = outcome(client, job["id"])
    report = whole["fidelities"]
    assert [rung["networks"] for rung in report["rungs"]] == [6, 3]
    assert report["correlations"][0]["networks"] == 6
    assert {name for name, _, _ in whole["healed"]} <= set(report["points"])

    again = client.submit(JOB)

    def climbs(now: dict[str, Any]) -> bool:
        return is_finished(now) or len(client.healing(now["id"])["fidelity_scores"]) >= 2

    assert not is_finished(wait_for(client, again["id"], climbs))
    kill_runner(again["id"])
    ended = wait_for(client, again["id"], is_finished)
    assert ended["state"] == "succeeded", ended["message"]
    assert outcome(client, again["id"]) == whole

    page.goto(f"/jobs/{job['id']}")
    rows = page.get_by_test_id("rung-row")
    expect(rows).to_have_count(6, timeout=PATIENCE_MS)
    expect(page.get_by_test_id("rungs-table")).to_contain_text("After 16 steps")
    expect(page.get_by_test_id("rungs-note")).to_contain_text("Kendall's tau, Spearman's rho")
    expect(rows.filter(has_text="on the front of the last rung")).to_have_count(len(report["points"]))
    if (folder := os.environ.get("WINNOW_SCREENSHOTS")) is not None:
        page.screenshot(path=f"{folder}/fidelities.png", full_page=True)
