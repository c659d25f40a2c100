"""`POST /v1/shrink` and what it takes: decided, estimated from earlier jobs, and never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from job.spec import JobSpec
from service import jobs
from service.estimate import estimate
from service.settings import Settings
from service.shrink_commands import beside_the_original, changes
from service.store.models import EvaluationRow, JobRecord, JobState, Stage, TrainedSupernet
from service.store.records import StageBegan
from service.store.session import Database
from tests.api import open_api

DIGITS = {"recipe": "bignas", "training": {"epochs": 2}, "search": {"evaluations": 4}}
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with open_api(settings) as client:
        yield client


def begin(session: Session, job_id: str, stage: str, run: int, at: datetime) -> None:
    """A run began a stage then."""
    record = StageBegan(stage=Stage(stage), run=run)
    session.flush()
    number = session.scalar(select(func.count()).where(JobRecord.job_id == job_id, JobRecord.kind == record.kind))
    facts = {"version": 1, "data": record.data(), "number": (number or 0) + 1, "created_at": at}
    session.add(JobRecord(job_id=job_id, kind=record.kind, key=record.key, **facts))


def finish(database: Database, seconds: dict[str, float], **changed: Any) -> str:
    """A job of digits that has succeeded, and whose stages took so long."""
    spec = JobSpec.model_validate({**DIGITS, **changed})
    with database.transaction() as session:
        job, _ = jobs.submit(session, spec, None)
        at = BEGAN
        for stage, lasted in seconds.items():
            begin(session, job.id, stage, 1, at)
            at += timedelta(seconds=lasted)
        job.state, job.finished_at = JobState.SUCCEEDED, at
        for number in range(4):
            session.add(
                EvaluationRow(
                    job_id=job.id,
                    architecture_id=f"a{number}",
                    number=number + 1,
                    values={},
                    metrics={},
                    sources={},
                    seconds=1,
                    epoch=0,
                )
            )
        parts = spec.model_dump(mode="json")
        session.add(
            TrainedSupernet(
                id=job.id,
                job_id=job.id,
                name="",
                recipe="bignas",
                space="mobilenet/digits",
                supernet=parts["supernet"],
                data=parts["data"],
                training=parts["training"],
                curve=[],
                metric="accuracy",
                scores={},
                step=40,
                path="x",
                sha256="x",
                size_bytes=1,
            )
        )
        return job.id


class TestEstimate:
    def test_work_is_scaled_and_the_spread_is_that_of_earlier_jobs(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.estimate.LOOKED_AT", 2)  # not at jobs of other tests in the same database
        stages = {"prepare data": 1.0, "train supernet": 10.0, "search": 8.0, "measure finalists": 5.0}
        finish(database, stages)
        finish(database, {**stages, "train supernet": 30.0})
        asked = JobSpec.model_validate({**DIGITS, "training": {"epochs": 6}, "search": {"evaluations": 8}})

        with database.transaction() as session:
            found = estimate(session, asked, None)

        times = {one.stage: (one.low, one.seconds, one.high) for one in found.stages}
        assert times["train supernet"] == pytest.approx((30, 60, 90))  # three times the epochs
        assert times["search"] == pytest.approx((16, 16, 16))  # twice the networks
        assert found.seconds == pytest.approx(60 + 16 + 1 + 5)
        assert found.jobs == 2

    def test_a_stage_that_was_begun_twice_tells_nothing(self, database: Database) -> None:
        before = finish(database, {"prepare data": 1.0, "train supernet": 9.0, "search": 8.0}, name="cut off")
        with database.transaction() as session:
            late = BEGAN + timedelta(hours=9)
            begin(session, before, "search", 2, late)
            found = estimate(session, JobSpec.model_validate({**DIGITS, "search": {"evaluations": 8}}), None)

        search = next((one for one in found.stages if one.stage == "search"), None)
        assert search is None or search.high < 60

    def test_what_no_earlier_job_tells_is_said(self, database: Database) -> None:
        asked = JobSpec.model_validate({"recipe": "llama_nas", "data": {"source": "text", "path": "/tmp/nowhere.txt"}})

        with database.transaction() as session:
            found = estimate(session, asked, None)

        assert found.seconds is None
        assert "train supernet" in found.told or "No job has finished" in found.told
        assert found.disk_bytes > 0


class TestRoute:
    def test_the_job_that_is_planned_is_one_that_is_taken(self, api: TestClient) -> None:
        asked = {"model": "mobilenet/digits", "data": "digits", "under": {"latency_ms": 0.5}}

        plan = api.post("/v1/shrink", json=asked).json()

        assert api.post("/v1/jobs", json=plan["job"]).status_code == 201
        assert plan["rule"] == {"pick": "as_good", "under": {"latency_ms": 0.5}}
        assert {one["what"] for one in plan["decisions"]} >= {"recipe", "training", "search"}

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"model": "vit"}, "Name one"),
            ({"model": "/nowhere/model"}, "below a folder that is open"),
            ({"data": "/nowhere/data"}, "below a folder that is open"),
            ({"data": "mnist"}, "digits"),
            ({"under": {"latency_ms": -1}}, "must not be negative"),
            ({"under": {"speed": 1}}, "latency_ms"),
            ({"under": {"macs": 1}}, "No architecture of mobilenet/digits"),
            ({"device": "/dev/null"}, "target"),
            ({"changes": {"training": {"epochs": "many"}}}, "training.epochs"),
            ({"changes": {"supernet": 3}}, "supernet"),
            ({"changes": {"recipe": "nobody"}}, "nobody"),
        ],
    )
    def test_a_bad_request_is_a_sentence(self, api: TestClient, changed: dict[str, Any], told: str) -> None:
        answer = api.post("/v1/shrink", json={"model": "mobilenet/digits", "data": "digits", **changed})

        assert answer.status_code == 422
        assert told in answer.json()["detail"]


class TestWords:
    def test_changes_are_parts_of_a_job(self) -> None:
        assert changes(["training.epochs=3", "search.options.population=12", "recipe=bignas"]) == {
            "training": {"epochs": 3},
            "search": {"options": {"population": 12}},
            "recipe": "bignas",
        }

    @pytest.mark.parametrize("words", [["epochs"], ["=3"], ["training.=3"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a=["]])
    def test_words_that_are_no_changes(self, words: list[str]) -> None:
        with pytest.raises(ValueError, match="--set"):
            changes(words)

    def test_the_chosen_network_stands_beside_the_original(self) -> None:
        front = {
            "points": [{"architecture_id": "x", "metrics": {"accuracy": 0.5, "macs": 10.0}}],
            "reference": {"name": "checkpoint", "metrics": {"accuracy": 0.6, "macs": 25.0}},
        }

        table = beside_the_original(front, "x")

        assert list(table.columns[3].cells) == ["1.20", "2.50"]


def test_folders_are_looked_at_where_the_api_is(api: TestClient, tmp_path_factory: pytest.TempPathFactory) -> None:
    pets = tmp_path_factory.mktemp("pets")  # not in the data folder of the installation, which is closed
    for name in ("cat", "dog"):
        (pets / name).mkdir()
        (pets / name / "1.jpg").write_bytes(b"")

    plan = api.post("/v1/shrink", json={"model": "mobilenet/cifar", "data": str(pets)}).json()

    assert plan["job"]["supernet"]["classes"] == 2
    assert plan["job"]["data"]["source"] == "images"
