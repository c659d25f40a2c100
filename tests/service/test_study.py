"""`winnow export-study`: what optuna then reads is what the job has evaluated."""

import sys
import warnings

import pytest

from job.spec import JobSpec
from service.study import export_study

SPEC = JobSpec.model_validate(
    {
        "objectives": [{"metric": "accuracy"}, {"metric": "macs", "limit": 100}],
        "constraints": [{"metric": "params", "limit": 10}],
    }
)
JOB = {"id": "0123456789ab", "spec": SPEC.model_dump(mode="json")}


def row(number: int, accuracy: float | None, macs: float, params: float = 5):
    return {
        "number": number,
        "architecture_id": f"{number:016x}",
        "values": {"depth": number % 3, "kind": "conv" if number % 2 else "pool"},
        "metrics": {"accuracy": accuracy, "macs": macs, "params": params},
        "sources": {"accuracy": "measured", "macs": "analytic", "params": "analytic"},
        "seconds": 1.5,
        "created_at": "2026-01-02T03:04:05+00:00",
    }


ROWS = [row(1, 0.9, 50), row(2, 0.95, 150), row(3, None, 20), row(4, 0.8, 20, params=40), row(5, 0.7, 30)]


@pytest.fixture
def study(tmp_path):
    optuna = pytest.importorskip("optuna")
    url = f"sqlite:///{tmp_path}/study.db"
    assert export_study(JOB, ROWS, url) == ("winnow-0123456789ab", 5)
    return optuna.load_study(study_name="winnow-0123456789ab", storage=url)


def test_every_evaluation_is_a_trial_in_order(study):
    trials = study.get_trials()
    assert [trial.user_attrs["architecture_id"] for trial in trials] == [r["architecture_id"] for r in ROWS]
    assert trials[0].params == {"depth": 1, "kind": "conv"}
    assert trials[0].values == [0.9, 50]
    assert trials[0].user_attrs["macs (analytic)"] == 50
    assert trials[0].duration.total_seconds() == pytest.approx(1.5)


def test_directions_and_names_are_those_of_the_objectives(study):
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = study.metric_names
    assert names == ["accuracy", "macs"]


def test_a_score_that_is_not_a_number_is_a_failed_trial(study):
    assert [trial.state.name for trial in study.get_trials()] == [
        "COMPLETE",
        "COMPLETE",
        "FAIL",
        "COMPLETE",
        "COMPLETE",
    ]


def test_the_best_trials_meet_every_limit(study):
    """Optuna itself judges: 2 breaks the limit on MACs, 4 the one on params."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = {trial.user_attrs["architecture_id"] for trial in study.best_trials}
    assert best == {ROWS[0]["architecture_id"], ROWS[4]["architecture_id"]}


def test_a_study_that_is_there_already_is_refused(tmp_path):
    pytest.importorskip("optuna")
    url = f"sqlite:///{tmp_path}/study.db"
    export_study(JOB, ROWS, url)
    with pytest.raises(ValueError, match="has a study 'winnow-0123456789ab' already"):
        export_study(JOB, ROWS, url)


def test_a_job_without_evaluations_is_refused(tmp_path):
    pytest.importorskip("optuna")
    with pytest.raises(ValueError, match="has not evaluated anything yet"):
        export_study(JOB, [], f"sqlite:///{tmp_path}/study.db")


def test_without_optuna_it_says_where_optuna_comes_from(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RuntimeError, match=r"pip install 'winnow\[worker\]'"):
        export_study(JOB, ROWS, "sqlite://")
