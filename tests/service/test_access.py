"""Who may do what: keys, sessions, owners, quotas, rates and the audit trail."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from service.api.app import create_app, every_route
from service.auth import keys
from service.auth.guard import Need, need_of
from service.auth.keys import Quota, Scope
from service.auth.ownership import OWNED, SHARED
from service.settings import Settings
from service.stack import admin_key, without_passwords
from service.store.models import (
    ApiKey,
    Artifact,
    AuditRow,
    EvaluationRow,
    Export,
    Job,
    Measurement,
    SignInLink,
    Target,
    TrainedSupernet,
    Upload,
)
from service.store.session import Database
from tests.api import open_api
from tests.conftest import TINY_JOB

BASE = "http://127.0.0.1"


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    """The same servers, and keys are needed."""
    return settings.model_copy(update={"auth": "on", "allowed_hosts": ""})


@pytest.fixture
def key_of(database: Database) -> Callable[..., str]:
    """Makes keys."""

    def make(name: str, scope: Scope, **options: Any) -> str:
        with database.transaction() as session:
            return keys.create(session, name, scope, **options)[1]

    return make


@pytest.fixture
def admin(guarded: Settings, key_of: Callable[..., str]) -> Iterator[TestClient]:
    """An admin's client."""
    with open_api(guarded, key_of("admin", "admin"), base_url=BASE) as client:
        yield client


def client_of(api: TestClient, key: str | None) -> TestClient:
    """Another client of the same app."""
    headers = {"X-Winnow": "1", **({"Authorization": f"Bearer {key}"} if key else {})}
    return TestClient(api.app, base_url=BASE, headers=headers, follow_redirects=False, raise_server_exceptions=False)


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
    asks_only = {"/v1/profile", "/v1/session", "/v1/session/links"}  # nothing that others see is changed by them
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


# --- keys -------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_stored_nowhere(admin: TestClient, database: Database) -> None:
    made = admin.post("/v1/keys", json={"name": "ada", "days": 1, "group": "g", "max_jobs": 3}).json()
    assert made["key"].startswith(f"winnow_{made['id']}_")
    secret = made["key"].split("_", 2)[2]
    assert secret not in admin.get("/v1/keys").text
    with database.engine.connect() as connection:
        dump = str(
            [list(connection.execute(text(f"SELECT * FROM {t}"))) for t in ("api_keys", "audit", "sign_in_links")]
        )
    assert secret not in dump
    ada = client_of(admin, made["key"])
    who = ada.get("/v1/session").json()
    assert who == {"key_id": made["id"], "name": "ada", "scope": "write", "group": "g"}
    listed = next(key for key in admin.get("/v1/keys").json()["keys"] if key["id"] == made["id"])
    assert listed["last_used_at"] is not None
    assert listed["max_jobs"] == 3


def test_a_revoked_key_and_its_sessions_are_refused_at_once(admin: TestClient, key_of: Callable[..., str]) -> None:
    key = key_of("ada", "write")
    ada, browser = client_of(admin, key), client_of(admin, None)
    assert browser.post("/v1/session", json={"key": key}).status_code == 201
    assert [client.get("/v1/jobs").status_code for client in (ada, browser)] == [200, 200]
    assert admin.delete(f"/v1/keys/{key.split('_')[1]}").json()["revoked_at"] is not None
    for client in (ada, browser):
        answer = client.get("/v1/jobs")
        assert answer.status_code == 401
        assert "was revoked" in answer.json()["detail"]
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "given", ["Basic abc", "Bearer", "Bearer winnow_x_y", "Bearer winnow_0123456789ab_\0", "x" * 5000]
)
def test_a_header_that_is_no_key_is_refused(admin: TestClient, given: str) -> None:
    assert admin.get("/v1/jobs", headers={"Authorization": given}).status_code == 401


