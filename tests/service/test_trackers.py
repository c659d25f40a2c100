"""Each tracker as it is: what it was given is there, and a second run of a job goes on with the first one's."""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from service.mirror import MirroredRun, Tracker
from service.store.models import JobState

# Trackers warn of what they mean to change; none of it is ours.
pytestmark = pytest.mark.filterwarnings("ignore")

FACTS = {"recipe": "bignas", **{f"training.field_{number}": str(number) for number in range(150)}}
FRONT = {"knee": "a", "networks": [{"architecture_id": "a", "metrics": {"accuracy": 0.9}, "intervals": None}]}


def a_run(folder: Path, job_id: str = "0123456789ab") -> MirroredRun:
    return MirroredRun(job_id, "digits on my laptop", "winnow", FACTS, folder)


def opened(name: str, run: MirroredRun) -> Tracker:
    tracker: Tracker = importlib.import_module(f"service.mirrors.{name}").begin(run)
    return tracker


def fill(name: str, folder: Path) -> None:
    """Two runs of a job, and an export after its end."""
    first = opened(name, a_run(folder))
    first.numbers("train_supernet", 1, {"loss": 0.5})
    first.numbers("evaluation", 1, {"accuracy": 0.8, "macs": 10.0})
    first.close(None)
    second = opened(name, a_run(folder))
    second.numbers("evaluation", 2, {"accuracy": 0.9, "macs": 20.0})
    second.document("front", FRONT)
    second.close(JobState.SUCCEEDED)
    export = opened(name, a_run(folder))
    export.document("exports/beef", {"state": JobState.SUCCEEDED, "sha256": "f00d", "size_bytes": 3})
    export.close(None)


@pytest.mark.parametrize("place", ["own database", "file store", "another job of the project"])
def test_mlflow_has_one_run_for_each_job(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"sqlite:///{tmp_path / 'mirrors' / 'mlflow.db'}"
    if place == "file store":
        uri = (tmp_path / "store").as_uri()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    if place == "another job of the project":
        opened("mlflow", a_run(tmp_path / "mirrors", "other")).close(JobState.FAILED)
    fill("mlflow", tmp_path / "mirrors")
    client = mlflow.MlflowClient(uri)
    project = client.get_experiment_by_name("winnow")
    (run,) = client.search_runs([project.experiment_id], "tags.`winnow.job` = '0123456789ab'")
    assert run.info.run_name == "digits on my laptop"
    assert run.info.status == "FINISHED"
    assert run.data.params == FACTS
    history = client.get_metric_history(run.info.run_id, "evaluation/accuracy")
    assert [(one.step, one.value) for one in history] == [(1, 0.8), (2, 0.9)]
    assert run.data.metrics["train_supernet/loss"] == 0.5
    for name, content in {
        "front": FRONT,
        "exports/beef": {"state": "succeeded", "sha256": "f00d", "size_bytes": 3},
    }.items():
        file = client.download_artifacts(run.info.run_id, f"{name}.json", str(tmp_path))
        assert json.loads(Path(file).read_text()) == content
    assert all(tmp_path in Path(file).parents for file in tmp_path.rglob("*"))
