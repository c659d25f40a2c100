"""What charts are drawn from: columns, the course of a hypervolume, and what happened so far in one answer."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from job.spec import JobSpec
from pipeline.evaluating import row_of
from pipeline.workshop import Workshop
from search.evaluation import Evaluation
from service.api.answers import takes_gzip
from service.store.models import JobState, TrainedSupernet
from service.store.records import CurvePoint
from tests.api import open_api
from tests.conftest import TINY_JOB
from tests.pipeline.test_sharing import running

HOW = {"accuracy": "measured", "macs": "analytic"}


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
