"""The one browser of these tests: Debian's chromium, without a screen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# A name of somebody else's that, as in DNS rebinding, leads to this machine.
REBOUND = "rebound.example"
# The browser must not look for the internet, which the dashboard does without.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
]
# How long a page may take for what a test expects of it: all tests share the cores, and playwright's 5 s were too few.
expect.set_options(timeout=30_000)
# Marks of tests that need it.
IN_A_BROWSER = [
    pytest.mark.e2e,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="chromium is not installed"),
]


@contextmanager
def launched() -> Iterator[Browser]:
    """The browser, for the length of a block."""
    assert CHROMIUM is not None, "on CI the browser tests must run: install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
