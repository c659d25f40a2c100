"""Text and numbers that no row can hold are refused at the door, on every route."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.settings import Settings
from tests.conftest import TINY_JOB


@pytest.fixture(scope="module")
def app(lasting_settings: Settings) -> FastAPI:
    return create_app(lasting_settings)


@pytest.fixture(scope="module")
def api(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, headers={"X-Winnow": "1"}, raise_server_exceptions=False) as client:
        yield client


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of everything that the app answers: pages, files and the API."""
    found = [(m, r.path) for r in app.routes for m in getattr(r, "methods", None) or ("GET",) if hasattr(r, "path")]
    found += [(m.upper(), path) for path, item in app.openapi()["paths"].items() for m in item]
    return sorted({(m, path) for m, path in found if path})


def parameters(app: FastAPI, method: str, path: str) -> list[dict[str, Any]]:
    return app.openapi()["paths"].get(path, {}).get(method.lower(), {}).get("parameters", [])


def test_no_route_answers_500_to_text_that_cannot_be_stored(app: FastAPI, api: TestClient) -> None:
    tried = 0
    for method, path in routes(app):
        plain = re.sub(r"\{[^}]*\}", "x", path)
        for bad in ("%00", "a%00b", "%ED%A0%80"):
            address = re.sub(r"\{[^}]*\}", bad, path) if "{" in path else f"{path.rstrip('/')}/{bad}"
            answer = api.request(method, address)
            assert answer.status_code in (404, 405, 422), (method, address, answer.status_code)
            tried += 1
        names = [p["name"] for p in parameters(app, method, path) if p["in"] == "query"]
        for name in [*names, "unknown"]:
            answer = api.request(method, f"{plain}?{name}=a%00b")
            assert answer.status_code == 422, (method, plain, name, answer.status_code)
            assert method == "HEAD" or "NUL" in answer.json()["detail"]
        headers = [p["name"] for p in parameters(app, method, path) if p["in"] == "header"]
        for name in [*headers, "x-anything"]:
            answer = api.request(method, plain, headers={name: "a\0b"})
            assert answer.status_code == 422, (method, plain, name)
        if method in ("POST", "PUT", "PATCH"):
            for body in (r'{"name":"a\u0000b"}', r'{"a\u0000b":1}', r'{"x":[{"y":"\ud800"}]}', r'["\udc00\ud800"]'):
                answer = api.request(method, plain, content=body, headers={"Content-Type": "application/json"})
                assert answer.status_code == 422, (method, plain, body, answer.text)
    assert tried > 60


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (r'{"recipe":"bignas","name":"a\u0000b"}', "name holds the character NUL"),
        (r'{"recipe":"bignas","data":{"source":"images","path":"/a\u0000"}}', "data.path holds the character NUL"),
        (r'{"recipe":"bignas","training":{"options":{"a\u0000":1}}}', "A name in training.options"),
        (r'{"recipe":"bignas","name":"\ud83d"}', r"name holds half of a surrogate pair (\ud83d)"),
        ('{"recipe":"bignas","search":{"options":{"batch":NaN}}}', "search.options.batch is nan"),
        ('{"recipe":"bignas","search":{"options":{"batch":[1,1e999]}}}', "search.options.batch[1] is inf"),
        ('{"recipe":"bignas","search":' + '{"options":' * 80 + "1" + "}" * 81, "more than 64 levels"),
    ],
)
def test_the_refusal_names_the_place(api: TestClient, body: str, says: str) -> None:
    answer = api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


def test_a_body_in_another_encoding_is_checked_as_well(api: TestClient) -> None:
    body = '{"recipe":"bignas","name":"a\\u0000b"}'.encode("utf-16")
    assert api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"}).status_code == 422


@pytest.mark.parametrize("name", ["\U0001f600 smile", r"back\u0000slash", "tab\there", "ünï", "[/red]", "a\nb"])
def test_text_that_can_be_stored_comes_back_as_it_was(api: TestClient, name: str) -> None:
    job = api.post("/v1/jobs", json={**TINY_JOB, "name": name}).json()
    assert job["name"] == name
    assert api.get(f"/v1/jobs/{job['id']}").json()["name"] == name
    found = api.get("/v1/jobs", params={"text": name}).json()["jobs"]
    assert job["id"] in {one["id"] for one in found}


def bent(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "abc",
        "ä",
        quote("\ud7ff"),
        bent([]),
        bent({"a": 1}),
        bent([[1]]),
        bent([10**40]),
        bent([-1]),
        bent([True]),
        bent([1.5]),
        bent(["yesterday", "x"]),
        bent(["2026-01-01T00:00:00+00:00", "a\0b"]),
        bent(["2026-01-01T00:00:00+00:00", 7]),
        bent([None, None]),
    ],
)
def test_a_bent_cursor_is_refused_everywhere(app: FastAPI, api: TestClient, cursor: str) -> None:
    job = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    asked = 0
    for method, path in routes(app):
        if "cursor" in {p["name"] for p in parameters(app, method, path)}:
            address = path.replace("{job_id}", job)
            answer = api.get(address, params={"cursor": cursor})
            assert answer.status_code == 422, (address, answer.text)
            asked += 1
    assert asked >= 3


@pytest.mark.parametrize("position", ["9" * 30, "²", "-1", "1.5", "9" * 5000])
def test_a_position_beyond_every_event_is_refused(api: TestClient, position: str) -> None:
    job = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    headers = {"Last-Event-ID": position.encode("latin-1")}
    assert api.get(f"/v1/jobs/{job}/events", headers=headers).status_code == 422
    assert api.get(f"/v1/jobs/{job}/events", params={"after": position}).status_code == 422
