"""`POST /v1/shrink` and what it takes: decided, estimated from earlier jobs, and never a traceback."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from job.paths import POLICY, PathPolicy
from job.spec import JobSpec
from service import jobs
from service.counted import likely_examples, pace
from service.estimate import estimate
from service.settings import Settings
from service.shrink_commands import _show, beside_the_original, changes
from service.store.models import EvaluationRow, JobRecord, JobState, Stage, TrainedSupernet
from service.store.records import StageBegan
from service.store.session import Database
from service.work import START_TERM, Work
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
        assert found.seconds == pytest.approx(60 + 16 + 1 + 9)  # 5 finalists of 4 networks, 9 of 8
        assert found.jobs == 2

    def test_more_networks_measured_for_longer_take_longer_than_earlier_jobs_did(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.estimate.LOOKED_AT", 1)
        goals = {"objectives": [{"metric": "accuracy"}, {"metric": "latency_ms"}], "hardware": {"max_layers": 0}}
        stages = {"prepare data": 1.0, "train supernet": 10.0, "measure hardware": 100.0, "search": 8.0}
        finish(database, stages, **goals)
        measured = {"networks": 80, "seconds": 4, "max_layers": 0}

        with database.transaction() as session:
            same = estimate(session, JobSpec.model_validate({**DIGITS, **goals}), None)
            more = estimate(session, JobSpec.model_validate({**DIGITS, **goals, "hardware": measured}), None)

        before, after = (
            next(one.seconds for one in found.stages if one.stage == "measure hardware") for found in (same, more)
        )
        assert before == pytest.approx(100)
        assert after == pytest.approx(300)  # twice the networks, and 6 seconds for 4 each: export and measuring

    def test_the_export_after_a_job_is_part_of_what_is_told(self, database: Database) -> None:
        asked = JobSpec.model_validate(DIGITS)
        with database.transaction() as session:
            one, two = (estimate(session, asked, None, count=True, exports=count) for count in (1, 2))
        assert [found.stages[-1].stage for found in (one, two)] == ["export", "export"]
        assert one.seconds is not None
        assert two.seconds is not None
        assert one.seconds < two.seconds

    def test_a_stage_that_was_begun_twice_tells_nothing(self, database: Database) -> None:
        before = finish(database, {"prepare data": 1.0, "train supernet": 9.0, "search": 8.0}, name="cut off")
        with database.transaction() as session:
            late = BEGAN + timedelta(hours=9)
            begin(session, before, "search", 2, late)
            found = estimate(session, JobSpec.model_validate({**DIGITS, "search": {"evaluations": 8}}), None)

        search = next((one for one in found.stages if one.stage == "search"), None)
        assert search is None or search.high < 60

    def test_what_nobody_knows_is_said(self, database: Database) -> None:
        asked = JobSpec.model_validate({"recipe": "llama_nas", "data": {"source": "text", "path": "/tmp/nowhere.txt"}})

        with database.transaction() as session:
            found = [estimate(session, asked, None, count=count) for count in (False, True)]

        for one in found:
            assert one.seconds is None
            assert "Not known: train supernet" in one.told
            assert one.disk_bytes > 0

    def test_before_the_first_job_the_work_is_counted(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.estimate.LOOKED_AT", 0)
        asked = JobSpec.model_validate(DIGITS)

        with database.transaction() as session:
            found = estimate(session, asked, None, count=True)
            longer = estimate(
                session,
                asked.model_copy(update={"search": asked.search.model_copy(update={"evaluations": 400})}),
                None,
                count=True,
            )

        assert found.seconds is not None
        assert found.low == pytest.approx(found.seconds / 3)
        assert found.high == pytest.approx(found.seconds * 3)
        assert longer.seconds is not None
        assert longer.seconds > found.seconds
        assert "No job has finished" in found.told
        assert "1,078 examples" in found.told

    def test_only_what_no_earlier_job_tells_is_counted(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("service.estimate.LOOKED_AT", 1)
        stages = {"prepare data": 1.0, "train supernet": 10.0, "search": 8.0, "measure finalists": 5.0}
        finish(database, stages)
        asked = JobSpec.model_validate({**DIGITS, "healing": {"networks": "knee", "minutes": 2}})

        with database.transaction() as session:
            found = estimate(session, asked, None, count=True)
            without = estimate(session, asked, None)

        times = {one.stage: one.seconds for one in found.stages}
        assert times["heal"] == pytest.approx(120, abs=5)  # and what is scored before and after
        assert times["train supernet"] == pytest.approx(10)
        assert "The time of heal is counted" in found.told
        assert without.seconds is None


class TestCounted:
    """Work is counted in the units that a stage's time grows with."""

    def counted(self, pace: float = 1e9, examples: int | None = 1000, **changed: Any) -> Work:
        spec = JobSpec.model_validate({**DIGITS, **changed})
        return Work(spec, spec.space(), examples, pace)

    @pytest.mark.parametrize(
        ("stage", "term", "more"),
        [
            (Stage.TRAIN_SUPERNET, "training", {"training": {"epochs": 4}}),
            (Stage.SEARCH, "evaluations", {"search": {"evaluations": 8}}),
            (Stage.MEASURE_HARDWARE, "networks", {"hardware": {"networks": 80}}),
        ],
    )
    def test_twice_the_work_takes_twice_as_long(self, stage: Stage, term: str, more: dict[str, Any]) -> None:
        always: dict[str, Any] = {
            "objectives": [{"metric": "accuracy"}, {"metric": "latency_ms"}],
            "hardware": {"networks": 40},
        }
        once, twice = (self.counted(**{**always, **part}).terms(stage)[term] for part in ({}, more))
        assert once is not None
        assert twice == pytest.approx(2 * once)

    def test_the_start_of_a_stage_is_no_unit_of_its_work(self) -> None:
        one = self.counted()
        start = one.terms(Stage.SEARCH)[START_TERM]
        assert (one.seconds(Stage.SEARCH) or 0) - (one.units(Stage.SEARCH) or 0) == pytest.approx(start)

    def test_a_faster_machine_is_faster(self) -> None:
        slow, fast = (self.counted(pace).seconds(Stage.TRAIN_SUPERNET) for pace in (1e9, 1e12))
        assert slow is not None
        assert fast is not None
        assert slow > fast

    def test_a_training_that_nobody_can_count(self) -> None:
        assert self.counted(examples=None).seconds(Stage.TRAIN_SUPERNET) is None

    def test_examples_are_those_of_the_files(self, tmp_path: Path) -> None:
        (tmp_path / "rows.tsv").write_bytes(b"x" * 5000)
        data = {"source": "labelled_text", "path": str(tmp_path)}
        base = {"recipe": "bignas", "supernet": {"family": "bert", "preset": "tiny", "classes": 2}}
        assert likely_examples(JobSpec.model_validate({**base, "data": data})) == 50
        assert likely_examples(JobSpec.model_validate({**base, "data": {**data, "limit": 20}})) == 20
        assert likely_examples(JobSpec.model_validate({**base, "data": {**data, "path": "/nowhere"}})) is None

    def test_files_that_are_closed_are_not_weighed(self, tmp_path: Path) -> None:
        (tmp_path / "rows.tsv").write_bytes(b"x" * 5000)
        data = {"source": "labelled_text", "path": str(tmp_path)}
        supernet = {"family": "bert", "preset": "tiny", "classes": 2}
        spec = JobSpec.model_validate({"recipe": "bignas", "supernet": supernet, "data": data})
        token = POLICY.set(PathPolicy((tmp_path / "open",)))
        try:
            assert likely_examples(spec) is None
        finally:
            POLICY.reset(token)

    def test_the_pace_of_this_machine(self) -> None:
        assert pace() > 0
        assert pace() == pace()


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

    def test_what_one_would_type_is_never_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        narrow = Console(width=60, file=io.StringIO(), highlight=False, markup=False)
        monkeypatch.setattr("service.shrink_commands.console", narrow)
        decision = {"what": "classes", "value": "3", "why": "folders of the data", "change": "supernet.classes"}
        takes = {
            "seconds": 690.0,
            "low": 230.0,
            "high": 2070.0,
            "told": "From 1 earlier job.",
            "disk_bytes": 14_200_000,
        }

        _show({"decisions": [decision], "warnings": ["Only about 4 samples."], "estimate": takes})

        printed = narrow.file.getvalue()
        column = "".join(line.split("│")[4].strip() for line in printed.splitlines() if line.startswith("│"))
        assert column == "--setsupernet.classes=..."
        assert "Takes 4 to 35 min." in printed
        assert "Only about 4 samples." in printed

    def test_the_chosen_network_stands_beside_the_original(self) -> None:
        front = {
            "points": [
                {
                    "architecture_id": "x",
                    "metrics": {"accuracy": 0.5, "macs": 10.0},
                    "intervals": {"accuracy": [0.4, 0.6]},
                }
            ],
            "reference": {"name": "checkpoint", "metrics": {"accuracy": 0.6, "macs": 25.0}},
        }

        table = beside_the_original(front, "x")

        assert list(table.columns[1].cells) == ["50.00 % ±10.0", "10"]
        assert list(table.columns[2].cells) == ["60.00 %", "25"]
        assert list(table.columns[3].cells) == ["1.20", "2.50"]


def test_folders_are_looked_at_where_the_api_is(api: TestClient, tmp_path_factory: pytest.TempPathFactory) -> None:
    pets = tmp_path_factory.mktemp("pets")  # not in the data folder of the installation, which is closed
    for name in ("cat", "dog"):
        (pets / name).mkdir()
        (pets / name / "1.jpg").write_bytes(b"")

    plan = api.post("/v1/shrink", json={"model": "mobilenet/cifar", "data": str(pets)}).json()

    assert plan["job"]["supernet"]["classes"] == 2
    assert plan["job"]["data"]["source"] == "images"
    assert [text for text in plan["warnings"] if "validation samples" in text] == plan["warnings"]
