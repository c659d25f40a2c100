"""Every route with whatever its description allows, and what it does not: no 5xx, nothing that is not described."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

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
ENOUGH = 140
LASTS = "/v1/jobs/{job_id}/events"
# Bodies that make something.
MAKES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/jobs"): TINY_JOB,
    ("POST", "/v1/webhooks"): {"url": "https://example.org/hook"},
    ("POST", "/v1/datasets"): {"name": "u", "size_bytes": 1, "sha256": "0" * 64},
    ("POST", "/v1/checkpoints"): {"name": "u", "size_bytes": 1, "sha256": "0" * 64},
}
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
            for name, ids in known.items():
                if name in (case.path_parameters or {}) and data.draw(hypothesis.strategies.booleans()):
                    case.path_parameters[name] = data.draw(hypothesis.strategies.sampled_from(ids))
            who = data.draw(hypothesis.strategies.sampled_from(KINDS))
            answer = sent(clients[who], case)
            if answer is None:
                return
            wrong.extend(judged(who, case, answer))

        ask()
    assert "\n".join(dict.fromkeys(wrong)) == ""
    print(f"{asked} cases")  # noqa: T201
    assert asked > (10_000 if CASES >= ENOUGH else 60 * CASES // 4)


@pytest.mark.thorough
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("who", ["write", "admin"])
def test_what_is_made_can_be_asked_for_all_that_its_links_name(
    clients: dict[str, TestClient], database: Database, who: str
) -> None:
    app: Any = clients["admin"].app
    schema = schemathesis.openapi.from_dict(app.openapi())
    wrong: list[str] = []
    followed: Counter[str] = Counter()

    class Linked(schema.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: Any) -> None:
            # Left to chance, hardly any body is one that makes something.
            body = MAKES.get((case.method.upper(), case.operation.path))
            if body is not None:
                case.body = body

        def call(self, case: Any, **_: Any) -> Any:
            if case.operation.path == LASTS:  # the stream of a job that goes on would never end
                clients["admin"].post(f"/v1/jobs/{quote(case.path_parameters['job_id'], safe='')}/cancel")
            answer = sent(clients[who], case)
            if answer is None:  # what no client can send leads nowhere
                return schemathesis.Response.from_any(clients[who].get("/healthz"))
            wrong.extend(judged(who, case, answer))
            followed[case.operation.label] += answer.status_code < 400
            return schemathesis.Response.from_any(answer)

        def validate_response(self, *_: Any, **__: Any) -> None:
            """Judged when it came."""

    for number in range(max(6, CASES // 2)):
        # Few examples at a time: Hypothesis replays beginnings, and nothing is as it was a second time.
        with suppress(hypothesis.errors.Flaky):
            hypothesis.seed(number)(Linked).run(
                settings=hypothesis.settings(
                    max_examples=4,
                    stateful_step_count=8,
                    phases=[hypothesis.Phase.generate],
                    deadline=None,
                    database=None,
                    suppress_health_check=list(hypothesis.HealthCheck),
                )
            )
    assert "\n".join(dict.fromkeys(wrong)) == ""
    print(f"{followed.total()} steps that succeeded, of {len(followed)} operations")  # noqa: T201
    assert followed["POST /v1/jobs"]
    assert sum("{job_id}" in label for label, times in followed.items() if times) > (10 if CASES >= ENOUGH else 0)


def judged(who: str, case: Any, answer: Any) -> Iterator[str]:
    """What is wrong with an answer: a mistake of ours, or one that the description does not have."""
    described = case.operation.definition.raw["responses"]
    problem = str(answer.headers.get("content-type", "")).startswith("application/problem+json")
    if answer.status_code >= 500 or str(answer.status_code) not in described:
        what = f"{answer.status_code}: {answer.text[:300]}"
        yield f"{who}: {case.method} {case.formatted_path} gave {what}"
    elif answer.status_code >= 400 and not problem:
        yield f"{who}: {case.method} {case.formatted_path} gave {answer.status_code} and no problem"
    elif problem:
        types = described[str(answer.status_code)]["content"]["application/problem+json"]["schema"]
        if answer.json()["type"] not in types["allOf"][1]["properties"]["type"]["enum"]:
            yield f"{case.method} {case.formatted_path}: {answer.text[:300]} is not described"


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
