"""Targets: tables that are uploaded, machines that register themselves, and who waits for whom."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from job.spec import JobSpec
from predictors.tables import key_of
from service.jobs import new_id, submit
from service.settings import Settings
from service.store import leases, measuring
from service.store.leases import LeaseLost
from service.store.models import Measurement
from service.store.session import Database
from tests.api import open_api

FACTS = {"device": "A kitchen", "cores": 4, "runtimes": ["cpu-onnxruntime"]}


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with open_api(settings) as client:
        yield client


def csv(*rows: str) -> str:
    return "\n".join(["target,key,latency_ms", *rows]) + "\n"


@pytest.mark.parametrize(
    ("name", "table", "expected"),
    [
        ("phone", csv("phone,conv(a),-1"), "line 2"),
        ("phone", csv("phone,conv(a),0"), "line 2"),
        ("phone", csv("phone,conv(a),1", "phone,conv(a),2"), "line 3"),
        ("phone", csv("phone,conv(a),1", "tablet,conv(b),2"), "mixes 2 targets"),
        ("phone", csv(), "no rows"),
        ("phone", "width,height\n1,2\n", "column"),
        ("cpu-torch", csv("phone,conv(a),1"), "is the name of a runtime"),
        ("My Phone", csv("phone,conv(a),1"), "lower-case letters"),
    ],
)
def test_a_bad_table_or_name_is_refused_with_what_is_wrong(
    api: TestClient, name: str, table: str, expected: str
) -> None:
    answer = api.post("/v1/targets", json={"name": name, "table": table})
    assert answer.status_code == 422
    assert expected in answer.json()["detail"]


def test_a_table_is_added_replaced_read_and_removed(api: TestClient) -> None:
    body = {"name": "replaced", "table": csv("phone,conv(a),1.5")}
    first = api.post("/v1/targets", json=body)
    assert (first.status_code, first.headers["Location"]) == (201, "/v1/targets/replaced")
    body["table"] = csv("phone,conv(a),1.5", "phone,conv(b),2")
    assert api.post("/v1/targets", json=body).status_code == 200
    read = api.get("/v1/targets/replaced").json()
    assert (read["kind"], read["state"], read["facts"]["rows"]) == ("table", "online", 2)
    assert api.delete("/v1/targets/replaced").status_code == 204
    assert api.get("/v1/targets/replaced").status_code == 404
    assert "Known: cpu-onnxruntime" in api.delete("/v1/targets/replaced").json()["detail"]


def test_a_machine_is_online_while_it_beats_and_its_name_is_its_own(api: TestClient, database: Database) -> None:
    with database.transaction() as session:
        assert measuring.beat(session, "kitchen", "node-1", FACTS) is None
        assert measuring.beat(session, "kitchen", "node-1", {**FACTS, "cores": 8}) is None
        assert measuring.beat(session, "kitchen", "node-2", FACTS) == "node-1"
    read = api.get("/v1/targets/kitchen").json()
    assert (read["state"], read["facts"]["cores"]) == ("online", 8)
    assert api.post("/v1/targets", json={"name": "kitchen", "table": csv("a,b,1")}).status_code == 409
    with database.transaction() as session:
        measuring.goodbye(session, "kitchen", "node-1")
    assert api.get("/v1/targets/kitchen").json()["state"] == "offline"
    with database.transaction() as session:
        assert measuring.beat(session, "kitchen", "node-2", FACTS) is None


def test_a_node_that_starts_again_on_its_host_takes_its_name_over(database: Database) -> None:
    with database.transaction() as session:
        assert measuring.beat(session, "again", "host:1", FACTS, start=True) is None
        assert measuring.beat(session, "again", "other:1", FACTS, start=True) == "host:1"
        assert measuring.beat(session, "again", "host:2", FACTS, start=True) is None
        assert measuring.beat(session, "again", "host:1", FACTS) == "host:2", "the first one learns that it is replaced"


def test_a_machine_cannot_take_the_name_of_a_table(api: TestClient, database: Database) -> None:
    api.post("/v1/targets", json={"name": "shelf", "table": csv("phone,conv(a),1")})
    with database.transaction() as session:
        assert measuring.beat(session, "shelf", "node-1", FACTS) == "an uploaded table"


def test_a_target_that_a_job_needs_is_not_removed(api: TestClient, database: Database) -> None:
    with database.transaction() as session:
        measuring.beat(session, "needed", "node-1", FACTS)
    job = {"objectives": [{"metric": "latency_ms", "target": "needed"}]}
    answer = api.post("/v1/jobs", json=job)
    assert answer.status_code == 201
    refused = api.delete("/v1/targets/needed")
    assert (refused.status_code, refused.json()["jobs"]) == (409, [answer.json()["id"]])
    api.post(f"/v1/jobs/{answer.json()['id']}/cancel")
    assert api.delete("/v1/targets/needed").status_code == 204
    unknown = api.post("/v1/jobs", json={"objectives": [{"metric": "latency_ms", "target": "needed/cuda-torch"}]})
    assert "There is no target 'needed'" in unknown.json()["detail"]


def test_a_runtime_that_the_machine_has_not_is_refused(api: TestClient, database: Database) -> None:
    with database.transaction() as session:
        measuring.beat(session, "plain", "node-1", FACTS)
    job = {"objectives": [{"metric": "latency_ms", "target": "plain/cuda-torch"}]}
    problem = api.post("/v1/jobs", json=job).json()
    assert "Target plain has no runtime 'cuda-torch'. It has cpu-onnxruntime." in problem["detail"]


def test_a_table_that_lacks_rows_of_the_space_is_refused_with_them(api: TestClient) -> None:
    space = JobSpec.model_validate({"recipe": "bignas"}).supernet.space()
    stem = key_of(next(iter(space.layers(space.smallest()).values())))
    api.post("/v1/targets", json={"name": "lacking", "table": csv(f'phone,"{stem}",1')})
    problem = api.post("/v1/jobs", json={"objectives": [{"metric": "latency_ms", "target": "lacking"}]}).json()
    assert "mbconv(" in problem["detail"]
    assert problem["missing_count"] > 100


def request_on(database: Database, target: str) -> str:
    """A request to measure, of a fresh job."""
    with database.transaction() as session:
        job, _ = submit(session, JobSpec.model_validate({"recipe": "bignas"}), None)
        measurement_id = new_id()
        session.add(
            Measurement(
                id=measurement_id,
                target=target,
                job_id=job.id,
                state="queued",
                request={"models": [], "settings": [], "effort": {}},
                path=f"measure/{measurement_id}.tar",
                sha256="0" * 64,
                size_bytes=0,
                epoch=0,
                attempts=0,
            )
        )
    return measurement_id


def test_a_request_whose_target_vanished_is_taken_up_again_and_the_lost_one_cannot_write(database: Database) -> None:
    measurement_id = request_on(database, "vanishing")
    with database.transaction() as session:
        first = leases.claim(session, Measurement, measurement_id, "node-1", 0.1)
        assert first is not None
        assert leases.claim(session, Measurement, measurement_id, "node-2", 60) is None
    time.sleep(0.2)  # node-1 has lost its power
    with database.transaction() as session:
        assert measurement_id in leases.unheld(session, Measurement, 0)
        second = leases.claim(session, Measurement, measurement_id, "node-1", 60)
        assert second is not None
        assert second.epoch == first.epoch + 1
    with pytest.raises(LeaseLost), database.transaction() as session:
        leases.finish(session, Measurement, measurement_id, first.epoch, {"state": "succeeded"})
    with database.transaction() as session:
        leases.finish(session, Measurement, measurement_id, second.epoch, {"state": "succeeded", "results": []})
        assert measuring.waiting_measurements(session, "vanishing") == 0


def test_a_job_that_starts_again_gives_up_what_it_asked_before(database: Database) -> None:
    measurement_id = request_on(database, "patient")
    with database.transaction() as session:
        row = session.get(Measurement, measurement_id)
        assert row is not None
        assert measuring.waiting_measurements(session, "patient") == 1
        measuring.give_up_requests(session, str(row.job_id))
    with database.transaction() as session:
        assert measuring.waiting_measurements(session, "patient") == 0
        assert leases.claim(session, Measurement, measurement_id, "node-1", 60) is None


def test_the_networks_of_a_request_are_served_while_they_are_there(
    api: TestClient, settings: Settings, database: Database
) -> None:
    measurement_id = request_on(database, "remote")
    assert api.get(f"/v1/measurements/{measurement_id}/networks").status_code == 404
    path = settings.artifacts_dir / "measure" / f"{measurement_id}.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"networks")
    assert api.get(f"/v1/measurements/{measurement_id}/networks").content == b"networks"
    assert api.get("/v1/measurements/unknown/networks").status_code == 404


def test_numbers_of_one_place_are_found_by_later_jobs_and_by_no_other_place(database: Database) -> None:
    row = {"place": "a" * 64, "where": {}, "kind": "layer", "subject": "b" * 64, "what": "conv", "results": [{"x": 1}]}
    with database.transaction() as session:
        measuring.remember_latency(session, row)
        measuring.remember_latency(session, {**row, "results": [{"x": 2}]})
    with database.transaction() as session:
        assert measuring.latencies(session, "a" * 64, "layer", ["b" * 64, "c" * 64]) == {"b" * 64: [{"x": 1}]}
        assert measuring.latencies(session, "c" * 64, "layer", ["b" * 64]) == {}


def test_a_target_needs_no_torch() -> None:
    script = (
        "import sys, workers.target, workers.measuring, workers.supervisor, export.measure.child; "
        "print(sorted({'torch', 'transformers', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
