"""Who may do what: keys, sessions, owners, quotas, rates and the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import update

from service.api.app import create_app, every_route
from service.auth import keys
from service.auth.guard import Need, need_of
from service.auth.keys import Scope
from service.auth.ownership import OWNED, SHARED
from service.settings import Settings
from service.store import nodes
from service.store.models import (
    ApiKey,
    Export,
    Job,
    Measurement,
    Target,
    TrainedSupernet,
    Upload,
    Webhook,
)
from service.store.nodes import NodeFacts
from service.store.session import Database
from tests.api import BASE, client_of, open_api
from tests.conftest import TINY_JOB


def routes(settings: Settings) -> list[tuple[str, str, Need | None]]:
    """(method, path, need) of every route of the app, those of included routers and pages too."""
    app = create_app(settings)
    mounts = [route for route in app.routes if not hasattr(route, "methods") and hasattr(route, "app")]
    assert [getattr(mount, "path", None) for mount in mounts] == ["/static"], "the guard sees no mounts"
    found = []
    for method, path, route in every_route(app):
        assert isinstance(route, APIRoute), f"{path} is no route that the guard sees"
        found.append((method, path, need_of(route)))
    return found


def test_every_route_says_who_may_use_it(guarded: Settings) -> None:
    silent = [f"{method} {path}" for method, path, need in routes(guarded) if need is None]
    assert silent == []
    assert len(routes(guarded)) >= 40


def test_a_route_that_says_nothing_is_closed_even_to_admins(guarded: Settings, key_of: Callable[..., str]) -> None:
    app = create_app(guarded)

    @app.get("/v1/forgotten")
    def forgotten() -> str:
        return "open"

    headers = {"Authorization": f"Bearer {key_of('admin', 'admin')}"}
    with TestClient(app, base_url=BASE, headers=headers) as client:
        assert client.get("/v1/forgotten").status_code == 403


def test_whatever_changes_something_needs_more_than_read(guarded: Settings) -> None:
    # Nothing that others see is changed by them.
    asks_only = {"/v1/profile", "/v1/estimate", "/v1/session", "/v1/session/links", "/v1/jobs/{job_id}/solve"}
    for method, path, need in routes(guarded):
        assert need is not None
        if method != "GET" and path not in asks_only:
            assert need.scope == "admin" or (need.scope == "write" and need.changes), path


def test_whatever_a_path_names_is_owned_or_known_to_be_shared(guarded: Settings) -> None:
    import re

    names = {name for _, path, _ in routes(guarded) for name in re.findall(r"{(\w+)}", path)}
    assert names <= OWNED | SHARED


# --- the matrix -------------------------------------------------------------------------------------

CASTS = ("none", "wrong", "expired", "revoked", "read", "other", "write", "admin")


@pytest.fixture
def filled(database: Database, key_of: Callable[..., str]) -> tuple[dict[str, str | None], dict[str, str]]:
    """Keys by what they are, and the ids of what `write` and `read`, which share a group, own."""
    cast: dict[str, str | None] = {
        "none": None,
        "wrong": "winnow_0123456789ab_" + "x" * 43,
        "expired": key_of("expired", "admin"),
        "revoked": key_of("revoked", "admin"),
        "read": key_of("read", "read", group="ours"),
        "write": key_of("write", "write", group="ours"),
        "other": key_of("other", "write"),
        "admin": key_of("admin", "admin"),
    }
    ids = {name: key.split("_")[1] for name, key in cast.items() if key}
    past = datetime.now(UTC) - timedelta(seconds=1)
    with database.transaction() as session:
        session.execute(update(ApiKey).where(ApiKey.id == ids["expired"]).values(expires_at=past))
        session.execute(update(ApiKey).where(ApiKey.id == ids["revoked"]).values(revoked_at=past))
        job_id, more = keys.secrets.token_hex(6), {"path": "x", "sha256": "0" * 64, "size_bytes": 1}
        session.add(
            Job(
                id=job_id,
                name="owned",
                recipe="bignas",
                spec={},
                request_sha256="0" * 64,
                owner_id=ids["write"],
                shared_with="ours",
                state="succeeded",
            )
        )
        session.flush()
        named = {kind: keys.secrets.token_hex(6) for kind in ("export_id", "supernet_id", "measurement_id")}
        session.add(Export(id=named["export_id"], job_id=job_id, architecture_id="a" * 16))
        session.add(Measurement(id=named["measurement_id"], target="t", job_id=job_id, request={}, **more))
        words = {"name": "s", "recipe": "bignas", "space": "s", "supernet": {}, "data": {}, "training": {}}
        session.add(
            TrainedSupernet(
                id=named["supernet_id"],
                job_id=job_id,
                curve=[],
                metric="accuracy",
                scores={},
                **{"step": 1, **words, **more},
            )
        )
        named["upload_id"] = keys.secrets.token_hex(6)
        sent = {"kind": "dataset", "name": "u", "size_bytes": 1, "sha256": "0" * 64}
        session.add(Upload(id=named["upload_id"], owner_id=ids["write"], **sent))
        named["webhook_id"] = keys.secrets.token_hex(6)
        hook = {"url": "https://example.org", "secret": "s", "states": []}
        session.add(Webhook(id=named["webhook_id"], owner_id=ids["write"], **hook))
        nodes.beat(session, "a worker", 5, NodeFacts(("train",), (), 0, 1, {}))
        session.add(Target(name=f"t-{job_id}", kind="table", facts={}, table="", owner_id=ids["write"]))
    return cast, {"job_id": job_id, **named, "name": f"t-{job_id}", "architecture_id": "a" * 16, "key_id": "0" * 12}


def test_the_authorisation_matrix_holds_for_every_route(
    guarded: Settings, filled: tuple[dict[str, str | None], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each kind of key gets of each route: refused as it should be, or let in (whatever then becomes of it)."""
    monkeypatch.setattr("service.auth.rates.WRONG_KEYS", "10000/minute")
    cast, ids = filled
    app = create_app(guarded)
    wrong: list[str] = []
    schema = app.openapi()["paths"]
    with TestClient(app, base_url=BASE) as api:
        for method, path, need in sorted(routes(guarded), key=lambda one: (one[0] == "DELETE", one[:2])):
            assert need is not None
            address = path.format(**ids)
            for who in CASTS:
                client = client_of(api, cast[who])
                answer = client.request(method, address, json={} if method == "POST" else None)
                expected = expected_of(need, who, path)
                got = "let in" if answer.status_code not in (401, 403) else str(answer.status_code)
                if need.page and answer.status_code == 303:
                    got = "401"
                if expected == "404":
                    got = str(answer.status_code)
                described = schema.get(path, {}).get(method.lower(), {"responses": {}})["responses"]
                if path in schema and str(answer.status_code) not in described:
                    wrong.append(f"{who}: {method} {path} gave {answer.status_code}, which is not described")
                if got != expected or answer.status_code >= 500:
                    wrong.append(f"{who}: {method} {path} gave {answer.status_code}, expected {expected}")
    assert "\n".join(wrong) == ""


