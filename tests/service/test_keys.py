"""Keys, quotas, rates, the audit trail, and how the first key comes about."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from service.auth import keys
from service.auth.keys import Quota
from service.settings import Settings
from service.stack import admin_key, without_passwords
from service.store.models import ApiKey, Artifact, AuditRow, EvaluationRow, SignInLink
from service.store.session import Database
from tests.api import BASE, client_of, open_api
from tests.conftest import TINY_JOB

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


@pytest.mark.parametrize("given", ["Basic abc", "Bearer", "Bearer winnow_x_y", "x" * 5000])
def test_a_header_that_is_no_key_is_refused(admin: TestClient, given: str) -> None:
    assert admin.get("/v1/jobs", headers={"Authorization": given}).status_code == 401


def test_a_key_that_no_row_can_hold_is_not_looked_for(admin: TestClient) -> None:
    """Storable requests are asked for before anybody asks who sends them."""
    assert admin.get("/v1/jobs", headers={"Authorization": "Bearer winnow_0123456789ab_\0"}).status_code == 422


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
