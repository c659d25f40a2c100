"""Signing in, and what pages of others try, in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from service.client import Client
from service.stack import Stack
from tests.conftest import TINY_JOB
from tests.e2e.browsers import IN_A_BROWSER, REBOUND
from tests.e2e.helpers import sign_in
from tests.tiers import mostly_thorough

pytestmark = IN_A_BROWSER


@pytest.fixture
def context(browser: Browser, client: Client) -> Iterator[BrowserContext]:
    """A fresh browser."""
    opened = browser.new_context(base_url=client.url)
    opened.set_default_timeout(30_000)
    yield opened
    opened.close()


@pytest.fixture
def job_id(client: Client) -> Iterator[str]:
    """A job that a stranger would like to cancel. It waits in a pause, so that no worker moves it."""
    job = client.submit({**TINY_JOB, "training": {"epochs": 100_000}, "name": "to be left alone"})
    client.verb(job["id"], "pause")
    yield str(job["id"])
    client.verb(job["id"], "cancel")


@contextmanager
def stranger(page: str) -> Iterator[int]:
    """A web page of another origin of this machine, the nearest that there is; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def errors_of(page: Page) -> list[str]:
    """What the page's console says of scripts and policies that were refused."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda said: found.append(said.text) if "Content Security Policy" in said.text else None)
    return found


def test_the_link_of_winnow_up_signs_in_once_and_leaves_no_trace(
    context: BrowserContext, browser: Browser, stack: Stack
) -> None:
    link = stack.sign_in_url()
    page = context.new_page()
    errors = errors_of(page)
    page.goto(link)
    expect(page.get_by_test_id("jobs-table").or_(page.locator("#rows")).first).to_be_attached()
    page.wait_for_url(f"{stack.url}/")
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""  # scripts do not see the session
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")

    second = browser.new_context()
    other = second.new_page()
    other.goto(link)
    expect(other.get_by_test_id("trouble")).to_contain_text("used already")
    other.goto(f"{stack.url}/targets")
    assert other.url.endswith("/sign-in?next=%2Ftargets")
    second.close()
    assert errors == []


def test_a_key_signs_in_leads_back_and_out(context: BrowserContext, client: Client) -> None:
    page = context.new_page()
    errors = errors_of(page)
    page.goto("/keys")
    page.get_by_test_id("key").fill("winnow_0123456789ab_" + "x" * 43)
    page.get_by_test_id("sign-in").click()
    expect(page.get_by_test_id("trouble")).to_contain_text("not known here")
    page.get_by_test_id("key").fill(client.headers["Authorization"].removeprefix("Bearer "))
    page.get_by_test_id("sign-in").click()
    page.wait_for_url("**/keys")
    expect(page.get_by_test_id("who")).to_contain_text("scope admin")

    # A key is made, shown once, and revoked.
    page.get_by_label("Name").fill("made <b>in</b> a browser")
    page.get_by_test_id("create-key").click()
    text = page.get_by_test_id("new-key-text").text_content()
    assert text is not None
    assert re.fullmatch(r"winnow_[0-9a-f]{12}_[\w-]{43}", text)
    with Client(client.url, key=text) as made:
        assert made.jobs()["jobs"] == []
    row = page.locator(f"[data-testid=key][data-key-id='{text.split('_')[1]}']")
    expect(row).to_contain_text("made <b>in</b> a browser")
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button").click()
    expect(row).to_contain_text("revoked")
    page.reload()
    expect(page.locator("body")).not_to_contain_text(text)

    page.get_by_test_id("sign-out").click()
    page.wait_for_url("**/sign-in")
    page.goto("/")
    page.wait_for_url("**/sign-in?next=%2F")
    assert errors == []


PATHS = ["/", "/jobs/new", "/families", "/targets", "/keys", "/docs"]


@pytest.mark.parametrize("path", mostly_thorough(PATHS, "/jobs/new", "/docs"))
def test_pages_keep_their_policy(context: BrowserContext, client: Client, path: str) -> None:
    sign_in(context, client)
    page = context.new_page()
    errors = errors_of(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path)
    if path == "/docs":
        expect(page.locator(".opblock").first).to_be_visible()
    page.wait_for_load_state("networkidle" if path == "/docs" else "load")
    assert errors == []
    assert [url for url in asked if not url.startswith((client.url, "data:", "blob:"))] == []


ATTACKS = {
    "form": """<form id=f method=post action="{verb}"></form><script>f.submit()</script>""",
    "form that looks like JSON": """<form id=f method=post enctype="text/plain" action="{jobs}">
        <input name='{{"recipe":"bignas","name":"' value='forged"}}'></form><script>f.submit()</script>""",
    "fetch": """<script>fetch("{verb}", {{method: "POST", mode: "no-cors", credentials: "include"}})
        .finally(() => document.title = "done")</script>""",
    "fetch with a header": """<script>fetch("{verb}", {{method: "POST", credentials: "include",
        headers: {{"X-Winnow": "1", "Content-Type": "application/json"}}}}).catch(() => 0)
        .finally(() => document.title = "done")</script>""",
    "read": """<script>fetch("{jobs}", {{credentials: "include"}}).then((a) => a.text())
        .then((text) => document.title = text, () => document.title = "refused")</script>""",
    "script": """<script src="{jobs}" onload="document.title='read'" onerror="document.title='refused'"></script>""",
    "frame": """<iframe src="{home}" onload="document.title='done'"></iframe>""",
}


# One that changes, one that reads and one that embeds; the door that refuses them is tests/service/test_door.py's.
ATTEMPTS = [(attack, of) for attack in ATTACKS for of in ("127.0.0.1", REBOUND)]
SOME = [("form", "127.0.0.1"), ("fetch with a header", REBOUND), ("read", "127.0.0.1"), ("frame", REBOUND)]


@pytest.mark.parametrize(("attack", "of"), mostly_thorough(ATTEMPTS, *SOME))
def test_a_page_of_others_changes_and_reads_nothing(
    context: BrowserContext, client: Client, job_id: str, attack: str, of: str
) -> None:
    """From another port of this machine, to which the browser sends the session's cookie, and from another site."""
    sign_in(context, client)
    before = {job["id"]: job["state"] for job in client.jobs(limit=200)["jobs"]}
    addresses = {"verb": f"{client.url}/v1/jobs/{job_id}/cancel", "jobs": f"{client.url}/v1/jobs", "home": client.url}
    page = context.new_page()
    seen: list[tuple[str, int]] = []
    page.on("response", lambda answer: seen.append((answer.url, answer.status)))
    with stranger(ATTACKS[attack].format(**addresses)) as port:
        page.goto(f"http://{of}:{port}/")
        page.wait_for_timeout(700)
        ours = [status for url, status in seen if url.startswith(client.url)]
        if attack == "frame":
            assert all("to be left alone" not in (frame.content() or "") for frame in page.frames[1:])
        else:
            assert set(ours) <= {403}, seen
        assert page.title() in ("", "done", "refused") or page.url.startswith(client.url)
        assert job_id not in page.title()
    after = {job["id"]: job["state"] for job in client.jobs(limit=200)["jobs"]}
    assert after.keys() == before.keys()
    assert after[job_id] in ("pausing", "paused")


def test_a_name_that_was_pointed_here_reads_nothing(context: BrowserContext, client: Client) -> None:
    page = context.new_page()
    port = client.url.rsplit(":", 1)[1]
    for path in ("/", "/v1/jobs", "/healthz", "/static/js/api.js"):
        answer = page.goto(f"http://{REBOUND}:{port}{path}")
        assert answer is not None
        assert answer.status == 403
        assert "not known as" in answer.text()
