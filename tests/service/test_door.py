"""Requests that other people's pages make a browser send, and what every answer carries."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.auth import keys
from service.auth.hosts import is_loopback, split_host
from service.auth.sessions import read_or_make
from service.embedded import EmbeddedServers
from service.lifeline import open_private_log
from service.settings import Settings
from service.store.session import Database
from tests.api import open_api
from tests.tiers import mostly_thorough

BASE = "http://127.0.0.1:8420"
VERB = "/v1/jobs/0123456789ab/cancel"


@pytest.fixture(scope="module", params=["on", "off"])
def mode(request: pytest.FixtureRequest, lasting_settings: Settings) -> Settings:
    """Host and origin are checked with keys and without."""
    return lasting_settings.model_copy(
        update={"auth": request.param, "allowed_hosts": "winnow.example, other.example:8443"}
    )


@pytest.fixture(scope="module")
def key(servers: EmbeddedServers) -> str:
    """An admin's key."""
    database = Database(servers.database_url)
    with database.transaction() as session:
        made = keys.create(session, "admin", "admin")[1]
    database.close()
    return made


@pytest.fixture(scope="module")
def api(mode: Settings, key: str) -> Iterator[TestClient]:
    """A client whose requests are let in if nothing else is wrong with them."""
    with open_api(mode, key, base_url=BASE) as client:
        yield client


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8420", 200),
        ("localhost", 200),
        ("LOCALHOST.:80", 200),
        ("[::1]:8420", 200),
        ("winnow.example", 200),
        ("winnow.example:443", 200),
        ("other.example:8443", 200),
        ("other.example", 403),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("evil.example#localhost", 403),
        ("", 403),
        ("[::1", 403),
        ("localhost:port", 403),
    ],
)
def test_only_names_of_this_api_are_answered(api: TestClient, host: str, status: int) -> None:
    assert api.get("/v1/jobs", headers={"Host": host}).status_code == status
    assert api.get("/healthz", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:8420", "http://127.0.0.1:8420", 404),
        ("localhost", "http://localhost", 404),
        ("localhost:80", "http://localhost", 404),
        ("winnow.example", "https://winnow.example", 404),
        ("127.0.0.1:8420", "https://winnow.example", 404),  # a proxy that names itself in the settings
        ("127.0.0.1:8420", "http://127.0.0.1:8421", 403),
        ("127.0.0.1:8420", "http://localhost:8420", 403),
        ("127.0.0.1:8420", "http://localhost:3000", 403),
        ("winnow.example", "http://evil.example", 403),
        ("127.0.0.1:8420", "null", 403),
        ("127.0.0.1:8420", "file://", 403),
        ("127.0.0.1:8420", "chrome-extension://abc", 403),
        ("127.0.0.1:8420", "http://127.0.0.1:8420@evil.example", 403),
        ("127.0.0.1:8420", "http://127.0.0.1:8420, http://evil.example", 403),
    ],
)
def test_pages_of_others_are_refused(api: TestClient, host: str, origin: str, status: int) -> None:
    assert api.post(VERB, headers={"Host": host, "Origin": origin}).status_code == status
    # Reading as well: a page of another port of this machine could read what it is answered.
    assert (api.get("/v1/jobs", headers={"Host": host, "Origin": origin}).status_code == 403) == (status == 403)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_browsers_say_of_a_request_counts(api: TestClient, site: str) -> None:
    assert api.post(VERB, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}).status_code == 403
    assert api.get("/v1/jobs", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}).status_code == 403
    # A link on another page may lead here.
    assert api.get("/", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert api.post(VERB, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 403),
        ({"Content-Type": "text/plain"}, 403),
        ({"Content-Type": "multipart/form-data; boundary=application/json"}, 403),
        ({"X-Winnow": "1"}, 404),
        ({"Content-Type": "application/json; charset=utf-8"}, 404),
    ],
)
def test_a_verb_needs_a_header_that_a_form_cannot_send(
    settings: Settings, headers: dict[str, str], status: int
) -> None:
    with TestClient(create_app(settings), base_url=BASE) as client:
        assert client.post(VERB, headers=headers).status_code == status


def test_a_session_changes_nothing_without_its_token(settings: Settings, key: str) -> None:
    on = settings.model_copy(update={"auth": "on"})
    with open_api(on, base_url=BASE) as browser, open_api(on, base_url=BASE) as another:
        answer = browser.post("/v1/session", json={"key": key})
        cookie = answer.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=lax", "path=/", "max-age="))
        assert key not in cookie
        another.post("/v1/session", json={"key": key})
        tokens = []
        for one in (browser, another):
            page = one.get("/").text
            tokens.append(page.split('name="csrf-token" content="')[1].split('"')[0])
        assert browser.post(VERB).status_code == 403
        assert browser.post(VERB, headers={"X-CSRF-Token": tokens[1]}).status_code == 403
        assert browser.post(VERB, headers={"X-CSRF-Token": tokens[0]}).status_code == 404
        browser.delete("/v1/session")
        assert browser.get("/v1/jobs").status_code == 401


