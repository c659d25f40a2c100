"""The sliders of a job by blocks, in headless Chromium: what would be best of all networks, measured or not."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from service.api.app import create_app
from tests.service.test_solving import searched

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="chromium is not installed"),
]


@pytest.mark.thorough
def test_a_slider_asks_for_the_best_of_all_networks(database, settings) -> None:
    shop = searched(database, settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        with sync_playwright() as playwright:
            assert CHROMIUM is not None, "on CI the browser tests must run: install chromium"
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(f"http://127.0.0.1:{port}/jobs/{shop.job_id}")
            slider = page.get_by_test_id("limits").locator("input[data-metric=size_bytes]")
            expect(slider).to_be_visible(timeout=60_000)
            expect(page.get_by_test_id("solved")).to_have_text("")
            slider.focus()
            page.keyboard.press("Home")
            solved = page.get_by_test_id("solved")
            expect(solved).to_contain_text("The best of all networks, evaluated or not, is", timeout=60_000)
            expect(solved).to_contain_text("predicted perplexity")
            page.keyboard.press("End")
            expect(solved).to_have_text("")
            assert not problems
            browser.close()
    finally:
        server.should_exit = True
        thread.join(30)
