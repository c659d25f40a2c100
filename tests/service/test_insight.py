"""The front's insight over HTTP."""

from __future__ import annotations

from typing import Any

import numpy as np

from job.spec import JobSpec
from service.settings import Settings
from service.store import leases, queries
from service.store.models import EvaluationRow, Job
from service.store.session import Database
from tests.api import open_api
from tests.conftest import TEMPORARY

JOB = {"recipe": "llama-nas", "data": {"path": f"{TEMPORARY}/plays.txt"}}


def scored(architecture_id: str, values: dict[str, Any], perplexity: float, size: float) -> EvaluationRow:
    metrics = {"perplexity": perplexity, "size_bytes": size}
    return EvaluationRow(
        architecture_id=architecture_id,
        values=values,
        metrics=metrics,
        sources=dict.fromkeys(metrics, "measured"),
        seconds=0.1,
    )


def test_shares_are_of_the_front_and_not_of_everything(settings: Settings, database: Database) -> None:
    space = JobSpec.model_validate(JOB).space()
    with open_api(settings) as api:
        job_id = api.post("/v1/jobs", json=JOB).json()["id"]
        empty = api.get(f"/v1/jobs/{job_id}/insight").json()
        assert (empty["networks"], empty["layers"]) == (0, [])
        with database.transaction() as session:
            lease = leases.claim(session, Job, job_id, "test", 60)
            assert lease is not None
            scores = [
                (space.smallest(), 9.0, 1.0),
                (space.largest(), 3.0, 5.0),
                (space.sample(np.random.default_rng(0)), 9.5, 4.0),
            ]
            for architecture, perplexity, size in scores:
                row = scored(architecture.id, architecture.values, perplexity, size)
                queries.add_evaluation(session, job_id, lease.epoch, row, {})
        answer = api.get(f"/v1/jobs/{job_id}/insight").json()
        assert (answer["networks"], answer["final"]) == (2, False)
        layers = {layer["slot"]: layer for layer in answer["layers"]}
        assert layers["layer1"]["kept"] == 1
        assert layers["layer3"]["kept"] == 0.5
        choices = {choice["name"]: choice for choice in answer["choices"]}
        assert choices["layer1_ffn"]["shares"] == [0.5, 0, 0, 0.5]
        assert choices["layer3_ffn"]["shares"] == [0, 0, 0, 0.5]
        assert api.get("/v1/jobs/nonsuch/insight").status_code == 404


def test_networks_of_a_space_that_has_changed_are_listed_and_said_to_be_strange(
    settings: Settings, database: Database
) -> None:
    space = JobSpec.model_validate(JOB).space()
    with open_api(settings) as api:
        job_id = api.post("/v1/jobs", json=JOB).json()["id"]
        with database.transaction() as session:
            lease = leases.claim(session, Job, job_id, "test", 60)
            assert lease is not None
            row = scored("old", {**space.largest().values, "layer1_mode": "asymmetric"}, 3.0, 5.0)
            queries.add_evaluation(session, job_id, lease.epoch, row, {})
        listed = api.get(f"/v1/jobs/{job_id}/evaluations").json()["evaluations"]
        assert listed[0]["values"]["layer1_mode"] == "asymmetric"
        for place in ("front", "insight", "architectures/old"):
            answer = api.get(f"/v1/jobs/{job_id}/{place}")
            assert answer.status_code == 409, place
            assert "has changed since old was evaluated" in answer.json()["detail"]
            assert "layer1_mode" in answer.json()["detail"]
