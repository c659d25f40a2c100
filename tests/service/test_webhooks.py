"""Webhooks: signed, told of each state, tried again, and never led into the network."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, update

from service import webhooks
from service.settings import Settings
from service.store.models import Delivery, Webhook
from service.store.session import Database
from service.webhooks import Courier, Refused, is_public, locate
from tests.api import open_api
from tests.conftest import TINY_JOB


class Listener(HTTPServer):
    """Hears webhooks, and answers with what it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        super().__init__(("127.0.0.1", 0), Ear)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?a=b"


class Ear(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((dict(self.headers), body))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def allowing(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that allow this machine. Messages are sent when a test says so."""
    monkeypatch.setattr(Courier, "start", lambda _self: None)
    monkeypatch.setattr(Courier, "stop", lambda _self: None)
    with database.transaction() as session:
        session.execute(delete(Webhook))
    return settings.model_copy(update={"webhook_allow": "127.0.0.0/8"})


@pytest.fixture
def api(allowing: Settings) -> Iterator[TestClient]:
    with open_api(allowing) as client:
        yield client


def made(api: TestClient, url: str, *states: str) -> dict[str, Any]:
    answer = api.post("/v1/webhooks", json={"url": url, "states": list(states)})
    assert answer.status_code == 201, answer.text
    hook: dict[str, Any] = answer.json()
    return hook


def at_once(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(Delivery).values(next_at=Delivery.created_at))


def test_every_state_is_told_once_and_signed(
    api: TestClient, allowing: Settings, database: Database, listener: Listener
) -> None:
    hook = made(api, listener.url, "queued", "cancelled")
    job_id = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    for verb in ("pause", "resume", "cancel"):
        api.post(f"/v1/jobs/{job_id}/{verb}")
    courier = Courier(database, allowing)
    assert courier.deliver() == 3
    assert courier.deliver() == 0
    told = [json.loads(body) for _, body in listener.heard]
    assert [(one["job"]["id"], one["job"]["state"]) for one in told] == [
        (job_id, "queued"),
        (job_id, "queued"),
        (job_id, "cancelled"),
    ]
    headers, body = listener.heard[0]
    moment, given = (part.split("=")[1] for part in headers["Winnow-Signature"].split(","))
    right = hmac.new(hook["secret"].encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    assert given == right
    assert headers["Host"] == f"127.0.0.1:{listener.server_port}"
    sent = api.get(f"/v1/webhooks/{hook['id']}/deliveries").json()["deliveries"]
    assert {(one["state"], one["attempts"], one["status"]) for one in sent} == {("delivered", 1, 204)}
    assert "secret" not in api.get(f"/v1/webhooks/{hook['id']}").json()


def test_what_does_not_arrive_is_tried_again_and_given_up_at_last(
    api: TestClient, allowing: Settings, database: Database, listener: Listener
) -> None:
    hook = made(api, listener.url)
    api.post("/v1/jobs", json=TINY_JOB)
    listener.answers = [500, 302, 204]
    courier = Courier(database, allowing)

    def state() -> tuple[str, int]:
        (one,) = api.get(f"/v1/webhooks/{hook['id']}/deliveries").json()["deliveries"]
        return one["state"], one["attempts"]

    assert (courier.deliver(), state()) == (1, ("waiting", 1))
    assert courier.deliver() == 0  # not before its time
    at_once(database)
    assert (courier.deliver(), state()) == (1, ("waiting", 2))
    assert len(listener.heard) == 2  # the redirect was not followed
    at_once(database)
    assert (courier.deliver(), state()) == (1, ("delivered", 3))

    api.post("/v1/jobs", json=TINY_JOB)
    listener.answers = [503] * 20
    for _ in range(20):
        at_once(database)
        courier.deliver()
    newest = api.get(f"/v1/webhooks/{hook['id']}/deliveries").json()["deliveries"][0]
    assert (newest["state"], newest["attempts"], newest["error"]) == ("failed", 7, "It answered 503.")


def test_an_address_that_is_gone_hears_nothing_more(
    api: TestClient, allowing: Settings, database: Database, listener: Listener
) -> None:
    hook = made(api, listener.url)
    listener.answers = [410]
    api.post("/v1/jobs", json=TINY_JOB)
    Courier(database, allowing).deliver()
    assert api.get(f"/v1/webhooks/{hook['id']}").json()["gone_at"] is not None
    api.post("/v1/jobs", json=TINY_JOB)
    assert Courier(database, allowing).deliver() == 0
    assert api.delete(f"/v1/webhooks/{hook['id']}").status_code == 204
    assert api.get(f"/v1/webhooks/{hook['id']}").status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "ff02::1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::1", "::ffff:169.254.169.254"),
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Refused, match="not public"):
        locate(f"http://{host}:8080/", "")
    assert locate(f"http://{host}:8080/", address).port == 8080


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_not(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org", "file:///etc/passwd", "http://", "x", "http://u:p@1.1.1.1/", "http://1.1.1.1:99999/"),
        *("http://1.1.1.1/#x", "gopher://1.1.1.1", "http://[::1", "http://localhost/", "http://2130706433/"),
    ],
)
def test_what_is_no_address_for_a_webhook_is_refused(settings: Settings, url: str) -> None:
    with open_api(settings) as client:
        answer = client.post("/v1/webhooks", json={"url": url})
        assert answer.status_code == 422, url


def test_a_name_that_leads_elsewhere_later_leads_nowhere(
    api: TestClient, allowing: Settings, database: Database, listener: Listener
) -> None:
    hook = made(api, listener.url)
    api.post("/v1/jobs", json=TINY_JOB)
    closed = allowing.model_copy(update={"webhook_allow": ""})  # as after a change of the name's address
    Courier(database, closed).deliver()
    (one,) = api.get(f"/v1/webhooks/{hook['id']}/deliveries").json()["deliveries"]
    assert (listener.heard, one["state"], "not public" in one["error"]) == ([], "waiting", True)


def test_a_key_has_so_many(api: TestClient, monkeypatch: pytest.MonkeyPatch, listener: Listener) -> None:
    monkeypatch.setattr(webhooks, "MOST_WEBHOOKS", 1)
    made(api, listener.url)
    assert api.post("/v1/webhooks", json={"url": listener.url}).status_code == 403
