"""Rows that version 413d269 wrote are upgraded, and read through the API as that version answered about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from job.version import JOB_VERSION
from job.versions import read_job
from pipeline.stages import scores_alike
from service.embedded import EmbeddedServers
from service.settings import Settings
from service.store import records, schema
from service.store.models import Base, Job
from service.store.records import CurvePoint, Derived, Measured, Prices
from service.store.session import Database, normalise_url
from tests.api import open_api

HERE = Path(__file__).parent / "version_1"
ROWS: dict[str, list[dict[str, Any]]] = json.loads((HERE / "rows.json").read_text())
ANSWERS: dict[str, Any] = json.loads((HERE / "answers.json").read_text())
NAMES = {(job["recipe"], job["name"]): job["id"] for job in ROWS["jobs"]}
TRAINED, SEARCHED = NAMES["bignas", "digits"], NAMES["bignas", "bignas on digits"]
SIMQ, LLAMA = NAMES["simq_nas", "simq_nas on digits"], NAMES["llama_nas", "llama_nas on text"]
GRADIENT, HALF_WAY = NAMES["proxylessnas", "proxylessnas on digits"], NAMES["proxylessnas", "half way"]


@pytest.fixture(scope="module")
def url(servers: EmbeddedServers) -> Iterator[str]:
    """A database with those rows, upgraded from the schema of their version."""
    admin = create_engine(normalise_url(servers.database_url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE version_1"))
    found = make_url(servers.database_url).set(database="version_1").render_as_string(hide_password=False)
    command.upgrade(schema._config(found), ROWS["alembic_version"][0]["version_num"])
    database = Database(found)
    with database.transaction() as session:
        for table in ("jobs", "job_events", "evaluations", "finalists", "artifacts", "supernets", "exports"):
            told = f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, CAST(:rows AS json))"
            session.execute(text(told), {"rows": json.dumps(ROWS[table])})
    database.close()
    schema.upgrade(found)
    yield found
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE version_1 WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def old(url: str) -> Iterator[Database]:
    """A connection to that database."""
    connected = Database(url)
    yield connected
    connected.close()


@pytest.fixture(scope="module")
def api(url: str, servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("version_1")
    settings = Settings(
        data_dir=folder,
        database_url=url,
        redis_url=servers.redis_url,
        auth="off",
        allowed_hosts="testserver",
        data_roots="/data",
    )
    with open_api(settings) as client:
        yield client


def request_of(job_id: str) -> dict[str, Any]:
    """The stored job as a request; paths of a table are nobody's concern here."""
    return next(job["spec"] for job in ROWS["jobs"] if job["id"] == job_id)


# --- the schema -----------------------------------------------------------------------------------


def test_the_migrated_schema_is_that_of_the_models(old: Database) -> None:
    with old.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_checks_of_the_migrated_schema_are_those_of_the_models(old: Database, servers: EmbeddedServers) -> None:
    """Autogenerate does not look at checks."""
    asked = text(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'c' AND conrelid <> 0"
    )
    admin = create_engine(normalise_url(servers.database_url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE of_models"))
    made = create_engine(normalise_url(servers.database_url)).url.set(database="of_models")
    engine = create_engine(made)
    try:
        Base.metadata.create_all(engine)
        with engine.connect() as connection, old.engine.connect() as migrated:
            checks = sorted(map(tuple, connection.execute(asked)))
            assert sorted(map(tuple, migrated.execute(asked))) == checks
            assert len(checks) == 15
    finally:
        engine.dispose()
        with admin.connect() as connection:
            connection.execute(text("DROP DATABASE of_models WITH (FORCE)"))
        admin.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE jobs SET state = 'resting'",
        "UPDATE jobs SET stage = 'lunch'",
        "UPDATE exports SET state = 'paused'",
        """UPDATE evaluations SET sources = '{"accuracy": "guessed"}'""",
        """UPDATE finalists SET sources = '{"accuracy": "measured", "macs": null}'""",
    ],
)
def test_a_word_that_nobody_knows_is_refused(old: Database, change: str) -> None:
    with pytest.raises(IntegrityError, match="violates check constraint"), old.transaction() as session:
        session.execute(text(change))


def test_events_stay_as_they_were(old: Database) -> None:
    with old.transaction() as session:
        found = session.execute(text("SELECT job_id, seq, kind, data FROM job_events ORDER BY job_id, seq")).all()
    told = sorted((e["job_id"], e["seq"], e["kind"], e["data"]) for e in ROWS["job_events"])
    assert [tuple(row) for row in found] == [tuple(event) for event in told]


# --- what the API says ----------------------------------------------------------------------------


