"""Every bad request gets a clear problem document, and nothing is stored."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text

from search.metrics import METRICS
from search_space import plugins
from service.embedded import EmbeddedServers
from service.settings import Settings
from service.store.models import Job
from service.store.session import Database
from tests.api import open_api
from tests.conftest import TINY_JOB
from tests.docs.families import write_documented_family
from tests.tiers import mostly_thorough


@pytest.fixture(scope="module")
def api(lasting_settings: Settings) -> Iterator[TestClient]:
    """The API on bare servers: no worker takes its jobs."""
    with open_api(lasting_settings) as client:
        yield client


def count(database: Database) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def search(**values: Any) -> dict[str, Any]:
    return {"recipe": "bignas", "search": values}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"recipe": "magic"}, "No recipe named 'magic'. Known: bignas"),
        ({"recipe": 7}, "recipe: It must be text; got 7."),
        ({"supernet": {"family": "cnn"}}, "No family named 'cnn'. Known: "),
        ({"supernet": {"preset": "imagenet"}}, "No preset of family 'mobilenet' named 'imagenet'. Known: digits"),
        ({"data": {"source": "mnist"}}, "No data source named 'mnist'. Known: cifar10, digits"),
        ({"training": {"method": "sgd"}}, "No training method named 'sgd'. Known: alternating, bignas"),
        ({"training": {"epochs": 0}}, "training.epochs is 0, so nothing is trained"),
        ({"training": {"learning_rate": -1}}, "above 0; got -1"),
        ({"training": {"options": {"num_randoms": 2}}}, "num_randoms"),
        (
            search(algorithm="annealing"),
            "No search algorithm named 'annealing'. Known: blocks, exhaustive, gp, linas, nsga2",
        ),
        (search(evaluations=0), "search.evaluations: It must be at least 1; got 0."),
        (search(evaluations=-5), "at least 1; got -5"),
        (search(evaluations=1_000_000), "at most 100000; got 1000000"),
        (search(evaluations="many"), "a whole number; got 'many'"),
        (search(algorithm="nsga2", options={"population": 1}), "population"),
        (search(seed=1.5), "search.seed"),
        ({"objectives": []}, "a list of at least 1; got a list"),
        ({"objectives": [{"metric": "happiness"}]}, "Known: accuracy, perplexity, recall_at_1"),
        ({"objectives": [{"metric": "latency_ms", "target": "toaster"}]}, "There is no target 'toaster'. Known: cpu-"),
        ({"objectives": [{"metric": "latency_ms", "target": "Big Iron"}]}, "lower-case letters"),
        ({"objectives": [{"metric": "latency_ms", "target": "toaster/fpga"}]}, "Got runtime 'fpga'"),
        ({"objectives": [{"metric": "macs", "target": "cpu-torch"}]}, "has no target; leave target out"),
        ({"objectives": [{"metric": "tokens_per_second"}]}, "Only language models have tokens_per_second"),
        (
            {"objectives": [{"metric": "tokens_per_second", "target": "cpu-onnxruntime"}]},
            "choose cpu-torch or cuda-torch",
        ),
        (
            {
                "objectives": [{"metric": "accuracy"}, {"metric": "latency_ms", "target": "cpu-torch"}],
                "constraints": [{"metric": "tokens_per_second", "limit": 1, "target": "cuda-torch"}],
            },
            "A job has one target; got cpu-torch and cuda-torch",
        ),
        ({"hardware": {"networks": 3}}, "at least 10"),
        ({"hardware": {"margin_quantile": 1.0}}, "below 1"),
        ({"objectives": [{"metric": "macs"}, {"metric": "macs"}]}, "listed twice"),
        ({"objectives": [{"metric": "macs", "goal": "maximize"}]}, "can only be minimized"),
        ({"objectives": [{"metric": "accuracy", "limit": 97}]}, "a share from 0 to 1"),
        ({"quantisation": {"bits": [8]}}, "There is no such field"),
        ({"supernet": None}, "supernet"),
        ([1, 2], "It must be a mapping; got a list."),
    ],
)
def test_impossible_job_is_refused_with_what_is_right(
    api: TestClient, database: Database, body: Any, expected: str
) -> None:
    before = count(database)
    answer = api.post("/v1/jobs", json=body)
    problem = answer.json()
    assert answer.status_code == 422, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert expected in problem["detail"], problem["detail"]
    assert count(database) == before


def test_unknown_name_comes_with_the_known_ones_for_programs(api: TestClient) -> None:
    problem = api.post("/v1/jobs", json={"objectives": [{"metric": "happiness"}]}).json()
    assert problem["known"] == list(METRICS)


def test_limit_below_the_smallest_network_names_it(api: TestClient, database: Database) -> None:
    before = count(database)
    body = {"objectives": [{"metric": "accuracy"}, {"metric": "macs", "limit": 100}]}
    answer = api.post("/v1/jobs", json=body)
    problem = answer.json()
    assert answer.status_code == 422
    assert problem["type"] == "urn:winnow:problem:infeasible"
    assert problem["nearest"]["macs"] > 100
    assert str(problem["nearest"]["macs"]) in problem["detail"]
    assert count(database) == before


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [
        (b"recipe: bignas", 400, "character"),
        (b'{"recipe": "bignas"', 400, "character"),
        (b"", 422, "It is missing; give it."),
        (b'{"name": "' + b"x" * 10_000_000 + b'"}', 413, "at most 1000000 are read"),
    ],
    ids=["yaml", "truncated", "empty", "ten megabytes"],
)
def test_body_that_is_no_job_is_refused(
    api: TestClient, database: Database, content: bytes, status: int, expected: str
) -> None:
    before = count(database)
    answer = api.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert expected in answer.json()["detail"]
    assert count(database) == before


def test_body_without_a_declared_length_is_counted_as_it_arrives(api: TestClient) -> None:
    answer = api.post(
        "/v1/jobs", content=(b"x" * 100_000 for _ in range(30)), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_same_key_gives_the_same_job_and_another_body_is_refused(api: TestClient, database: Database) -> None:
    headers = {"Idempotency-Key": "weekly-17"}
    first = api.post("/v1/jobs", json=TINY_JOB, headers=headers)
    again = api.post("/v1/jobs", json=TINY_JOB, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    before = count(database)
    other = api.post("/v1/jobs", json={**TINY_JOB, "name": "other"}, headers=headers)
    assert other.status_code == 422
    assert first.json()["id"] in other.json()["detail"]
    assert count(database) == before


@pytest.mark.parametrize("path", ["", "/front", "/evaluations", "/events", "/exports"])
def test_unknown_job_is_not_found(api: TestClient, path: str) -> None:
    answer = api.get(f"/v1/jobs/nope{path}")
    assert answer.status_code == 404
    assert "'nope'" in answer.json()["detail"]


def test_export_of_an_architecture_that_is_not_in_the_job_is_not_found(api: TestClient) -> None:
    job = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    answer = api.post(f"/v1/jobs/{job}/exports", json={"architecture_id": "ffffffffffffffff"})
    assert answer.status_code == 404
    assert "ffffffffffffffff" in answer.json()["detail"]


def test_verbs_of_a_finished_job_are_refused(api: TestClient) -> None:
    job = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    assert api.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
    assert api.post(f"/v1/jobs/{job}/cancel").status_code == 200
    for verb in ("pause", "resume", "stop"):
        answer = api.post(f"/v1/jobs/{job}/{verb}")
        assert answer.status_code == 409
        assert "is cancelled and cannot be" in answer.json()["detail"]


def test_job_whose_family_is_gone_is_told_and_not_an_internal_error(
    settings: Settings, tmp_path: Path, database: Database
) -> None:
    families = write_documented_family(tmp_path / "families")
    supernet = {"family": "residual", "preset": "digits"}
    try:
        with open_api(settings.model_copy(update={"families_dir": families})) as client:
            job = client.post("/v1/jobs", json={**TINY_JOB, "supernet": supernet}).json()["id"]
            assert client.get(f"/v1/jobs/{job}/front").status_code == 200
            (families / "residual.py").unlink()
            assert client.get(f"/v1/jobs/{job}").status_code == 200
            answer = client.get(f"/v1/jobs/{job}/front")
            assert answer.status_code == 409
            assert "No family named 'residual'" in answer.json()["detail"]
    finally:
        plugins.use_families_dir(None)


def test_job_whose_data_does_not_fit_its_space_is_refused_with_both(api: TestClient, database: Database) -> None:
    before = count(database)
    for supernet, expected in (
        ({"classes": 7}, "takes images of 1x8x8 in 7 classes, but data source 'digits' gives images of 1x8x8 in 10"),
        ({"family": "mobilenet", "preset": "cifar"}, "1 channels where 3 are needed"),
        ({"family": "bert", "preset": "tiny"}, "takes text of 8192 token ids"),
    ):
        answer = api.post("/v1/jobs", json={"supernet": supernet})
        assert answer.status_code == 422
        assert expected in answer.json()["detail"], answer.json()["detail"]
    assert count(database) == before


@pytest.mark.parametrize("query", ["?cursor=abc", "?limit=0", "?limit=1000", "?state=happy"])
def test_bad_queries_are_refused(api: TestClient, query: str) -> None:
    assert api.get(f"/v1/jobs{query}").status_code == 422


def test_bad_last_event_id_is_refused(api: TestClient) -> None:
    job = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    assert api.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "yesterday"}).status_code == 422


def test_pages_of_jobs_are_complete_and_without_overlap(api: TestClient) -> None:
    mine = [api.post("/v1/jobs", json={**TINY_JOB, "name": f"paged 100% {n}"}).json()["id"] for n in range(5)]
    api.post("/v1/jobs", json={**TINY_JOB, "name": "paged 1000"})
    seen: list[str] = []
    cursor = None
    while True:
        params = {"text": "paged 100%", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = api.get("/v1/jobs", params=params).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == mine[::-1]


def test_without_a_database_every_request_says_so(tmp_path: Path, settings: Settings) -> None:
    gone = settings.model_copy(update={"database_url": f"postgresql://postgres@/x?host={tmp_path}"})
    with open_api(gone) as client:
        assert client.get("/healthz").status_code == 200
        for answer in (client.get("/readyz"), client.post("/v1/jobs", json=TINY_JOB), client.get("/v1/jobs")):
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert "PostgreSQL does not answer" in answer.json()["detail"]


def test_without_a_broker_the_job_is_kept_and_readiness_says_why(
    tmp_path: Path, settings: Settings, database: Database
) -> None:
    gone = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/none.sock"})
    with open_api(gone) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "Redis does not answer" in answer.json()["detail"]
        before = count(database)
        assert client.post("/v1/jobs", json=TINY_JOB).status_code == 201
        assert count(database) == before + 1


# Each is a process that starts.
WRONG_COMMANDS = [
    (["list"], {"WINNOW_URL": "http://127.0.0.1:9"}, "No Winnow answers at http://127.0.0.1:9"),
    (["submit", "missing.yaml"], {}, "missing.yaml"),
    (["worker"], {}, "Set WINNOW_DATABASE_URL and WINNOW_REDIS_URL"),
    (["db", "upgrade"], {"WINNOW_DATABASE_URL": "mysql://x/y"}, "Winnow needs PostgreSQL"),
    (["db", "upgrade"], {"WINNOW_DATABASE_URL": "postgresql://127.0.0.1:9/x"}, "PostgreSQL does not answer"),
    (
        ["worker"],
        {"WINNOW_DATABASE_URL": "postgresql://127.0.0.1:9/x", "WINNOW_REDIS_URL": "redis://127.0.0.1:9"},
        "PostgreSQL does not answer",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"), mostly_thorough(WRONG_COMMANDS, WRONG_COMMANDS[0], WRONG_COMMANDS[3])
)
def test_command_line_errors_are_one_line(arguments: list[str], environment: dict[str, str], expected: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_database_without_the_schema_is_not_ready_and_refused_by_a_worker(
    servers: EmbeddedServers, settings: Settings, database: Database
) -> None:
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS bare"))
        connection.execute(text("CREATE DATABASE bare"))
    bare = servers.database_url.replace("/postgres?", "/bare?", 1)
    with open_api(settings.model_copy(update={"database_url": bare})) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "winnow db upgrade" in answer.json()["detail"]
    done = subprocess.run(
        [sys.executable, "-m", "workers.node"],
        env={**os.environ, "WINNOW_DATABASE_URL": bare, "WINNOW_REDIS_URL": servers.redis_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "winnow db upgrade" in done.stderr


def test_a_body_that_is_no_text(api: TestClient) -> None:
    answer = api.post("/v1/jobs", content=b'{"name": "\xff\xfe"}', headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:winnow:problem:not-json"
    assert "UTF-8" in answer.json()["detail"]
