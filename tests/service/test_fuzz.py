"""Every route with whatever its description allows, and what it does not: no 5xx, nothing that is not described."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from service.settings import Settings
from service.store.models import Job
from service.store.session import Database
from tests.api import BASE, client_of, open_api
from tests.conftest import TINY_JOB

schemathesis = pytest.importorskip("schemathesis")
hypothesis = pytest.importorskip("hypothesis")

# Cases of each operation. 140 of each make 10,000 of all.
CASES = int(os.environ.get("WINNOW_FUZZ_CASES", "4"))
# These answer 503 on purpose, or never end.
LEFT_OUT = {("GET", "/readyz")}
KINDS = ("none", "read", "write", "admin")


@pytest.fixture
def clients(guarded: Settings, key_of: Callable[..., str]) -> Iterator[dict[str, TestClient]]:
    """A client for each kind of key. Nothing is refused for its number."""
    settings = guarded.model_copy(update={"rate_limit": "off"})
    with open_api(settings, key_of("admin", "admin"), base_url=BASE) as admin:
        found = {"none": client_of(admin, None), "admin": admin}
        for scope in ("read", "write"):
            found[scope] = client_of(admin, key_of(scope, scope, group="g"))
        yield found


def given(clients: dict[str, TestClient], database: Database) -> dict[str, list[str]]:
    """Ids of things that are there, by the name of the parameter."""
    jobs = []
    for client in (clients["write"], clients["admin"]):
        job_id = client.post("/v1/jobs", json=TINY_JOB).json()["id"]
        client.post(f"/v1/jobs/{job_id}/cancel")
        jobs.append(job_id)
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id.in_(jobs)).values(state="succeeded"))
    sent = {"name": "u", "size_bytes": 1, "sha256": "0" * 64}
    uploads = [clients["write"].post("/v1/datasets", json=sent).json()["id"]]
    return {"job_id": jobs, "upload_id": uploads, "key_id": ["0" * 12]}


@pytest.mark.timeout(3600)
def test_no_request_meets_a_mistake_of_ours_or_an_answer_that_is_not_described(
    clients: dict[str, TestClient], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.auth.rates.WRONG_KEYS", "1000000/minute")
    app: Any = clients["admin"].app
    schema = schemathesis.openapi.from_dict(app.openapi())
    known = given(clients, database)
    wrong: list[str] = []
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if (operation.method.upper(), operation.path) in LEFT_OUT:
            continue

        @hypothesis.settings(
            max_examples=CASES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(case=operation.as_strategy(), data=hypothesis.strategies.data())
        def ask(case: Any, data: Any) -> None:
            nonlocal asked
            asked += 1
            operation = case.operation
            for name, ids in known.items():
                if name in (case.path_parameters or {}) and data.draw(hypothesis.strategies.booleans()):
                    case.path_parameters[name] = data.draw(hypothesis.strategies.sampled_from(ids))
            who = data.draw(hypothesis.strategies.sampled_from(KINDS))
            answer = sent(clients[who], case)
            if answer is None:
                return
            described = operation.definition.raw["responses"]
            problem = str(answer.headers.get("content-type", "")).startswith("application/problem+json")
            if answer.status_code >= 500 or str(answer.status_code) not in described:
                what = f"{answer.status_code}: {answer.text[:300]}"
                wrong.append(f"{who}: {case.method} {case.formatted_path} gave {what}")
            elif answer.status_code >= 400 and not problem:
                wrong.append(f"{who}: {case.method} {case.formatted_path} gave {answer.status_code} and no problem")
            elif problem:
                types = described[str(answer.status_code)]["content"]["application/problem+json"]["schema"]
                if answer.json()["type"] not in types["allOf"][1]["properties"]["type"]["enum"]:
                    wrong.append(f"{case.method} {case.formatted_path}: {answer.json()['type']} is not described")

        ask()
    assert "\n".join(dict.fromkeys(wrong)) == ""
    assert asked > 60 * CASES // 4


def sent(client: TestClient, case: Any) -> Any:
    """The answer to a case; None where no client can send it."""
    words = case.as_transport_kwargs(base_url=BASE)
    words.pop("cookies", None)
    if isinstance(words.get("data"), str | bytes):
        words["content"] = words.pop("data")
    try:
        return client.request(**{**words, "headers": {**client.headers, **dict(words.get("headers") or {})}})
    except (UnicodeError, ValueError) as error:
        if "codec" in str(error) or "header" in str(error).lower() or "URL" in str(error):
            return None
        raise
