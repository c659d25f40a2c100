"""Jobs as runs of MLflow. `MLFLOW_TRACKING_URI` and MLflow's other variables say where; without it, a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from service.mirror import MirroredRun
from service.store.models import JobState

if TYPE_CHECKING:
    from mlflow import MlflowClient

PACKAGE = "mlflow"
# By which a run of the tracker is found again.
TAG = "winnow.job"
# What one request may hold (MLflow's REST API).
MOST_FACTS = 100
STATUS = {JobState.SUCCEEDED: "FINISHED", JobState.FAILED: "FAILED", JobState.CANCELLED: "KILLED"}


class Run:
    """One run of MLflow, through its client: nothing global, nothing printed."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._id = client, run_id

    def numbers(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """See `service.mirror.Tracker`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(f"{group}/{name}", value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def document(self, name: str, content: Mapping[str, object]) -> None:
        """See `service.mirror.Tracker`."""
        self._client.log_text(self._id, json.dumps(content, indent=2), f"{name}.json")

    def close(self, state: JobState | None) -> None:
        """See `service.mirror.Tracker`."""
        if state in STATUS:
            self._client.set_terminated(self._id, STATUS[state])


def begin(run: MirroredRun) -> Run:
    """The run of a job: the one that an earlier run of the job has opened, or a new one."""
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a URL may hold a password
    from mlflow import MlflowClient
    from mlflow.entities import Param

    client, artifacts = MlflowClient(), None
    if "MLFLOW_TRACKING_URI" not in os.environ:
        run.folder.mkdir(parents=True, exist_ok=True)
        client, artifacts = MlflowClient(f"sqlite:///{run.folder / 'mlflow.db'}"), (run.folder / "artifacts").as_uri()
    experiment = _experiment(client, run.project, artifacts)
    found = client.search_runs([experiment], f"tags.`{TAG}` = '{run.job_id}'", max_results=1)
    if found:
        return Run(client, found[0].info.run_id)
    opened = client.create_run(experiment, tags={TAG: run.job_id}, run_name=run.name)
    params = [Param(name, value) for name, value in run.facts.items()]
    for first in range(0, len(params), MOST_FACTS):
        client.log_batch(opened.info.run_id, params=params[first : first + MOST_FACTS])
    return Run(client, opened.info.run_id)


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """The id of the project's experiment, which another job may make at the same moment."""
    from mlflow.exceptions import MlflowException

    if (there := client.get_experiment_by_name(name)) is not None:
        return str(there.experiment_id)
    try:
        return str(client.create_experiment(name, artifact_location=artifacts))
    except MlflowException:
        if (there := client.get_experiment_by_name(name)) is None:
            raise
        return str(there.experiment_id)
