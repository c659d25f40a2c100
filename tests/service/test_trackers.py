"""Each tracker as it is: what it was given is there, and a second run of a job goes on with the first one's."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from service.mirror import MirroredRun, Tracker
from service.store.models import JobState
from tests.tiers import mostly_thorough

# Trackers warn of what they mean to change; none of it is ours.
pytestmark = pytest.mark.filterwarnings("ignore")

FACTS = {"recipe": "bignas", **{f"training.field_{number}": str(number) for number in range(150)}}
FRONT = {"knee": "a", "networks": [{"architecture_id": "a", "metrics": {"accuracy": 0.9}, "intervals": None}]}

EXPORT = {"state": "succeeded", "sha256": "f00d", "size_bytes": 3}
DOCUMENTS = {"front": FRONT, "exports/beef": EXPORT}


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
    export.document("exports/beef", {**EXPORT, "state": JobState.SUCCEEDED})
    export.close(None)


@pytest.mark.parametrize(
    "place", mostly_thorough(["own database", "file store", "another job of the project"], "file store")
)
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
    assert {path.name for path in tmp_path.iterdir()} <= {"mirrors", "store"}
    for name, content in DOCUMENTS.items():
        file = client.download_artifacts(run.info.run_id, f"{name}.json", str(tmp_path))
        assert json.loads(Path(file).read_text()) == content


@pytest.mark.thorough
def test_wandb_keeps_runs_for_later_where_there_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    fill("wandb", tmp_path / "mirrors")
    kept = sorted((tmp_path / "mirrors").rglob("run-0123456789ab.wandb"))
    assert len(kept) == 3
    first, second, third = (file.read_bytes() for file in kept)
    assert b"training.field_149" in first
    assert b"train_supernet/loss" in first
    assert b"evaluation/accuracy" in second
    assert b"knee" in second
    assert b"exports/beef" in third
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mirrors"]


def test_trackio_hears_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the package's functions: it wants another Pillow than the one that Winnow is tested with."""
    runs: list[tuple[dict[str, object], list[dict[str, object]]]] = []

    class Run:
        def __init__(self, entries: list[dict[str, object]]) -> None:
            self.entries = entries

        def log(self, metrics: dict[str, object]) -> None:
            self.entries.append(metrics)

        def finish(self) -> None:
            self.entries.append({"finished": True})

    def init(
        project: str, *, name: str, config: dict[str, str], resume: str, embed: bool, space_id: str | None = None
    ) -> Run:
        entries: list[dict[str, object]] = []
        runs.append(({"project": project, "name": name, "config": config, "resume": resume, "embed": embed}, entries))
        return Run(entries)

    stand_in = ModuleType("trackio")
    stand_in.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", stand_in)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    fill("trackio", tmp_path)
    config = {"name": "digits on my laptop", **FACTS}
    begun = {"project": "winnow", "name": "0123456789ab", "config": config, "resume": "allow", "embed": False}
    assert [given for given, _ in runs] == [begun] * 3
    assert runs[1][1] == [
        {"evaluation/step": 2, "evaluation/accuracy": 0.9, "evaluation/macs": 20.0},
        {"front": FRONT},
        {"finished": True},
    ]
    assert runs[2][1][0] == {"exports/beef": EXPORT}
