"""A whole job in a real tracker, and a whole job whose tracker never answers."""

from __future__ import annotations

import importlib
import json
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from service import jobs, mirror
from service.mirror import MirroredRun, Tracker
from service.store import leases
from service.store.models import EvaluationRow, Export, JobEvent, JobState
from service.store.session import Database
from tests.workers.test_faults import SEARCHED, Bench
from workers import runner

TINY = {**SEARCHED, "search": {"algorithm": "random", "evaluations": 3, "calibration_images": 64}}


def mirrored(database: Database, folder: Path) -> Bench:
    bench = Bench(database, folder, {**TINY, "hardware": {"seconds": 0.02}, "name": "mirrored"})
    bench.settings = bench.settings.model_copy(update={"mirror": "mlflow"})
    return bench


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")  # MLflow warns of what it means to change
def test_a_job_and_its_export_are_one_run_of_mlflow(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)  # this machine may be busy, and nothing may be missing
    bench = mirrored(database, tmp_path)
    bench.run()
    job = bench.job()
    assert job.state == JobState.SUCCEEDED, job.message
    with database.transaction() as session:
        best = next(row for row in session.scalars(select(EvaluationRow).where(EvaluationRow.job_id == bench.id)))
        export, _ = jobs.request_export(session, bench.id, best.architecture_id)
        export_id = export.id
        lease = leases.claim(session, Export, export_id, "a worker", 600)
        assert lease is not None
    runner.run_export(database, bench.settings, export_id, lease.epoch)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mirrors' / 'mlflow' / 'mlflow.db'}")
    project = client.get_experiment_by_name("winnow")
    (run,) = client.search_runs([project.experiment_id])
    assert (run.info.run_name, run.info.status) == ("mirrored", "FINISHED")
    assert run.data.params["training.epochs"] == "2"
    steps = [one.step for one in client.get_metric_history(run.info.run_id, "evaluation/accuracy")]
    assert steps == [1, 2, 3]
    assert {"train_supernet/accuracy_largest", "train_supernet/images_per_second"} <= set(run.data.metrics)
    assert {"stage_seconds/train_supernet", "stage_seconds/search"} <= set(run.data.metrics)
    front = json.loads(Path(client.download_artifacts(run.info.run_id, "front.json", str(tmp_path))).read_text())
    assert front["networks"]
    assert all(one["intervals"]["accuracy"] for one in front["networks"])
    exported = client.download_artifacts(run.info.run_id, f"exports/{export_id}.json", str(tmp_path))
    facts = json.loads(Path(exported).read_text())
    assert facts["state"] == "succeeded"
    assert len(facts["sha256"]) == 64


@pytest.mark.thorough
def test_a_tracker_that_never_answers_costs_a_job_nothing_but_a_warning(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()

    def begin(_run: MirroredRun) -> Tracker:
        never.wait()
        raise TimeoutError

    monkeypatch.setattr(importlib.import_module("service.mirrors.mlflow"), "begin", begin)
    monkeypatch.setattr(mirror, "END_SECONDS", 0.0)
    bench = mirrored(database, tmp_path)
    bench.run()
    assert bench.job().state == JobState.SUCCEEDED
    with database.transaction() as session:
        events = session.scalars(select(JobEvent).where(JobEvent.job_id == bench.id, JobEvent.kind == "message"))
        said = [event.data["text"] for event in events if "mirror" in event.data["text"]]
    assert len(said) == 1
    assert said[0].startswith("The mirror in mlflow is incomplete: it did not take the last entries")
    never.set()