def test_every_job_is_listed_and_says_everything(api: TestClient) -> None:
    jobs = {job["id"]: job for job in api.get("/v1/jobs").json()["jobs"]}
    assert jobs.keys() == {job["id"] for job in ROWS["jobs"]}
    for job in jobs.values():
        assert job["spec"]["version"] == JOB_VERSION
        assert job["spec"]["training"]["lr_decay_epochs"] is not None
        assert api.get(f"/jobs/{job['id']}").status_code == 200
    assert jobs[HALF_WAY]["state"] == "paused"


@pytest.mark.parametrize("job_id", [job["id"] for job in ROWS["jobs"]], ids=[job["name"] for job in ROWS["jobs"]])
@pytest.mark.parametrize("route", ["front", "gradient", "sensitivity"])
def test_answers_are_those_of_that_version(api: TestClient, job_id: str, route: str) -> None:
    answer = api.get(f"/v1/jobs/{job_id}/{route}")
    asked = ANSWERS[job_id][route]
    if not isinstance(asked, dict):
        assert answer.status_code == asked
    elif route == "front":
        assert as_that_version_said(answer.json()) == {**asked, "knee": answer.json()["knee"]}
    else:
        found = answer.json()
        for network in found.get("networks", []):
            if network["measured"]:
                assert network["measured"].pop("intervals") == {}
        assert found == asked


def test_the_space_of_its_llama_has_the_networks_that_it_found() -> None:
    spec = read_job(request_of(LLAMA))
    assert spec.supernet.deployable == ()
    found = [row for row in ROWS["evaluations"] if row["job_id"] == LLAMA]
    assert {row["values"]["layer6_ffn"] for row in found} & {88, 176, 264}  # which no engine of today's default has
    assert [spec.space().architecture(**row["values"]).id for row in found] == [row["architecture_id"] for row in found]


def as_that_version_said(front: dict[str, Any]) -> dict[str, Any]:
    """A front with what was not known then left out, and with the networks that are beaten as measured on it again."""
    together = [*front["points"], *front["beaten"]]
    sign = -1 if front["objectives"][0]["goal"] == "maximize" else 1
    together.sort(key=lambda point: sign * point["metrics"][front["objectives"][0]["metric"]])
    new = {"intervals", "ratios", "rivals", "by", "healed"}
    points = [{name: value for name, value in point.items() if name not in new} for point in together]
    known = ("job_id", "state", "final", "objectives", "baselines")
    baselines = [{k: v for k, v in one.items() if k not in new} for one in front["baselines"]]
    return {name: front[name] for name in known} | {"points": points, "knee": front["knee"], "baselines": baselines}


def test_no_network_of_an_old_front_is_dominated_in_the_numbers_that_are_shown(api: TestClient) -> None:
    beaten = 0
    for job_id in (TRAINED, SEARCHED, SIMQ, LLAMA, GRADIENT):
        front = api.get(f"/v1/jobs/{job_id}/front").json()
        signs = {o["metric"]: -1 if o["goal"] == "maximize" else 1 for o in front["objectives"]}
        costs = [[signs[m] * point["metrics"][m] for m in signs] for point in front["points"]]
        for one in costs:
            assert not any(other != one and all(map(float.__le__, other, one)) for other in costs)
        ids = [point["architecture_id"] for point in front["points"]]
        assert front["knee"] in ids
        assert {one["by"] for one in front["beaten"]} <= set(ids)
        assert front["final"]
        beaten += len(front["beaten"])
    assert beaten == 3


def test_there_is_something_in_every_answer() -> None:
    """Or the test above would say little."""
    assert len(ANSWERS[SIMQ]["front"]["baselines"]) == 3
    assert ANSWERS[SIMQ]["sensitivity"]["layers"]
    assert all(network["measured"] for network in ANSWERS[GRADIENT]["gradient"]["networks"])
    assert [n["measured"] is None for n in ANSWERS[HALF_WAY]["gradient"]["networks"]] == [False, True]
    assert all(ANSWERS[job_id]["front"]["points"] for job_id in (TRAINED, SEARCHED, SIMQ, LLAMA, GRADIENT))


def test_the_stream_says_what_it_said(api: TestClient) -> None:
    with api.stream("GET", f"/v1/jobs/{SIMQ}/events") as answer:
        said = [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]
    told = [event["kind"] for event in sorted(ROWS["job_events"], key=lambda e: e["seq"]) if event["job_id"] == SIMQ]
    assert [kind for kind in said if kind != "job"] == told


def test_supernets_are_those_of_that_version(api: TestClient) -> None:
    for asked in ANSWERS["supernets"]:
        assert api.get(f"/v1/supernets/{asked['id']}").json() == asked


def test_a_job_goes_on_from_its_records(old: Database) -> None:
    """What a search by gradient that was paused has of its own: prices, and the first of two networks."""
    with old.transaction() as session:
        assert len(records.read(session, HALF_WAY, Prices)) == 1
        assert records.read(session, HALF_WAY, Derived)[0].run == 0
        (measured,) = records.read(session, HALF_WAY, Measured)
        points = [
            event["data"] for event in ROWS["job_events"] if (event["job_id"], event["kind"]) == (TRAINED, "curve")
        ]
        assert [point.data() for point in records.read(session, TRAINED, CurvePoint)] == points
    assert measured.run == 0
    assert {"accuracy", "macs"} <= measured.metrics.keys()


