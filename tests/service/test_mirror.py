"""Mirrors: what a job finds out reaches a tracker, and no tracker reaches the job."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import select

from pipeline.reporter import Reporter
from service import mirror, mirrors
from service.mirror import Mirror, MirroredRun, Tracker, facts_of, mirror_of, reason_of
from service.settings import Settings
from service.store import leases
from service.store.models import EvaluationRow, Job, JobEvent, JobState, Stage
from service.store.records import CurvePoint, FrontRecord, HealingPoint, OnFront
from service.store.session import Database
from tests.api import BASE, open_api
from tests.conftest import TINY_JOB

NAMES = sorted(path.stem for path in Path(mirrors.__file__).parent.glob("*.py") if path.stem != "__init__")


@dataclass
class Heard:
    """A tracker that remembers."""

    entries: list[tuple[str, object]] = field(default_factory=list)
    closed: list[JobState | None] = field(default_factory=list)

    def numbers(self, group: str, step: int, values: Mapping[str, float]) -> None:
        self.entries += [(f"{group}/{name}", (step, value)) for name, value in values.items()]

    def document(self, name: str, content: Mapping[str, object]) -> None:
        self.entries.append((name, content))

    def close(self, state: JobState | None) -> None:
        self.closed.append(state)


def a_run(tmp_path: Path) -> MirroredRun:
    return MirroredRun("abc123", "digits", "winnow", {"training.epochs": "5"}, tmp_path / "mirrors")


def mirrored(tmp_path: Path, tracker: Tracker | Exception) -> tuple[Mirror, list[str]]:
    """A mirror in this tracker, or in one that cannot be opened, and what it says."""
    said: list[str] = []

    def begin(_run: MirroredRun) -> Tracker:
        if isinstance(tracker, Exception):
            raise tracker
        return tracker

    return Mirror("stand-in", a_run(tmp_path), begin, said.append), said


def new_job(settings: Settings) -> str:
    with open_api(settings, base_url=BASE) as api:
        job_id: str = api.post("/v1/jobs", json=TINY_JOB).json()["id"]
    return job_id


def warnings_of(database: Database, job_id: str) -> list[str]:
    with database.transaction() as session:
        events = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.kind == "message"))
        return [event.data["text"] for event in events if event.data["level"] == "warning"]


def run_of(database: Database, job_id: str, heard: Mirror) -> Reporter:
    with database.transaction() as session:
        lease = leases.claim(session, Job, job_id, "worker", 60)
        assert lease is not None
    return Reporter(database, job_id, lease.epoch, mirror=heard)


def test_a_job_reaches_its_tracker(settings: Settings, database: Database, tmp_path: Path) -> None:
    heard = Heard()
    passing, said = mirrored(tmp_path, heard)
    job_id = new_job(settings)
    reporter = run_of(database, job_id, passing)
    reporter.stage(Stage.TRAIN_SUPERNET)
    reporter.record(CurvePoint(epoch=1, loss=0.5, accuracy_largest=None))
    reporter.stage(Stage.SEARCH)
    for name, accuracy in (("a", 0.9), ("b", float("nan"))):
        metrics, sources = {"accuracy": accuracy, "macs": 10}, {"accuracy": "measured", "macs": "analytic"}
        row = EvaluationRow(architecture_id=name, values={}, metrics=metrics, sources=sources, seconds=0.1)
        reporter.evaluation(row)
    reporter.stage(Stage.HEAL)
    reporter.record(HealingPoint(architecture_id="a", step=20, loss=0.25))
    nothing = {"reference": None, "beaten": (), "beyond": (), "hypervolume": None, "worst": {}, "predictions": ()}
    reporter.front(FrontRecord(points=(OnFront(architecture_id="a"),), knee="a", stable=True, **nothing), {}, {})
    reporter.end(JobState.SUCCEEDED, None)
    passing.close()
    entries = dict(heard.entries)
    assert entries["train_supernet/loss"] == (1, 0.5)
    assert "train_supernet/accuracy_largest" not in entries
    numbers = [entry for entry in heard.entries if entry[0].startswith("evaluation/")]
    assert numbers == [
        ("evaluation/accuracy", (1, 0.9)),
        ("evaluation/macs", (1, 10.0)),
        ("evaluation/macs", (2, 10.0)),
    ]
    assert entries["heal/a/loss"] == (20, 0.25)
    assert {f"stage_seconds/{stage}" for stage in ("train_supernet", "search", "heal")} <= set(entries)
    assert entries["front"] == {"knee": "a", "networks": []}
    assert heard.closed == [JobState.SUCCEEDED]
    assert said == []


def test_an_evaluation_that_is_stored_already_is_not_passed_on_again(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    heard = Heard()
    passing, _ = mirrored(tmp_path, heard)
    reporter = run_of(database, new_job(settings), passing)
    for _ in range(2):
        row = EvaluationRow(
            architecture_id="a", values={}, metrics={"macs": 1}, sources={"macs": "analytic"}, seconds=0
        )
        reporter.evaluation(row)
    passing.close()
    assert [name for name, _ in heard.entries] == ["evaluation/macs"]


def test_the_first_trouble_is_said_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    class Broken(Heard):
        def numbers(self, group: str, step: int, values: Mapping[str, float]) -> None:
            raise ConnectionError(f"no route to {group}\nand a long story")

    heard = Broken()
    passing, said = mirrored(tmp_path, heard)
    for step in range(3):
        passing.numbers("evaluation", step, {"accuracy": 0.5})
    passing.document("front", {})
    passing.close()
    assert said == [
        "The mirror in stand-in is incomplete: ConnectionError: no route to evaluation. The job goes on as without it."
    ]
    assert heard.entries == [("front", {})]
    assert heard.closed == [None]


def test_a_tracker_that_cannot_be_opened_costs_a_warning_and_no_job(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(_run: MirroredRun) -> Tracker:
        raise RuntimeError("401 for https://ada:swordfish1@tracker.local with sesame-open")

    monkeypatch.setenv("WANDB_API_KEY", "sesame-open")
    monkeypatch.setattr(importlib.import_module("service.mirrors.mlflow"), "begin", begin)
    job_id = new_job(settings)
    with database.transaction() as session:
        job = session.get(Job, job_id)
        assert job is not None
        passing = mirror_of(settings.model_copy(update={"mirror": "mlflow"}), database, job)
        assert mirror_of(settings, database, job) is None
    assert passing is not None
    reporter = run_of(database, job_id, passing)
    reporter.stage(Stage.SEARCH)
    reporter.end(JobState.SUCCEEDED, None)
    passing.close()
    (said,) = warnings_of(database, job_id)
    assert "swordfish1" not in said
    assert "sesame-open" not in said
    assert said.startswith("The mirror in mlflow is incomplete: RuntimeError: 401 for https://ada:***@tracker.local")
    with database.transaction() as session:
        job = session.get(Job, job_id)
        assert job is not None
        assert job.state == JobState.SUCCEEDED


def test_a_slow_tracker_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "MOST_WAITING", 10)
    monkeypatch.setattr(mirror, "END_SECONDS", 0.0)
    answer = threading.Event()

    class Slow(Heard):
        def numbers(self, group: str, step: int, values: Mapping[str, float]) -> None:
            answer.wait()
            super().numbers(group, step, values)

    heard = Slow()
    passing, said = mirrored(tmp_path, heard)
    for step in range(1000):  # the tracker has not answered once
        passing.numbers("evaluation", step, {"accuracy": 0.5})
    passing.close()
    answer.set()
    assert len(said) == 1
    assert "did not take the last entries" in said[0]
    wait_for(lambda: heard.closed == [None])
    assert len(heard.entries) < 20


def test_entries_that_a_full_queue_left_out_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "MOST_WAITING", 2)
    answer = threading.Event()

    class Slow(Heard):
        def numbers(self, group: str, step: int, values: Mapping[str, float]) -> None:
            answer.wait()

    passing, said = mirrored(tmp_path, Slow())
    for step in range(10):
        passing.numbers("evaluation", step, {"accuracy": 0.5})
    answer.set()
    passing.close()
    assert said == [
        "The mirror in stand-in is incomplete: it is slower than the job, and more than 2 entries waited. "
        "The job goes on as without it."
    ]


def test_every_tracker_of_the_setting_is_a_file_and_the_other_way_round() -> None:
    (named, _) = get_args(Settings.model_fields["mirror"].annotation)
    assert sorted(get_args(named)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_worker_without_the_package_does_not_start(
    name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = importlib.import_module(f"service.mirrors.{name}").PACKAGE
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted: None if wanted == package else object())
    with pytest.raises(ValueError, match=rf"WINNOW_MIRROR is {name}, .*winnow\[{name}\]"):
        mirror.check(settings.model_copy(update={"mirror": name}))
    mirror.check(settings)
    assert package not in sys.modules or name == "mlflow"


def test_a_description_becomes_flat_facts() -> None:
    spec = {"recipe": "bignas", "training": {"epochs": 5, "options": {"use_power": 0}}, "notes": None, "labels": ["a"]}
    flat = {"recipe": "bignas", "training.epochs": "5", "training.options.use_power": "0", "labels": '["a"]'}
    assert facts_of(spec) == flat


def test_a_reason_is_one_line() -> None:
    assert reason_of(ValueError("\nfirst.\nsecond")) == "ValueError: first"
    assert reason_of(ValueError()) == "ValueError: no reason given"


def wait_for(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.01)
