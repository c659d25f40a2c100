"""A job's evaluations as an optuna study, for optuna-dashboard and for whoever goes on in optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

NO_OPTUNA = (
    "Exporting a study needs optuna, which is not installed here; it comes with the worker: "
    "pip install 'winnow[worker]', or run this on a worker."
)


def export_study(job: Mapping[str, Any], evaluations: Iterable[Mapping[str, Any]], url: str) -> tuple[str, int]:
    """Write a study called `winnow-JOB`: one trial per evaluation, its parameters the values of the architecture.

    Every metric and its source is a user attribute; limits are constraints, so that the dashboard greys out what is
    infeasible. An evaluation with a score that is not a number becomes a failed trial.

    Args:
        job: as the API gives it.
        evaluations: as the API gives them, in order.
        url: URL of an optuna storage, such as `sqlite:///study.db`.

    Returns:
        name of the study and its number of trials.

    Raises:
        ValueError: the job's search has not evaluated anything, or the storage has the study already.
        RuntimeError: optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise RuntimeError(NO_OPTUNA) from None
    rows = list(evaluations)
    if not rows:
        raise ValueError(f"Job {job['id']} has not evaluated anything yet, so there is nothing to export.")
    from job.versions import read_job

    spec = read_job(job["spec"])
    objectives = [objective.objective() for objective in spec.objectives]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = f"winnow-{job['id']}"
    try:
        study = optuna.create_study(
            storage=url, study_name=name, directions=[objective.goal for objective in objectives]
        )
    except optuna.exceptions.DuplicatedStudyError:
        raise ValueError(f"{url} has a study {name!r} already; delete it or choose another file.") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([objective.metric for objective in objectives])
    study.set_user_attr("job", job["id"])
    options = _options(rows)
    study.add_trials([_trial(row, spec, options) for row in rows])
    return name, len(rows)


def _options(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Values of every choice that occur, in order: the categories of the study's parameters."""
    found: dict[str, dict[Any, None]] = {}
    for row in rows:
        for choice, value in row["values"].items():
            found.setdefault(choice, {})[value] = None
    return {choice: sorted(values, key=lambda value: (str(type(value)), value)) for choice, values in found.items()}


def _trial(row: Mapping[str, Any], spec: Any, options: Mapping[str, list[Any]]) -> Any:
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import TrialState, create_trial

    from search.objectives import limits_of

    objectives = [objective.objective() for objective in spec.objectives]
    limits = limits_of(objectives, [constraint.constraint() for constraint in spec.constraints])
    scores = [_number(row["metrics"].get(objective.metric)) for objective in objectives]
    finite = all(math.isfinite(score) for score in scores)
    violations = {limit.metric: limit.violation(_number(row["metrics"].get(limit.metric))) for limit in limits}
    trial = create_trial(
        state=TrialState.COMPLETE if finite else TrialState.FAIL,
        values=scores if finite else None,
        params=dict(row["values"]),
        distributions={choice: CategoricalDistribution(options[choice]) for choice in row["values"]},
        user_attrs={
            "architecture_id": row["architecture_id"],
            **{f"{metric} ({row['sources'].get(metric)})": value for metric, value in row["metrics"].items()},
        },
        constraints={metric: min(violation, 1e300) for metric, violation in violations.items()},
    )
    ended = row["created_at"]
    ended = datetime.fromisoformat(ended) if isinstance(ended, str) else ended
    # optuna's times are naive and local
    trial.datetime_complete = ended.astimezone().replace(tzinfo=None)
    trial.datetime_start = trial.datetime_complete - timedelta(seconds=row["seconds"])
    return trial


def _number(value: Any) -> float:
    """A score; one that JSON could not carry is not a number."""
    return float(value) if isinstance(value, int | float) else math.nan
