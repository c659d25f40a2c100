"""The verb `heal` through the API, its job, and the weights that an export ships, on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load_file
from sqlalchemy import delete, update
from typer.testing import CliRunner

from pipeline import exporting
from service import jobs, removal
from service.cli import app
from service.settings import Settings
from service.store import leases, queries
from service.store.models import EvaluationRow, Export, Job, JobRecord
from service.store.records import BlockScores
from service.store.session import Database
from tests.api import open_api
from tests.tiers import mostly_thorough
from tests.workers.conftest import Ended
from tests.workers.test_faults import CLIMBING, HEALED, Bench, every_report_is_a_transaction
from workers import runner

__all__ = ["every_report_is_a_transaction"]

HEALING: dict[str, Any] = {"networks": "front", "most": 2, "steps": 6, "validations": 3, "learning_rate": 3e-3}


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with open_api(settings) as client:
        yield client


@pytest.fixture
def settings(settings: Settings, shared_folder: Path) -> Settings:
    """With the folder of jobs that have ended."""
    return settings.model_copy(update={"data_dir": shared_folder})


@pytest.fixture
def finished(ended: Ended) -> Bench:
    """A job that has found its front and healed nothing."""
    return ended("not healed", {**HEALED, "healing": None})


class Made(Bench):
    """The job that a verb has made."""

    def __init__(self, parent: Bench, job_id: str) -> None:
        self.database, self.settings, self.id = parent.database, parent.settings, job_id


def asked(api: TestClient, job_id: str, verb: str = "heal", **body: Any) -> dict[str, Any]:
    answer = api.post(f"/v1/jobs/{job_id}/{verb}", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def rows_of(bench: Bench) -> tuple[list[Any], list[Any]]:
    with bench.database.transaction() as session:
        evaluated = [(r.architecture_id, r.number, r.metrics) for r in queries.evaluations(session, bench.id, after=-1)]
        measured = [(one.architecture_id, one.position, one.metrics) for one in queries.finalists(session, bench.id)]
        return evaluated, measured


def exported(bench: Bench, api: TestClient, **body: Any) -> tuple[dict[str, Any], Path]:
    """An export, made by a runner in this process; what the API says of it, and its folder."""
    answer = api.post(f"/v1/jobs/{bench.id}/exports", json=body)
    assert answer.status_code == 202, answer.text
    export_id = answer.json()["id"]
    with bench.database.transaction() as session:
        lease = leases.claim(session, Export, export_id, "a worker", 600)
        assert lease is not None
    runner.run_export(bench.database, bench.settings, export_id, lease.epoch)
    found = api.get(f"/v1/exports/{export_id}").json()
    assert found["state"] == "succeeded", found["message"]
    with bench.database.transaction() as session:
        export = session.get(Export, export_id)
        assert export is not None
        assert export.folder is not None
        return found, bench.settings.artifacts_dir / export.folder


@pytest.mark.parametrize("named", [[], ["knee"], ["0123456789abcdef"]])
def test_most_is_of_the_front_and_refused_elsewhere(named: list[str]) -> None:
    with pytest.raises(ValueError, match="--most counts networks of the front: winnow heal JOB front --most N"):
        CliRunner().invoke(app, ["heal", "nonsuch", *named, "--most", "3"], catch_exceptions=False)


@pytest.mark.thorough
def test_limits_are_solved_for_in_a_job_that_took_over_the_block_scores(api: TestClient, finished: Bench) -> None:
    scores = BlockScores(blocks=(), metrics=(), left_out={"accuracy": "it is not known"}, evaluations=3)
    with finished.database.transaction() as session:
        stored = {"key": scores.key, "number": 1, "version": scores.version, "data": scores.data()}
        session.add(JobRecord(job_id=finished.id, kind=scores.kind, **stored))
    made = [asked(api, finished.id, healing=HEALING), asked(api, finished.id, "rerun", from_stage="measure finalists")]
    for one in made:
        answer = api.post(f"/v1/jobs/{one['id']}/solve", json={"objective": "accuracy"})
        assert answer.json()["detail"] == "accuracy is not known of blocks: it is not known."
    with finished.database.transaction() as session:
        session.execute(delete(JobRecord).where(JobRecord.job_id == finished.id, JobRecord.kind == scores.kind))


def test_a_healed_job_takes_over_the_front_and_only_heals(api: TestClient, finished: Bench) -> None:
    before = rows_of(finished)
    answer = asked(api, finished.id, healing=HEALING)
    assert (answer["parent_id"], answer["parent_verb"]) == (finished.id, "heal")
    assert answer["spec"]["supernet"]["reuse"] == finished.id
    assert answer["name"].endswith(", healed")
    made = Made(finished, answer["id"])
    points = made.run()
    assert made.job().state == "succeeded", made.job().message
    stages = list(dict.fromkeys(stage for stage, _ in points))
    assert stages == [None, "check", "prepare data", "heal"]
    assert rows_of(made) == before
    assert rows_of(finished) == before

    front = api.get(f"/v1/jobs/{made.id}/front").json()
    old = api.get(f"/v1/jobs/{finished.id}/front").json()
    assert [point["metrics"] for point in front["points"]] == [point["metrics"] for point in old["points"]]
    assert all(point["healed"] is None for point in old["points"])
    healed = [point["healed"] for point in front["points"] if point["healed"] is not None]
    assert len(healed) == 2
    assert front["healed_front"]["hypervolume_after"] >= front["healed_front"]["hypervolume_before"]
    healing = api.get(f"/v1/jobs/{made.id}/healing").json()
    assert healing["networks"] == healed
    assert [point["step"] for point in healing["points"]] == [2, 4, 6] * 2
    one = healed[0]
    network = api.get(f"/v1/jobs/{made.id}/architectures/{one['architecture_id']}").json()
    assert network["healed"] == one
    assert (one["steps"], one["examples"], one["tokens"]) == (6, 6 * 256, None)
    assert one["before"]["accuracy"] == network["metrics"]["accuracy"]
    # Healing again, of the job that healed: the same supernet, and whoever is healed begins anew.
    again = asked(api, made.id, healing={**HEALING, "networks": [one["architecture_id"]]})
    assert again["spec"]["supernet"]["reuse"] == finished.id


@pytest.mark.thorough
def test_what_a_search_has_chosen_by_healing_is_told_and_taken_over(
    api: TestClient, database: Database, settings: Settings
) -> None:
    bench = Bench(database, settings.data_dir, CLIMBING)
    bench.run()
    assert bench.job().state == "succeeded", bench.job().message
    told = api.get(f"/v1/jobs/{bench.id}/healing").json()
    report, scores = told["fidelities"], told["fidelity_scores"]
    assert [(rung["steps"], rung["networks"]) for rung in report["rungs"]] == [(1, 3), (4, 2)]
    assert [score["level"] for score in scores].count(2) == 2
    assert set(told["fidelity_found"]) == {score["architecture_id"] for score in scores}
    for score in scores:
        network = api.get(f"/v1/jobs/{bench.id}/architectures/{score['architecture_id']}").json()
        assert told["fidelity_found"][score["architecture_id"]]["accuracy"] == network["metrics"]["accuracy"]
        # By these it is chosen; its numbers in the end are others, and stand elsewhere.
        assert "test_accuracy" not in score["metrics"]
    low, high = report["correlations"][0]["low"], report["correlations"][0]["high"]
    assert (low, high, report["correlations"][0]["networks"]) == (0, 1, 3)
    assert [one["architecture_id"] for one in told["networks"]] == report["points"][:2]
    for one in told["networks"]:
        assert {"accuracy", "test_accuracy"} < set(one["after"])

    # A job that heals again takes over what was chosen, and comes from nothing to the same weights.
    made = Made(bench, asked(api, bench.id, healing=CLIMBING["healing"])["id"])
    assert made.job().spec["search"]["fidelities"] is None
    made.run()
    again = api.get(f"/v1/jobs/{made.id}/healing").json()
    assert (again["fidelities"], again["fidelity_scores"]) == (report, scores)
    assert [(one["architecture_id"], one["after"], one["best_step"]) for one in again["networks"]] == [
        (one["architecture_id"], one["after"], one["best_step"]) for one in told["networks"]
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("other_too", mostly_thorough([False, True], False))
def test_an_export_ships_the_better_weights_and_says_which(
    api: TestClient, finished: Bench, monkeypatch: pytest.MonkeyPatch, other_too: bool
) -> None:
    """The thorough run exports the other weights as well."""
    # No device was measured here, so there is nothing to say of one.
    monkeypatch.setattr(exporting, "_measurement", lambda _measured: "")
    made = Made(finished, asked(api, finished.id, healing=HEALING)["id"])
    made.run()
    healed = {one["architecture_id"]: one for one in api.get(f"/v1/jobs/{made.id}/healing").json()["networks"]}
    name = next(name for name, one in healed.items() if one["better"])
    found, folder = exported(made, api, architecture_id=name)
    assert found["weights"] == "healed"
    with made.database.transaction() as session:
        file = queries.weights_of(session, made.id, name, weights=found["weights"])
        assert file is not None
        stored = load_file(made.settings.artifacts_dir / file.path)
    shipped = load_file(folder / "model.safetensors")
    # Blocks have their slots' names; statistics of batch norms are calibrated anew.
    own = {key.removeprefix("slots.").replace(".block.", ".", 1): value for key, value in stored.items()}
    learned = [key for key in shipped if "running_" not in key and "num_batches" not in key]
    assert learned
    assert all(torch.equal(shipped[key], own[key]) for key in learned)
    facts = json.loads((folder / "architecture.json").read_text())
    assert facts["weights"] == "healed"
    assert facts["healing"] == healed[name]
    assert facts["metrics"]["accuracy"] == healed[name]["after"]["accuracy"]
    card = (folder / "README.md").read_text()
    assert "The healed weights are in these files." in card
    assert "trained further, alone, with the largest network as teacher" in card
    assert "it was not retrained" not in card
    if not other_too:
        return

    other, unhealed = exported(made, api, architecture_id=name, weights="unhealed")
    assert other["id"] != found["id"]
    assert other["weights"] == "unhealed"
    assert unhealed != folder
    sliced = load_file(unhealed / "model.safetensors")
    assert any(not torch.equal(sliced[key], shipped[key]) for key in learned)
    assert (
        "The weights in these files are those from before, as they were found." in (unhealed / "README.md").read_text()
    )
    assert json.loads((unhealed / "architecture.json").read_text())["weights"] == "unhealed"


@pytest.mark.thorough
def test_the_worse_weights_are_shipped_only_where_they_are_named(
    api: TestClient, finished: Bench, database: Database
) -> None:
    part = {**HEALING, "networks": "knee", "learning_rate": 10.0, "clip_norm": 0, "patience": None}
    made = Made(finished, asked(api, finished.id, healing=part)["id"])
    made.run()
    (one,) = api.get(f"/v1/jobs/{made.id}/healing").json()["networks"]
    assert one["after"]["accuracy"] <= one["before"]["accuracy"]
    assert one["better"] is False
    name = one["architecture_id"]
    for weights, shipped in ((None, "unhealed"), ("best", "unhealed"), ("unhealed", "unhealed"), ("healed", "healed")):
        body = {"architecture_id": name, **({} if weights is None else {"weights": weights})}
        assert api.post(f"/v1/jobs/{made.id}/exports", json=body).json()["weights"] == shipped
    answer = api.post(f"/v1/jobs/{finished.id}/exports", json={"architecture_id": name, "weights": "healed"})
    assert answer.status_code == 409
    assert f"job {finished.id} has not healed it" in answer.json()["detail"]
    # A file of the whole front has the weights that the front was measured with.
    whole = {"architecture_id": name, "formats": ["supernet"]}
    refused = api.post(f"/v1/jobs/{made.id}/exports", json={**whole, "weights": "healed"})
    assert refused.status_code == 422
    assert "Ask for weights 'unhealed'" in refused.json()["detail"]
    assert api.post(f"/v1/jobs/{made.id}/exports", json=whole).json()["weights"] == "unhealed"


@pytest.mark.thorough
def test_a_rule_chooses_by_the_numbers_of_the_weights_that_are_shipped(api: TestClient, finished: Bench) -> None:
    made = Made(finished, asked(api, finished.id, healing=HEALING)["id"])
    made.run()
    front = api.get(f"/v1/jobs/{made.id}/front").json()
    unhealed = {point["architecture_id"]: point["metrics"]["accuracy"] for point in front["points"]}
    better = [point["healed"] for point in front["points"] if point["healed"] and point["healed"]["better"]]
    healed = unhealed | {one["architecture_id"]: one["after"]["accuracy"] for one in better}
    assert better
    for weights, scores in (("best", healed), ("unhealed", unhealed)):
        body = {"rule": {"pick": "most_accurate"}, "weights": weights}
        answer = api.post(f"/v1/jobs/{made.id}/exports", json=body).json()
        assert scores[answer["architecture_id"]] == max(scores.values())
        assert f"accuracy {max(scores.values()):.6g}" in answer["chosen"]


def test_healing_is_refused_with_what_to_do(api: TestClient, finished: Bench, database: Database) -> None:
    def refused(job_id: str, **body: Any) -> tuple[int, str]:
        answer = api.post(f"/v1/jobs/{job_id}/heal", json=body)
        detail = answer.json().get("detail", "") + json.dumps(answer.json().get("errors", ""))
        return answer.status_code, detail

    status, detail = refused(finished.id, healing={"networks": ["nobody"]})
    assert (status, "has not evaluated an architecture 'nobody'" in detail) == (404, True)
    largest = api.get(f"/v1/jobs/{finished.id}/front").json()["reference"]["architecture_id"]
    status, detail = refused(finished.id, healing={"networks": [largest]})
    assert (status, "is the largest network, by which the others are healed" in detail) == (422, True)
    status, detail = refused(finished.id, healing={"steps": 0})
    assert (status, "healing.steps" in detail) == (422, True)
    status, detail = refused(finished.id, healing={"steps": 3, "minutes": 3})
    assert (status, "say in one of them" in detail) == (422, True)
    status, detail = refused(finished.id, edits={"search": {"evaluations": 3}})
    assert (status, "concern stages that are not done anew" in detail) == (422, True)
    status, detail = refused("nobody")
    assert status == 404
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == finished.id).values(state="running"))
    status, detail = refused(finished.id)
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == finished.id).values(state="succeeded"))
    assert (status, f"Job {finished.id} is running and cannot be healed." in detail) == (409, True)


@pytest.mark.parametrize("method", [{"method": "single", "options": {"architecture": "smallest"}}])
def test_a_job_without_a_parent_is_not_healed(
    api: TestClient, database: Database, settings: Settings, method: dict[str, Any]
) -> None:
    spec = {**HEALED, "healing": None, "training": {**HEALED["training"], **method}}
    bench = Bench(database, settings.data_dir, spec)
    bench.run()
    assert bench.job().state == "succeeded", bench.job().message
    answer = api.post(f"/v1/jobs/{bench.id}/heal")
    assert answer.status_code == 422
    assert "no trained parent to be healed by" in json.dumps(answer.json())


@pytest.mark.thorough
def test_a_rerun_from_healing_changes_how_it_is_done(api: TestClient, finished: Bench) -> None:
    answer = api.post(f"/v1/jobs/{finished.id}/rerun", json={"from_stage": "heal"})
    assert answer.status_code == 409
    assert "heals nothing, so there is no such stage to do anew; heal it instead" in answer.json()["detail"]
    made = asked(api, finished.id, healing=HEALING)
    Made(finished, made["id"]).run()
    edits = {"healing": {"examples": 512, "networks": "knee"}}
    again = asked(api, made["id"], verb="rerun", from_stage="heal", edits=edits)
    part = again["spec"]["healing"]
    assert (part["steps"], part["examples"], part["networks"], part["learning_rate"]) == (None, 512, "knee", 3e-3)
    new = Made(finished, again["id"])
    new.run()
    (one,) = api.get(f"/v1/jobs/{new.id}/healing").json()["networks"]
    assert one["steps"] == 2


@pytest.mark.thorough
def test_a_front_that_is_measured_again_is_healed_again(api: TestClient, finished: Bench) -> None:
    """Its search counts as stopped from the start, which is nobody's wish that nothing is healed."""
    made = Made(finished, asked(api, finished.id, healing={**HEALING, "networks": "knee"})["id"])
    made.run()
    again = Made(finished, asked(api, made.id, verb="rerun", from_stage="measure finalists")["id"])
    assert again.job().state == "stopping"
    again.run()
    assert again.job().state == "succeeded"
    assert again.job().message is None
    networks = [api.get(f"/v1/jobs/{one.id}/healing").json()["networks"] for one in (made, again)]
    assert [{**one, "seconds": 0} for one in networks[0]] == [{**one, "seconds": 0} for one in networks[1]]


@pytest.mark.thorough
def test_a_removed_job_takes_its_healed_weights_along(api: TestClient, finished: Bench, database: Database) -> None:
    made = Made(finished, asked(api, finished.id, healing={**HEALING, "networks": "knee"})["id"])
    made.run()
    folder = made.settings.artifacts_dir / "healed" / made.id
    assert len(list(folder.iterdir())) == 1
    assert api.delete(f"/v1/jobs/{made.id}").status_code == 202
    removal.purge(database, made.settings.model_copy(update={"delete_grace_seconds": 0}))
    assert not list(folder.iterdir())
    with database.transaction() as session:
        assert jobs.get(session, finished.id).state == "succeeded"
        assert session.query(EvaluationRow).filter_by(job_id=made.id).count() == 0