def test_wrong_keys_are_counted_and_then_not_looked_at(guarded: Settings, key_of: Callable[..., str]) -> None:
    with open_api(guarded, "winnow_0123456789ab_" + "y" * 43, base_url=BASE) as guesser:
        answers = [guesser.get("/v1/jobs").status_code for _ in range(25)]
        assert answers[:20] == [401] * 20
        assert set(answers[20:]) == {429}
        answer = guesser.post("/v1/session", json={"key": key_of("ada", "read")})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0


def test_a_key_that_asks_too_often_waits_and_others_do_not(guarded: Settings, key_of: Callable[..., str]) -> None:
    slow = guarded.model_copy(update={"rate_limit": "5/minute"})
    with open_api(slow, key_of("ada", "read"), base_url=BASE) as ada:
        assert [ada.get("/v1/jobs").status_code for _ in range(6)] == [200] * 5 + [429]
        assert client_of(ada, key_of("eve", "read")).get("/v1/jobs").status_code == 200


def test_rates_are_counted_in_redis_where_several_processes_share_them(
    guarded: Settings, key_of: Callable[..., str], tmp_path: Path
) -> None:
    shared = guarded.model_copy(update={"rate_limit": "5/hour", "rate_limit_shared": "on"})
    key = key_of("ada", "read")
    with open_api(shared, key, base_url=BASE) as one, open_api(shared, key, base_url=BASE) as two:
        answers = [client.get("/v1/jobs").status_code for client in (one, two) * 3]
    assert sorted(answers) == [200] * 5 + [429]
    away = shared.model_copy(update={"redis_url": f"unix://{tmp_path}/none.sock"})
    with open_api(away, key_of("eve", "read"), base_url=BASE) as alone:
        assert [alone.get("/v1/jobs").status_code for _ in range(6)] == [200] * 5 + [429]


# --- quotas -----------------------------------------------------------------------------------------


def test_a_key_has_so_many_jobs_at_once_and_evaluations_in_all(
    admin: TestClient, key_of: Callable[..., str], database: Database
) -> None:
    per_job = TINY_JOB["search"]["evaluations"]  # type: ignore[index]
    ada = client_of(admin, key_of("ada", "write", quota=Quota(jobs=2, evaluations=2 * per_job + 1)))
    jobs = [ada.post("/v1/jobs", json=TINY_JOB) for _ in range(2)]
    assert [job.status_code for job in jobs] == [201, 201]
    refused = ada.post("/v1/jobs", json=TINY_JOB)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:winnow:problem:quota-exceeded")
    assert "2 unfinished jobs" in refused.json()["detail"]
    job_id = jobs[0].json()["id"]
    with database.transaction() as session:
        more = {"values": {}, "metrics": {}, "sources": {}, "seconds": 1.0, "epoch": 1}
        session.add_all(EvaluationRow(job_id=job_id, architecture_id=f"{n:016}", number=n, **more) for n in range(1, 3))
    # Cancelled, it has made two evaluations and promises no more.
    ada.post(f"/v1/jobs/{job_id}/cancel")
    assert "evaluations" in ada.post("/v1/jobs", json=TINY_JOB).json()["detail"]
    smaller = {**TINY_JOB, "search": {**TINY_JOB["search"], "evaluations": per_job - 2}}  # type: ignore[dict-item]
    assert ada.post("/v1/jobs", json=smaller).status_code == 201


def test_a_key_whose_files_take_too_much_stores_no_more(
    admin: TestClient, key_of: Callable[..., str], database: Database
) -> None:
    ada = client_of(admin, key_of("ada", "write", quota=Quota(size_bytes=1000)))
    job_id = ada.post("/v1/jobs", json=TINY_JOB).json()["id"]
    with database.transaction() as session:
        file = {"path": "x", "sha256": "0" * 64, "size_bytes": 1000, "step": 1}
        session.add(Artifact(job_id=job_id, kind="supernet", **file))
    answer = ada.post("/v1/jobs", json=TINY_JOB)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:winnow:problem:quota-exceeded")