def expected_of(need: Need, who: str, path: str) -> str:
    """401, 403, 404 or `let in`."""
    if need.scope is None:
        # Signing in with neither a key nor a link is a bad request and not a refusal.
        return "let in"
    if who in ("none", "wrong", "expired", "revoked"):
        return "401"
    scope: Scope = {"read": "read", "admin": "admin"}.get(who, "write")  # type: ignore[assignment]
    if keys.SCOPES.index(scope) < keys.SCOPES.index(need.scope):
        return "403"
    if who == "other" and any(f"{{{name}}}" in path for name in OWNED):
        return "404"
    if who == "other" and path == "/v1/targets/{name}" and need.scope == "write":
        return "403"
    return "let in"


def test_the_description_names_every_refusal(guarded: Settings) -> None:
    schema = create_app(guarded).openapi()
    types = schema["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert {"urn:winnow:problem:quota-exceeded", "urn:winnow:problem:not-json"} <= set(types)
    assert "HTTPValidationError" not in str(schema)
    for method, path, need in routes(guarded):
        if not path.startswith("/v1/"):
            continue
        assert need is not None
        operation = schema["paths"][path][method.lower()]
        answers = operation["responses"]
        assert "503" in answers
        assert ("401" in answers) == ("429" in answers)
        assert ("security" in operation) == (need.scope is not None)
        assert "401" in answers or need.scope is None
        assert "403" in answers
        assert "404" in answers or "{" not in path
        assert "422" in answers or not ("requestBody" in operation or operation.get("parameters"))
        assert "409" in answers or method == "GET"
        for status, answer in answers.items():
            assert status < "400" or "application/problem+json" in answer["content"], (path, status)


# --- owners and groups ------------------------------------------------------------------------------


def test_a_key_sees_its_own_jobs_and_what_its_group_was_shown(admin: TestClient, key_of: Callable[..., str]) -> None:
    ada, bob, eve = (
        client_of(admin, key_of(name, "write", group=group))
        for name, group in (("ada", "g"), ("bob", "g"), ("eve", None))
    )
    job = ada.post("/v1/jobs", json=TINY_JOB).json()["id"]

    def listed(client: TestClient) -> bool:
        return job in {one["id"] for one in client.get("/v1/jobs", params={"limit": 200}).json()["jobs"]}

    assert [listed(client) for client in (ada, bob, eve, admin)] == [True, False, False, True]
    unknown = eve.get("/v1/jobs/ffffffffffff").json()
    hidden = eve.get(f"/v1/jobs/{job}").json()
    assert {**hidden, "detail": ""} == {**unknown, "detail": ""}
    assert hidden["detail"].replace(job, "ffffffffffff") == unknown["detail"]

    assert ada.post(f"/v1/jobs/{job}/sharing", json={"shared": True}).json()["shared_with"] == "g"
    assert [listed(client) for client in (ada, bob, eve, admin)] == [True, True, False, True]
    assert bob.get(f"/v1/jobs/{job}").status_code == 200
    assert bob.post(f"/v1/jobs/{job}/cancel").status_code == 403
    assert bob.post(f"/v1/jobs/{job}/sharing", json={"shared": False}).status_code == 403
    assert eve.post(f"/v1/jobs/{job}/cancel").status_code == 404
    assert eve.post("/v1/jobs/x/sharing", json={"shared": True}).status_code == 404

    assert ada.post(f"/v1/jobs/{job}/sharing", json={"shared": False}).json()["shared_with"] is None
    assert not listed(bob)
    mine = eve.post("/v1/jobs", json=TINY_JOB).json()["id"]
    assert "no group" in eve.post(f"/v1/jobs/{mine}/sharing", json={"shared": True}).json()["detail"]


def test_two_keys_may_use_the_same_idempotency_key(admin: TestClient, key_of: Callable[..., str]) -> None:
    clients = [client_of(admin, key_of(name, "write")) for name in ("ada", "eve")]
    headers = {"Idempotency-Key": "monday"}
    first = [client.post("/v1/jobs", json=TINY_JOB, headers=headers) for client in clients]
    again = [client.post("/v1/jobs", json=TINY_JOB, headers=headers) for client in clients]
    assert [answer.status_code for answer in first + again] == [201, 201, 200, 200]
    assert first[0].json()["id"] == again[0].json()["id"] != first[1].json()["id"] == again[1].json()["id"]


def test_a_supernet_of_others_cannot_be_reused(
    admin: TestClient, filled: tuple[dict[str, str | None], dict[str, str]]
) -> None:
    cast, ids = filled
    body = {**TINY_JOB, "supernet": {"reuse": ids["supernet_id"]}}
    answer = client_of(admin, cast["other"]).post("/v1/jobs", json=body)
    assert (answer.status_code, ids["supernet_id"] in answer.json()["detail"]) == (404, True)


def test_jobs_of_before_there_were_keys_are_for_admins(
    settings: Settings, admin: TestClient, key_of: Callable[..., str]
) -> None:
    with open_api(settings) as anybody:
        job = anybody.post("/v1/jobs", json=TINY_JOB).json()["id"]
    assert admin.get(f"/v1/jobs/{job}").status_code == 200
    assert client_of(admin, key_of("ada", "write", group="g")).get(f"/v1/jobs/{job}").status_code == 404