# --- reuse and repetition -------------------------------------------------------------------------


def test_the_same_request_still_gives_the_same_job(api: TestClient) -> None:
    body = request_of(TRAINED)
    spelled = {**body, "training": {**body["training"], "lr_decay_epochs": 2 / 150, "sharded": False}}
    for request in (body, spelled, {**body, "version": JOB_VERSION}):
        again = api.post("/v1/jobs", json=request, headers={"Idempotency-Key": "once"})
        assert (again.status_code, again.json()["id"]) == (200, TRAINED)
    other = api.post("/v1/jobs", json={**body, "name": "another"}, headers={"Idempotency-Key": "once"})
    assert other.status_code == 422
    assert TRAINED in other.json()["detail"]


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"training": {"epochs": 2}},
        {"training": {"epochs": 2, "lr_decay_epochs": 2 / 150, "sharded": False}},
        {"data": {"source": "digits", "validation_share": 0.25}},
    ],
    ids=["nothing said", "epochs", "decisions spelled out", "data"],
)
def test_a_supernet_of_that_version_is_searched_by_a_job_of_today(api: TestClient, parts: dict[str, Any]) -> None:
    answer = api.post("/v1/jobs", json={"recipe": "bignas", "supernet": {"reuse": TRAINED}, **parts})
    assert answer.status_code == 201, answer.json()
    training = answer.json()["spec"]["training"]
    assert (training["epochs"], training["lr_decay_epochs"]) == (2, 2 / 150)


def test_a_text_that_is_written_otherwise_is_the_same_text(api: TestClient) -> None:
    data = {**request_of(LLAMA)["data"], "path": "/data//winnow/./text.txt"}
    body = {"recipe": "llama-nas", "supernet": {"reuse": LLAMA}, "data": data}
    answer = api.post("/v1/jobs", json=body)
    assert answer.status_code == 201, answer.json()
    assert answer.json()["spec"]["data"]["path"] == "/data/winnow/text.txt"


def test_another_training_is_still_refused(api: TestClient) -> None:
    body = {"recipe": "bignas", "supernet": {"reuse": TRAINED}, "training": {"epochs": 2, "lr_decay_epochs": 1}}
    answer = api.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert "training part of its own" in answer.json()["detail"]


def test_scores_of_that_version_are_a_warm_start_for_a_job_of_today(old: Database) -> None:
    with old.transaction() as session:
        job = session.get(Job, SIMQ)
        assert job is not None
        spec = read_job(job.spec)
        body = {
            **spec.model_dump(mode="json"),
            "quantization": {**request_of(SIMQ)["quantization"], "bits": [32, 8], "embeddings": [], "weight_bits": 7},
        }
        assert scores_alike(read_job(body))(job) == frozenset()
        narrower = {**body, "quantization": {**body["quantization"], "observer": "minmax"}}
        assert not scores_alike(read_job(narrower))(job)


def test_a_field_that_nobody_knows_hides_no_front(api: TestClient, old: Database) -> None:
    with old.transaction() as session:
        job = session.get(Job, LLAMA)
        assert job is not None
        stored = {**job.spec, "version": 9, "mood": "sunny", "training": {**job.spec["training"], "taste": "sweet"}}
        kept, job.spec = job.spec, stored
    try:
        found = as_that_version_said(api.get(f"/v1/jobs/{LLAMA}/front").json())
        assert {**found, "knee": None} == {**ANSWERS[LLAMA]["front"], "knee": None}
        assert api.get(f"/v1/jobs/{LLAMA}").json()["spec"]["mood"] == "sunny"
        assert api.post("/v1/jobs", json={**request_of(LLAMA), "mood": "sunny"}).status_code == 422
    finally:
        with old.transaction() as session:
            job = session.get(Job, LLAMA)
            assert job is not None
            job.spec = kept


# --- a copy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("job_id", [TRAINED, SIMQ, LLAMA, GRADIENT])
def test_a_draft_of_an_old_job_means_the_same(api: TestClient, job_id: str) -> None:
    draft = api.get(f"/v1/jobs/{job_id}/draft").json()["spec"]
    assert read_job(draft) == read_job(request_of(job_id))


def test_a_draft_leaves_the_decay_to_follow_the_epochs(api: TestClient) -> None:
    assert api.get(f"/v1/jobs/{TRAINED}").json()["spec"]["training"]["lr_decay_epochs"] is not None
    assert api.get(f"/v1/jobs/{TRAINED}/draft").json()["spec"]["training"]["lr_decay_epochs"] is None
