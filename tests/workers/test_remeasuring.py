"""One network of a finished job is measured again, and what was measured before stays; on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from pipeline import finalists
from service.settings import Settings
from service.store.models import Job
from service.store.session import Database
from tests.api import open_api
from tests.proxyless.test_strategy import table
from tests.workers.conftest import Ended
from tests.workers.test_faults import HEALED, QUANTIZED, Bench, every_report_is_a_transaction
from tests.workers.test_healing import Made

__all__ = ["every_report_is_a_transaction"]


@pytest.fixture
def settings(settings: Settings, shared_folder: Path) -> Settings:
    """With the folder of jobs that have ended."""
    return settings.model_copy(update={"data_dir": shared_folder})


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with open_api(settings) as client:
        yield client


def finished(database: Database, settings: Settings, spec: dict[str, Any]) -> Bench:
    bench = Bench(database, settings.data_dir, spec)
    bench.run()
    assert bench.job().state == "succeeded", bench.job().message
    return bench


def measured_again(api: TestClient, bench: Bench, network: str) -> dict[str, Any]:
    answer = api.post(f"/v1/jobs/{bench.id}/architectures/{network}/measure")
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def readings(api: TestClient, bench: Bench, network: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/v1/jobs/{bench.id}/architectures/{network}/readings").json()["readings"]
    return found


@pytest.mark.thorough
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({**HEALED, "healing": None}, id="plain", marks=pytest.mark.thorough),
        pytest.param({**HEALED, "objectives": [{"metric": "accuracy", "limit": 0.0}, {"metric": "macs"}]}, id="healed"),
        pytest.param(QUANTIZED, id="policies", marks=pytest.mark.thorough),
    ],
)
def test_another_measurement_stands_beside_the_first(
    api: TestClient, database: Database, settings: Settings, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = finished(database, settings, spec)
    front = api.get(f"/v1/jobs/{bench.id}/front").json()
    network = front["points"][0]["architecture_id"]
    (first,) = readings(api, bench, network)
    assert first["measurements"][0]["median_ms"] == 1.0
    assert first["measured_at"] is not None

    answer = measured_again(api, bench, network)
    assert (answer["parent_id"], answer["parent_verb"]) == (bench.id, "measure")
    assert answer["name"] == f"{network} measured again"
    waiting = readings(api, bench, network)[1]
    assert (waiting["state"], waiting["measured_at"], waiting["measurements"]) == ("queued", None, [])

    class Slower:
        def __init__(self, _runtime: Any) -> None:
            self.place: dict[str, Any] = {}

        def measure(self, models: Any, *_asked: Any) -> list[Any]:
            return [[{"median_ms": 1.5}] for _ in models]

    monkeypatch.setattr(finalists, "LocalBench", Slower)
    made = Made(bench, answer["id"])
    stages = {stage for stage, _ in made.run()}
    assert made.job().state == "succeeded", made.job().message
    assert not stages & {"measure baselines", "heal"}
    old, new = readings(api, bench, network)
    assert old == first
    assert new["job_id"] == made.id
    assert new["measurements"][0]["median_ms"] == 1.5
    assert new["metrics"]["latency_ms"] == 1.5
    assert new["measured_at"] > old["measured_at"]
    # The front of before is as it was, and other networks were not measured.
    assert api.get(f"/v1/jobs/{bench.id}/front").json() == front
    other = next(one["architecture_id"] for one in front["points"] if one["architecture_id"] != network)
    assert [one["job_id"] for one in readings(api, bench, other)] == [bench.id]


def test_what_cannot_be_measured_again_is_refused(
    api: TestClient, database: Database, ended: Ended, tmp_path: Path
) -> None:
    bench = ended("not healed", {**HEALED, "healing": None})
    before = bench.job().spec
    network = api.get(f"/v1/jobs/{bench.id}/front").json()["points"][0]["architecture_id"]
    base = f"/v1/jobs/{bench.id}/architectures"
    for path in ("measure", "readings"):
        answer = (api.post if path == "measure" else api.get)(f"{base}/nonsuch/{path}")
        assert (answer.status_code, "has not evaluated" in answer.json()["detail"]) == (404, True)
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == bench.id).values(state="failed"))
    answer = api.post(f"{base}/{network}/measure")
    assert (answer.status_code, "cannot be measured again" in answer.json()["detail"]) == (409, True)

    name = f"phone-{bench.id}"  # other tests of this database have phones, too
    rows = Path(table(tmp_path, name, 40, 0.01)).read_text()
    assert api.post("/v1/targets", json={"name": name, "table": rows}).status_code == 201
    goals = [{"metric": "accuracy", "target": None, "goal": None, "limit": None}]
    goals.append({"metric": "latency_ms", "target": name, "goal": None, "limit": None})
    with database.transaction() as session:
        job = session.get(Job, bench.id)
        assert job is not None
        job.state, job.spec = "succeeded", {**job.spec, "objectives": goals}
    answer = api.post(f"{base}/{network}/measure")
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == bench.id).values(state="succeeded", spec=before))
    assert (answer.status_code, "is an uploaded table" in answer.json()["detail"]) == (409, True)


def test_the_same_request_makes_one_job(api: TestClient, ended: Ended) -> None:
    bench = ended("not healed", {**HEALED, "healing": None})
    network = api.get(f"/v1/jobs/{bench.id}/front").json()["points"][0]["architecture_id"]
    path, headers = f"/v1/jobs/{bench.id}/architectures/{network}/measure", {"Idempotency-Key": "once"}
    first, second = (api.post(path, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]


@pytest.mark.thorough
def test_jobs_that_searched_a_supernet_are_listed(
    api: TestClient, database: Database, settings: Settings, ended: Ended
) -> None:
    bench = finished(database, settings, {**HEALED, "healing": None, "name": "another"})
    other = ended("not healed", {**HEALED, "healing": None})
    network = api.get(f"/v1/jobs/{bench.id}/front").json()["points"][0]["architecture_id"]
    again = measured_again(api, bench, network)["id"]
    further = api.post(f"/v1/jobs/{bench.id}/extend").json()["id"]

    def listed(**filters: Any) -> list[str]:
        jobs = api.get("/v1/jobs", params={"supernet": bench.id, **filters}).json()
        return [one["id"] for one in jobs["jobs"]]

    assert listed() == [further, again, bench.id]
    assert listed(state="succeeded") == [bench.id]
    assert listed(limit=1) == [further]
    assert api.get("/v1/jobs", params={"supernet": other.id}).json()["jobs"][-1]["id"] == other.id
    assert api.get("/v1/jobs", params={"supernet": "nonsuch"}).json()["jobs"] == []