@pytest.mark.parametrize("bend", [lambda text: text[:-2], lambda text: "x" + text, lambda _: "", lambda _: "é.\x01.x"])
def test_a_bent_cookie_is_no_session(settings: Settings, key: str, bend) -> None:  # type: ignore[no-untyped-def]
    with open_api(settings.model_copy(update={"auth": "on"}), base_url=BASE) as browser:
        browser.post("/v1/session", json={"key": key})
        ((name, value),) = browser.cookies.items()
        browser.cookies.clear()
        answer = browser.get("/v1/jobs", headers={"Cookie": f"{name}={bend(value)}".encode()})
        assert answer.status_code == 401


def test_a_session_ends_in_time(settings: Settings, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_api(settings.model_copy(update={"auth": "on", "session_hours": 1 / 3600}), base_url=BASE) as browser:
        browser.post("/v1/session", json={"key": key})
        ((name, value),) = browser.cookies.items()
        later = __import__("time").time() + 10
        monkeypatch.setattr("itsdangerous.timed.time.time", lambda: later)
        assert browser.get("/v1/jobs", headers={"Cookie": f"{name}={value}"}).status_code == 401


def test_a_page_without_a_session_leads_to_the_sign_in_and_back(settings: Settings) -> None:
    with open_api(settings.model_copy(update={"auth": "on"}), base_url=BASE, follow_redirects=False) as browser:
        answer = browser.get("/jobs/new?copy=abc")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fjobs%2Fnew%3Fcopy%3Dabc")
        assert browser.get("/sign-in").status_code == 200


PAGES = ["/", "/keys", "/sign-in", "/docs", "/jobs/unknown", "/targets", "/families"]


@pytest.mark.parametrize("path", mostly_thorough(PAGES, "/", "/sign-in", "/jobs/unknown"))
def test_every_page_says_that_keys_are_off(settings: Settings, path: str, key: str) -> None:
    with open_api(settings, base_url=BASE) as anybody:
        assert 'data-testid="keyless"' in anybody.get(path).text
    with open_api(settings.model_copy(update={"auth": "on"}), key, base_url=BASE) as admin:
        assert 'data-testid="keyless"' not in admin.get(path).text


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/healthz", "/v1/nope", "/static/winnow.css", "/v1/jobs"]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_every_answer_carries_the_headers(api: TestClient, path: str, host: str) -> None:
    headers = api.get(path, headers={"Host": host}).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe-eval" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_a_mistake_of_ours_carries_them_too(settings: Settings) -> None:
    from service.auth.guard import OPEN

    app = create_app(settings)

    @app.get("/broken", dependencies=[OPEN])
    def broken() -> None:
        raise ZeroDivisionError

    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        answer = client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("host", mostly_thorough(["0.0.0.0", "::", "192.168.1.5", "winnow.example"], "0.0.0.0"))
def test_keys_cannot_be_off_on_a_network(settings: Settings, host: str) -> None:
    with pytest.raises(ValueError, match="WINNOW_AUTH is off, and WINNOW_HOST is"):
        create_app(settings.model_copy(update={"host": host}))
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "api", "--host", host],
        env={
            **os.environ,
            "WINNOW_AUTH": "off",
            "WINNOW_DATABASE_URL": "postgresql://x/x",
            "WINNOW_REDIS_URL": "redis://x",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "WINNOW_AUTH is off" in done.stderr


def test_without_keys_only_loopback_addresses_are_answered(settings: Settings) -> None:
    """As under a server that was told an address which the settings do not know of."""
    from service.auth.hosts import allowed_hosts, refusal

    def refused(arrived: str, *, keyless: bool) -> bool:
        scope = {"method": "GET", "server": (arrived, 8420)}
        return refusal(scope, {"host": "127.0.0.1"}, allowed_hosts("", "127.0.0.1"), keyless=keyless) is not None

    assert [refused(one, keyless=True) for one in ("127.0.0.1", "::1", "10.0.0.7", "::ffff:10.0.0.7")] == [
        *(False, False, True, True)
    ]
    assert not refused("10.0.0.7", keyless=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a:1", ("a", 1)), ("[::1]:8", ("::1", 8)), ("a", ("a", None)), ("a/b", None), ("u@a", None), ("a:99999", None)],
)
def test_hosts_are_taken_apart(text: str, expected: tuple[str, int | None] | None) -> None:
    assert split_host(text) == expected


def test_loopback_is_this_machine() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("10.0.0.1", "localhost.evil.example", "0.0.0.0", "")))


def test_secrets_and_logs_are_for_their_user_alone(tmp_path: Path) -> None:
    secret = read_or_make(tmp_path / "data" / "session.key")
    assert secret == read_or_make(tmp_path / "data" / "session.key")
    (old := tmp_path / "old.log").write_text("before\n")
    old.chmod(0o644)
    with open_private_log(old) as log:
        log.write(b"after\n")
    assert old.read_text() == "before\nafter\n"
    for file in (tmp_path / "data" / "session.key", old):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
