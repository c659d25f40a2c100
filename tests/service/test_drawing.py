"""What charts are drawn from: columns, the course of a hypervolume, and what happened so far in one answer."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete

from job.spec import JobSpec
from pipeline.evaluating import row_of
from pipeline.workshop import Workshop
from predictors.tables import key_of
from search.evaluation import Evaluation
from search_space.distinct import some_networks
from service.api.answers import takes_gzip
from service.store.models import Finalist, JobState, Latency, Target, TrainedSupernet
from service.store.records import CurvePoint
from tests.api import open_api
from tests.conftest import TINY_JOB
from tests.pipeline.test_sharing import running

HOW = {"accuracy": "measured", "macs": "analytic"}
TIMED = {"accuracy": "measured", "latency_ms": "measured"}


def searched(database: Any, settings: Any, accuracies: list[float], **parts: Any) -> Workshop:
    """A job that has evaluated networks of these accuracies, each dearer than the one before."""
    shop = running(database, settings, JobSpec.model_validate({**TINY_JOB, **parts}))
    space, rng = shop.spec.space(), np.random.default_rng(0)
    for number, accuracy in enumerate(accuracies):
        network = space.sample(rng)
        shop.reporter.evaluation(row_of(Evaluation(network, {"accuracy": accuracy, "macs": 1000.0 + number}, HOW), 0.1))
    return shop


@pytest.fixture
def api(settings: Any) -> Any:
    with open_api(settings) as opened:
        yield opened


def test_columns_are_the_evaluations(database: Any, settings: Any, api: TestClient) -> None:
    shop = searched(database, settings, [0.123456789, float("nan"), 0.9])
    base = f"/v1/jobs/{shop.job_id}/evaluations"
    rows = api.get(base).json()["evaluations"]
    found = api.get(f"{base}/columns").json()
    assert found["ids"] == [row["architecture_id"] for row in rows]
    assert (found["after"], found["last"]) == (0, 3)
    assert found["metrics"] == {"accuracy": [0.1234568, None, 0.9], "macs": [1000, 1001, 1002]}
    assert found["sources"] == {"accuracy": "measured", "macs": "analytic"}
    later = api.get(f"{base}/columns?after=2").json()
    assert (later["ids"], later["last"]) == (found["ids"][2:], 3)
    assert api.get(f"{base}/columns?after=3").json() == {"after": 3, "last": 3, "ids": [], "metrics": {}, "sources": {}}


def test_columns_are_compressed_and_known_by_their_tag(database: Any, settings: Any, api: TestClient) -> None:
    shop = searched(database, settings, np.linspace(0.1, 0.9, 40).tolist())
    path = f"/v1/jobs/{shop.job_id}/evaluations/columns"
    plain = api.get(path, headers={"Accept-Encoding": "identity"})
    with api.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    known = {"If-None-Match": plain.headers["etag"]}
    assert api.get(path, headers=known).status_code == 304
    shop.reporter.evaluation(row_of(Evaluation(shop.spec.space().largest(), {"accuracy": 1.0}, HOW), 0.1))
    after = api.get(path, headers=known)
    assert after.status_code == 200
    assert after.json()["metrics"]["macs"][-1] is None
    assert after.json()["sources"]["macs"] == ["analytic"] * 40 + [None]


def test_gzip_is_given_to_who_takes_it() -> None:
    assert takes_gzip("deflate, GZIP;q=0.5")
    assert takes_gzip("*")
    assert not takes_gzip("gzip;q=0")
    assert not takes_gzip("br")
    assert not takes_gzip(None)


def test_a_hypervolume_grows_beside_a_random_search_of_the_same_supernet(
    database: Any, settings: Any, api: TestClient
) -> None:
    shop = searched(database, settings, [0.2, 0.5, 0.4, 0.9])
    path = f"/v1/jobs/{shop.job_id}/hypervolume"
    alone = api.get(path).json()
    assert alone["ideal"] == {"accuracy": 0.9, "macs": 1000.0}
    assert [number for number, _ in alone["own"]["points"]] == [1, 2, 4]
    assert alone["own"]["points"][-1][1] < 1
    assert alone["random"] is None

    with database.transaction() as session:
        facts = {"name": "n", "recipe": "bignas", "space": "s", "supernet": {}, "data": {}, "training": {}}
        more = {"curve": [], "metric": "accuracy", "scores": {}, "step": 1, "path": "p", "sha256": "0", "size_bytes": 1}
        session.add(TrainedSupernet(id="net", job_id=shop.job_id, **facts, **more))
    search = {**TINY_JOB["search"], "algorithm": "random", "options": {}}  # type: ignore[dict-item]
    rival = searched(database, settings, [0.3, 0.6], search=search)
    with database.transaction() as session:
        from service.jobs import get

        job = get(session, rival.job_id)
        job.spec = {**job.spec, "supernet": {**job.spec["supernet"], "reuse": "net"}}
    shop.reporter.evaluation(row_of(Evaluation(shop.spec.space().smallest(), {"accuracy": 0.1, "macs": 1.0}, HOW), 0.1))
    beside = api.get(path).json()
    assert beside["random"]["job_id"] == rival.job_id
    assert beside["random"]["evaluations"] == 2
    assert 0 < beside["random"]["points"][-1][1] < beside["own"]["points"][-1][1]


def test_without_a_network_within_the_limits_there_is_no_course(database: Any, settings: Any, api: TestClient) -> None:
    goals = [{"metric": "accuracy"}, {"metric": "macs", "limit": 10_000}]
    shop = searched(database, settings, [], objectives=goals)
    shop.reporter.evaluation(row_of(Evaluation(shop.spec.space().largest(), {"accuracy": 0.9, "macs": 1e6}, HOW), 0.1))
    found = api.get(f"/v1/jobs/{shop.job_id}/hypervolume").json()
    assert (found["own"], found["ideal"], found["corner"]) == (None, {}, {})


def test_history_is_what_the_stream_would_tell_without_evaluations(
    database: Any, settings: Any, api: TestClient
) -> None:
    shop = searched(database, settings, [0.5, 0.6])
    shop.reporter.record(CurvePoint(epoch=1, loss=0.5))
    shop.reporter.end(JobState.SUCCEEDED, None)
    found = api.get(f"/v1/jobs/{shop.job_id}/history").json()
    told = api.get(f"/v1/jobs/{shop.job_id}/events").text
    kinds = [event["kind"] for event in found["events"]]
    assert "curve" in kinds
    assert "evaluation" not in kinds
    assert told.count("event: evaluation") == 2
    assert told.count("\nid: ") + told.startswith("id: ") == found["last"]
    assert [event["data"]["state"] for event in found["events"] if event["kind"] == "state"][-1] == "succeeded"
    assert found["left_out"] == 0
    # What a stream after the last number tells: where the job is, and nothing that happened before.
    rest = api.get(f"/v1/jobs/{shop.job_id}/events?after={found['last']}").text
    assert [line for line in rest.splitlines() if line.startswith("event:")] == ["event: job"]


# --- several jobs, and one network -------------------------------------------------------------------


def test_fronts_are_compared_from_one_corner(database: Any, settings: Any, api: TestClient) -> None:
    better = searched(database, settings, [0.5, 0.9])
    worse = searched(database, settings, [0.4, 0.8])
    found = api.get("/v1/hypervolumes", params={"job": [better.job_id, worse.job_id]}).json()
    assert found["metrics"] == ["accuracy", "macs"]
    assert found["ideal"] == {"accuracy": 0.9, "macs": 1000}
    first, second = found["jobs"]
    assert (first["id"], second["id"]) == (better.job_id, worse.job_id)
    assert 0 < second["share"] < first["share"] < 1
    assert second["only"] == pytest.approx(0)
    assert first["only"] == pytest.approx(first["share"] - second["share"])


def test_a_job_without_a_front_has_no_share(database: Any, settings: Any, api: TestClient) -> None:
    one, none = searched(database, settings, [0.5]), searched(database, settings, [])
    shares = [job["share"] for job in api.get(f"/v1/hypervolumes?job={one.job_id}&job={none.job_id}").json()["jobs"]]
    assert shares[0] > 0
    assert shares[1] is None
    assert api.get(f"/v1/hypervolumes?job={none.job_id}").json()["corner"] == {}


def test_fronts_that_share_no_two_objectives_are_refused(database: Any, settings: Any, api: TestClient) -> None:
    one = searched(database, settings, [0.5])
    latency = [{"metric": "accuracy"}, {"metric": "latency_ms"}]
    other = searched(database, settings, [], objectives=latency)
    network = other.spec.space().smallest()
    other.reporter.evaluation(row_of(Evaluation(network, {"accuracy": 0.5, "latency_ms": 1.0}, TIMED), 0.1))
    answer = api.get(f"/v1/hypervolumes?job={one.job_id}&job={other.job_id}")
    assert answer.status_code == 422
    assert f"{other.job_id} has accuracy, latency_ms" in answer.json()["detail"]
    assert api.get("/v1/hypervolumes").status_code == 422
    assert api.get("/v1/hypervolumes?job=none").status_code == 404


def test_layers_stand_beside_the_largest_networks(database: Any, settings: Any, api: TestClient) -> None:
    shop = searched(database, settings, [])
    space = shop.spec.space()
    small = space.smallest()
    shop.reporter.evaluation(row_of(Evaluation(small, {"accuracy": 0.5, "macs": 1.0}, HOW), 0.1))
    found = api.get(f"/v1/jobs/{shop.job_id}/architectures/{small.id}/layers").json()
    assert [layer["slot"] for layer in found["layers"]] == list(space.layers(small))
    assert [layer["slot"] for layer in found["largest"]] == list(space.layers(space.largest()))
    assert found["latency"] is None
    assert api.get(f"/v1/jobs/{shop.job_id}/architectures/none/layers").status_code == 404


@pytest.mark.parametrize("threads", [1, 4])
def test_layers_have_the_latency_that_was_measured_under_the_jobs_conditions(
    database: Any, settings: Any, api: TestClient, threads: int
) -> None:
    goals = [{"metric": "accuracy"}, {"metric": "latency_ms", "target": "cpu-torch"}]
    shop = searched(database, settings, [], objectives=goals)
    space = shop.spec.space()
    small = space.smallest()
    shop.reporter.evaluation(row_of(Evaluation(small, {"accuracy": 0.5, "latency_ms": 1.0}, TIMED), 0.1))
    place = {"device": "a cpu", "runtime": "cpu-torch", "threads": 1, "batch": 1}
    finalist = {"metrics": {}, "sources": {}, "intervals": {}, "position": None}
    with database.transaction() as session:
        measured = [{**place, "threads": threads, "median_ms": 1.0}]
        session.add(Finalist(job_id=shop.job_id, architecture_id=small.id, measurements=measured, **finalist))
        stem, *others = space.layers(small).values()
        row = {"kind": "layer", "where": place, "results": [{"median_ms": 0.25, "interval_ms": [0.2, 0.3]}]}
        session.execute(delete(Latency))
        session.add(Latency(place="here", subject="0", what=key_of(stem), **row))
    found = api.get(f"/v1/jobs/{shop.job_id}/architectures/{small.id}/layers").json()["latency"]
    if threads != 1:  # nobody measured layers with as many
        assert found is None
        return
    assert found["source"] == "measured"
    assert found["layers"] == [{"slot": "stem", "latency_ms": 0.25, "interval_ms": [0.2, 0.3]}]
    assert len(found["missing"]) == len(others)
    assert found["conditions"]["device"] == "a cpu"


def test_layers_have_the_latency_of_an_uploaded_table(database: Any, settings: Any, api: TestClient) -> None:
    space = JobSpec.model_validate(TINY_JOB).space()
    small = space.smallest()
    keys = dict.fromkeys(key_of(spec) for one in some_networks(space) for spec in space.layers(one).values())
    table = "target,key,latency_ms\n" + "".join(f'pocket,"{key}",0.5\n' for key in keys)
    with database.transaction() as session:
        session.merge(Target(name="pocket", kind="table", facts={}, table=table))
    goals = [{"metric": "accuracy"}, {"metric": "latency_ms", "target": "pocket"}]
    shop = running(database, settings, JobSpec.model_validate({**TINY_JOB, "objectives": goals}))
    shop.reporter.evaluation(row_of(Evaluation(small, {"accuracy": 0.5, "latency_ms": 1.0}, TIMED), 0.1))
    found = api.get(f"/v1/jobs/{shop.job_id}/architectures/{small.id}/layers").json()["latency"]
    assert (found["source"], found["target"]) == ("predicted", "pocket")
    assert found["sum_ms"] == pytest.approx(0.5 * len(space.layers(small)))


def test_a_network_has_a_page(database: Any, settings: Any, api: TestClient) -> None:
    shop = searched(database, settings, [0.5])
    name = api.get(f"/v1/jobs/{shop.job_id}/evaluations").json()["evaluations"][0]["architecture_id"]
    page = api.get(f"/jobs/{shop.job_id}/networks/{name}")
    assert page.status_code == 200
    assert f'"architecture_id": "{name}"' in page.text
    assert api.get(f"/jobs/{shop.job_id}/networks/none").status_code == 404
    assert api.get("/jobs/none/networks/none").status_code == 404
    assert api.get("/compare").status_code == 200


# --- what a form is made of --------------------------------------------------------------------------


def test_a_form_has_a_schema_with_help_and_words_of_every_recipe(api: TestClient) -> None:
    schema = api.get("/v1/catalog/job").json()
    assert {"recipe", "supernet", "data", "training", "objectives", "search"} <= schema["properties"].keys()
    assert schema["$defs"]["SearchSpec"]["properties"]["evaluations"]["maximum"] == 100_000
    catalog = api.get("/v1/catalog").json()
    assert catalog["recipe_words"].keys() == catalog["recipes"].keys()
    assert catalog["recipe_words"]["bignas"]["title"].startswith("BigNAS (arXiv 2003.11142): ")
    assert catalog["export_loads"].keys() == catalog["export_formats"].keys()


def test_a_job_is_estimated_and_not_stored(api: TestClient) -> None:
    before = len(api.get("/v1/jobs?limit=200").json()["jobs"])
    found = api.post("/v1/estimate", json=TINY_JOB).json()
    assert found["disk_bytes"] > 0
    assert found["told"]
    assert len(api.get("/v1/jobs?limit=200").json()["jobs"]) == before
    assert api.post("/v1/estimate", json={**TINY_JOB, "supernet": {"reuse": "none"}}).status_code == 404