# --- the trail --------------------------------------------------------------------------------------


def test_who_did_what_is_written_down_and_cannot_be_changed(
    admin: TestClient, key_of: Callable[..., str], database: Database
) -> None:
    key = key_of("ada", "write")
    ada = client_of(admin, key)
    job = ada.post("/v1/jobs", json=TINY_JOB).json()["id"]
    ada.post(f"/v1/jobs/{job}/cancel")
    ada.post("/v1/keys", json={"name": "mine", "scope": "admin"})
    ada.get("/v1/jobs")
    page = admin.get("/v1/audit", params={"key_id": key.split("_")[1], "limit": 2}).json()
    rest = admin.get("/v1/audit", params={"key_id": key.split("_")[1], "cursor": page["next_cursor"]}).json()
    seen = [(e["method"], e["path"], e["status"], e["key_name"]) for e in page["entries"] + rest["entries"]]
    assert seen == [
        ("POST", "/v1/keys", 403, "ada"),
        ("POST", f"/v1/jobs/{job}/cancel", 200, "ada"),
        ("POST", "/v1/jobs", 201, "ada"),
    ]
    assert rest["next_cursor"] is None
    assert ada.get("/v1/audit").status_code == 403
    for statement in ("UPDATE audit SET key_name = 'eve'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(DBAPIError, match="neither changed nor removed"), database.engine.begin() as connection:
            connection.execute(text(statement))


def test_a_wrong_sign_in_is_written_down(guarded: Settings, database: Database) -> None:
    with open_api(guarded, base_url=BASE) as nobody:
        assert nobody.post("/v1/session", json={"key": "winnow_guess"}).status_code == 401
    with database.transaction() as session:
        last = session.scalars(select(AuditRow).order_by(AuditRow.id.desc()).limit(1)).one()
    assert (last.path, last.status, last.key_id, last.key_name) == ("/v1/session", 401, None, "nobody")


# --- `winnow up` ------------------------------------------------------------------------------------


def test_the_first_admin_key_is_kept_for_its_user_alone_and_made_again_when_it_is_no_more(
    database: Database, tmp_path: Path
) -> None:
    key = admin_key(database, tmp_path)
    file = tmp_path / "admin.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() == key == admin_key(database, tmp_path)
    with database.transaction() as session:
        keys.create(session, "another", "admin")
        keys.revoke(session, key.split("_")[1])
    assert admin_key(database, tmp_path) != key


def test_a_link_signs_in_once_and_not_for_ever(admin: TestClient, database: Database) -> None:
    token = admin.post("/v1/session/links").json()["token"]
    first, second = client_of(admin, None), client_of(admin, None)
    assert first.post("/v1/session", json={"token": token}).json()["name"] == "admin"
    assert first.get("/v1/keys").status_code == 200
    assert second.post("/v1/session", json={"token": token}).status_code == 401
    late = admin.post("/v1/session/links").json()["token"]
    with database.transaction() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(SignInLink).where(SignInLink.token_sha256 == keys.digest(late)).values(expires_at=past))
    assert second.post("/v1/session", json={"token": late}).status_code == 401


def test_the_last_admin_stays(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(ApiKey).where(ApiKey.scope == "admin").values(revoked_at=datetime.now(UTC)))
        row, _ = keys.create(session, "last", "admin")
    with pytest.raises(keys.InvalidRequest, match="last admin"), database.transaction() as session:
        keys.revoke(session, row.id)


def test_passwords_are_not_printed() -> None:
    shown = without_passwords(
        {
            "a": "postgresql://winnow:s3cret@db:5432/winnow",
            "b": "redis://:s3cret@h:1/0",
            "c": "postgresql://u:@/x?host=/y",
        }
    )
    assert shown == {
        "a": "postgresql://winnow:***@db:5432/winnow",
        "b": "redis://:***@h:1/0",
        "c": "postgresql://u:@/x?host=/y",
    }
