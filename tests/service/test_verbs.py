"""What may be asked of a job in each state: granted and told with who asked, or refused with what is allowed."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text, update

from job.versions import read_job
from service import fronts, removal
from service.api import results
from service.settings import Settings
from service.store import leases, queries
from service.store.leases import LeaseLost
from service.store.models import (
    JOB_STATES,
    TERMINAL_STATES,
    Artifact,
    EvaluationRow,
    Job,
    JobRecord,
    TrainedSupernet,
)
from service.store.session import Database
from tests.api import BASE, client_of, open_api
from tests.conftest import TINY_JOB


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with open_api(settings) as client:
        yield client


def submitted(api: TestClient, **parts: Any) -> str:
    answer = api.post("/v1/jobs", json={**TINY_JOB, **parts})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def set_state(database: Database, job_id: str, state: str) -> None:
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(state=state))


def job_of(database: Database, job_id: str) -> Job:
    with database.transaction() as session:
        job = session.get(Job, job_id)
        assert job is not None
        session.expunge(job)
        return job


def told(database: Database, job_id: str) -> list[dict[str, Any]]:
    with database.transaction() as session:
        return [event.data for event in queries.events_after(session, job_id, 0, 1000) if event.kind == "verb"]


def evaluated(database: Database, job_id: str, count: int = 3) -> None:
    """Some networks of the job are scored."""
    with database.transaction() as session:
        for number in range(1, count + 1):
            scores = {"metrics": {"accuracy": 0.5, "macs": 1000 * number}, "sources": {}}
            session.add(
                EvaluationRow(
                    job_id=job_id,
                    architecture_id=f"a{number}",
                    number=number,
                    values={},
                    seconds=0.1,
                    epoch=7,
                    **scores,
                )
            )


def trained(database: Database, settings: Settings, job_id: str) -> Path:
    """The job has trained a supernet; its file."""
    spec = job_of(database, job_id).spec
    path = settings.artifacts_dir / "supernets" / f"{job_id}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    file = {"path": f"supernets/{job_id}.safetensors", "sha256": "0" * 64, "size_bytes": 7, "step": 1}
    with database.transaction() as session:
        session.add(
            TrainedSupernet(
                id=job_id,
                job_id=job_id,
                name="s",
                recipe="bignas",
                space="s",
                curve=[],
                metric="accuracy",
                scores={},
                **{part: spec[part] for part in ("supernet", "data", "training")},
                **file,
            )
        )
        session.add(Artifact(job_id=job_id, kind="supernet", **file))
    return path


MOVES = ("pause", "resume", "stop", "cancel", "retry", "restore")
# What asking again for what is so already gives: nothing changes, and nothing is refused.
ALREADY = {
    ("pause", "paused"),
    ("pause", "pausing"),
    ("resume", "queued"),
    ("stop", "stopping"),
    ("cancel", "cancelled"),
    ("cancel", "cancelling"),
}


@pytest.mark.parametrize("state", JOB_STATES)
def test_every_verb_in_every_state_is_granted_as_promised_or_refused_with_what_is_allowed(
    api: TestClient, database: Database, state: str
) -> None:
    for verb in MOVES:
        job_id = submitted(api)
        evaluated(database, job_id)
        set_state(database, job_id, state)
        allowed = api.get(f"/v1/jobs/{job_id}").json()["verbs"]
        answer = api.post(f"/v1/jobs/{job_id}/{verb}")
        if verb in allowed or (verb, state) in ALREADY:
            assert answer.status_code == 200, (verb, answer.text)
            assert [event["verb"] for event in told(database, job_id)] == ([verb] if verb in allowed else [])
        else:
            assert answer.status_code == 409, (verb, answer.text)
            assert answer.json()["allowed"] == allowed
            assert job_of(database, job_id).state == state
            assert told(database, job_id) == []
    job_id = submitted(api)
    set_state(database, job_id, state)
    assert api.delete(f"/v1/jobs/{job_id}").status_code == (202 if state in TERMINAL_STATES else 409)
    job_id = submitted(api)
    set_state(database, job_id, state)
    assert api.post(f"/v1/jobs/{job_id}/clone").status_code == 201
    answer = api.post(f"/v1/jobs/{job_id}/extend", json={"evaluations": 5})
    assert (answer.status_code, "clone" in answer.json()["allowed"]) == (409, True)  # nothing is trained yet


def test_an_event_says_who_asked(guarded: Settings, key_of: Callable[..., str], database: Database) -> None:
    with open_api(guarded, key_of("ada", "write"), base_url=BASE) as ada:
        job_id = submitted(ada)
        ada.post(f"/v1/jobs/{job_id}/pause")
        admin = client_of(ada, key_of("root", "admin"))
        admin.post(f"/v1/jobs/{job_id}/cancel")
        ada.patch(f"/v1/jobs/{job_id}", json={"labels": ["x"]})
        assert [(event["verb"], event["by"]) for event in told(database, job_id)] == [
            ("pause", "ada"),
            ("cancel", "root"),
            ("edit", "ada"),
        ]


# --- retry --------------------------------------------------------------------------------------------


def test_a_retried_job_goes_on_and_whoever_ran_it_before_cannot_write(api: TestClient, database: Database) -> None:
    job_id = submitted(api)
    with database.transaction() as session:
        lease = leases.claim(session, Job, job_id, "a", 60)
        assert lease is not None
        queries.set_state(session, queries.fenced_job(session, job_id, lease.epoch), "failed", "no luck")
    answer = api.post(f"/v1/jobs/{job_id}/retry").json()
    assert (answer["state"], answer["message"], answer["finished_at"]) == ("queued", None, None)
    with pytest.raises(LeaseLost), database.transaction() as session:
        queries.fenced_job(session, job_id, lease.epoch)
    with database.transaction() as session:
        assert leases.claim(session, Job, job_id, "b", 60) is not None


# --- clone --------------------------------------------------------------------------------------------


def test_a_clone_is_the_same_job_but_for_its_edits(api: TestClient, database: Database) -> None:
    job_id = submitted(api, name="first", labels=["a"], priority=3)
    assert api.patch(f"/v1/jobs/{job_id}", json={"labels": ["b"], "notes": "n"}).status_code == 200
    answer = api.post(
        f"/v1/jobs/{job_id}/clone", json={"edits": {"name": "second", "training": {"epochs": 5, "seed": None}}}
    )
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"
    job, old = answer.json(), api.get(f"/v1/jobs/{job_id}").json()
    assert (job["parent_id"], job["parent_verb"]) == (job_id, "clone")
    assert (job["name"], job["labels"], job["notes"], job["priority"]) == ("second", ["b"], "n", 3)
    assert job["spec"]["training"]["epochs"] == 5
    # What follows from the epochs follows the new ones.
    assert job["spec"]["training"]["lr_decay_epochs"] != old["spec"]["training"]["lr_decay_epochs"]
    assert job["spec"]["search"] == old["spec"]["search"]
    assert told(database, job_id)[-1]["job_id"] == job["id"]


def test_edits_that_replace_a_source_or_algorithm_take_its_words_along(api: TestClient) -> None:
    job_id = submitted(api)
    answer = api.post(f"/v1/jobs/{job_id}/clone", json={"edits": {"search": {"algorithm": "random"}}})
    assert answer.status_code == 201, answer.text
    assert "population" not in answer.json()["spec"]["search"]["options"]


@pytest.mark.parametrize(
    ("edits", "field"),
    [
        ({"search": {"evaluations": -1}}, "search.evaluations"),
        ({"nonsense": 1}, "nonsense"),
        ({"training": 5}, "training"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"labels": ["not a word"]}, "labels.0"),
        ({"priority": True}, "priority"),
    ],
)
def test_edits_that_make_no_job_are_refused_with_their_field(api: TestClient, edits: Any, field: str) -> None:
    answer = api.post(f"/v1/jobs/{submitted(api)}/clone", json={"edits": edits})
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]


def test_the_same_idempotency_key_clones_once(api: TestClient) -> None:
    job_id = submitted(api)
    headers = {"Idempotency-Key": f"clone-{job_id}"}
    answers = [api.post(f"/v1/jobs/{job_id}/clone", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


# --- extend and rerun ---------------------------------------------------------------------------------


def test_an_extension_reuses_the_supernet_and_all_scores(
    api: TestClient, database: Database, settings: Settings
) -> None:
    job_id = submitted(api)
    trained(database, settings, job_id)
    job = api.post(f"/v1/jobs/{job_id}/extend", json={"evaluations": 12}).json()
    spec = job["spec"]
    assert spec["supernet"]["reuse"] == job_id
    assert (spec["search"]["evaluations"], spec["search"]["warm_start"]) == (12, True)
    again = api.post(f"/v1/jobs/{job['id']}/extend").json()  # of the extension: the same supernet
    assert (again["spec"]["supernet"]["reuse"], again["parent_id"]) == (job_id, job["id"])

    goals = [{"metric": "accuracy"}, {"metric": "latency_ms"}]
    other = api.post(f"/v1/jobs/{job_id}/extend", json={"objectives": goals, "target": "cpu-torch"}).json()
    assert [goal.get("target") for goal in other["spec"]["objectives"]] == [None, "cpu-torch"]
    answer = api.post(f"/v1/jobs/{job_id}/extend", json={"target": "cpu-torch"})
    assert (answer.status_code, "no objective" in answer.json()["detail"].lower()) == (422, True)


def test_a_rerun_takes_over_what_was_found_before_its_stage(
    api: TestClient, database: Database, settings: Settings
) -> None:
    job_id = submitted(api)
    trained(database, settings, job_id)
    evaluated(database, job_id)
    with database.transaction() as session:
        data = {"epoch": 1, "loss": 0.5}
        session.add(JobRecord(job_id=job_id, kind="curve point", key="[1]", number=1, version=1, data=data))

    def counts(stage: str) -> tuple[Any, int, int]:
        answer = api.post(f"/v1/jobs/{job_id}/rerun", json={"from_stage": stage})
        assert answer.status_code == 201, answer.text
        with database.transaction() as session:
            new = answer.json()["id"]
            records = len(session.scalars(select(JobRecord).where(JobRecord.job_id == new)).all())
            return answer.json()["spec"]["supernet"]["reuse"], records, len(queries.evaluations(session, new))

    assert counts("prepare data") == (None, 0, 0)
    assert counts("train supernet") == (None, 0, 0)
    assert counts("search") == (job_id, 1, 0)
    assert counts("measure finalists") == (job_id, 1, 3)
    answer = api.post(f"/v1/jobs/{job_id}/rerun", json={"from_stage": "measure finalists", "edits": {"search": {}}})
    assert answer.status_code == 422
    assert api.post(f"/v1/jobs/{job_id}/rerun", json={"from_stage": "done"}).status_code == 422
    assert api.post(f"/v1/jobs/{job_id}/rerun", json={"from_stage": "nowhere"}).status_code == 422


# --- delete -------------------------------------------------------------------------------------------


def test_a_deleted_job_is_hidden_restored_and_at_last_gone_with_its_files(
    api: TestClient, database: Database, settings: Settings
) -> None:
    job_id = submitted(api, labels=["doomed"])
    path = trained(database, settings, job_id)
    folder = settings.artifacts_dir / "exports" / job_id
    folder.mkdir(parents=True)
    (folder / "x.tar.gz").write_bytes(b"x")
    set_state(database, job_id, "succeeded")

    def listed(**filters: Any) -> bool:
        jobs = api.get("/v1/jobs", params={"label": "doomed", "limit": 200, **filters}).json()["jobs"]
        return job_id in {job["id"] for job in jobs}

    assert listed()
    assert api.delete(f"/v1/jobs/{job_id}").json()["verbs"] == ["restore"]
    assert (listed(), listed(deleted=True)) == (False, True)
    assert api.post(f"/v1/jobs/{job_id}/clone").json()["allowed"] == ["restore"]
    removal.purge(database, settings)
    assert path.exists()
    assert api.post(f"/v1/jobs/{job_id}/restore").json()["deleted_at"] is None
    assert listed()

    api.delete(f"/v1/jobs/{job_id}")
    removal.purge(database, settings.model_copy(update={"delete_grace_seconds": 0}))
    assert api.get(f"/v1/jobs/{job_id}").status_code == 404
    assert not path.exists()
    assert not folder.exists()
    assert list((settings.artifacts_dir / removal.DOOMED).iterdir()) == []


def test_a_shared_supernet_goes_with_the_last_job_that_searches_it(
    api: TestClient, database: Database, settings: Settings
) -> None:
    at_once = settings.model_copy(update={"delete_grace_seconds": 0})
    first = submitted(api)
    path = trained(database, settings, first)
    second = api.post(f"/v1/jobs/{first}/extend").json()["id"]
    for job_id, is_left in ((first, True), (second, False)):
        set_state(database, job_id, "cancelled")
        api.delete(f"/v1/jobs/{job_id}")
        removal.purge(database, at_once)
        assert api.get(f"/v1/jobs/{job_id}").status_code == 404
        assert path.exists() == is_left
        assert (api.get(f"/v1/supernets/{first}").status_code == 200) == is_left


def test_a_removal_that_was_cut_off_is_finished_later(
    api: TestClient, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = settings.model_copy(update={"delete_grace_seconds": 0})
    job_id = submitted(api)
    path = trained(database, settings, job_id)
    set_state(database, job_id, "failed")
    api.delete(f"/v1/jobs/{job_id}")
    with monkeypatch.context() as patched:

        def dies(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(removal, "_remove", dies)
        with pytest.raises(KeyboardInterrupt):
            removal.purge(database, at_once)
    assert path.exists()
    removal.purge(database, settings)
    assert not path.exists()


# --- words and order ----------------------------------------------------------------------------------


def test_labels_find_jobs_and_edits_are_checked(api: TestClient) -> None:
    job_id = submitted(api, labels=["team=vision", "nightly"])
    page = api.get("/v1/jobs", params={"label": ["team=vision", "nightly"]}).json()
    assert job_id in [job["id"] for job in page["jobs"]]
    assert api.get("/v1/jobs", params={"label": ["team=vision", "never"]}).json()["jobs"] == []
    for wrong in ({"priority": 101}, {"priority": "1"}, {"labels": "x"}, {"labels": ["a b"]}, {"state": "queued"}):
        assert api.patch(f"/v1/jobs/{job_id}", json=wrong).status_code == 422, wrong
    body = json.dumps({"notes": "x\0y"})
    assert api.patch(f"/v1/jobs/{job_id}", content=body).status_code == 422
    assert api.patch("/v1/jobs/ffffffffffff", json={}).status_code == 404


def test_who_waits_longest_and_matters_most_goes_first(api: TestClient, database: Database) -> None:
    """The order in which waiting jobs are taken up; those of other tests do not count."""
    ids = [submitted(api) for _ in range(4)]
    api.patch(f"/v1/jobs/{ids[2]}", json={"priority": 5})
    with database.transaction() as session:
        for minutes, job_id in ((1, ids[0]), (3, ids[1])):
            earlier = text(f"now() - interval '{minutes} minutes'")
            session.execute(update(Job).where(Job.id == job_id).values(queued_at=earlier))
        order = [job_id for job_id in leases.unheld(session, Job, -60) if job_id in ids]
    assert order == [ids[2], ids[1], ids[0], ids[3]]


def test_a_cursor_that_was_not_given_here_is_refused(api: TestClient) -> None:
    for _ in range(2):
        submitted(api)
    cursor = api.get("/v1/jobs", params={"limit": 1}).json()["next_cursor"]
    assert api.get("/v1/jobs", params={"cursor": cursor}).status_code == 200
    read = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for changed in (0, len(read) - 3):  # the signature, and what is signed
        bent = bytearray(read)
        bent[changed] ^= 1
        answer = api.get("/v1/jobs", params={"cursor": base64.urlsafe_b64encode(bent).decode()})
        assert (answer.status_code, "cursor" in answer.json()["detail"]) == (422, True)
    unsigned = base64.urlsafe_b64encode(json.dumps(["2026-01-01T00:00:00", "x"]).encode()).decode()
    assert api.get("/v1/jobs", params={"cursor": unsigned}).status_code == 422


# --- the front of a search that is watched ------------------------------------------------------------


def test_a_watched_front_is_that_of_all_rows_and_rows_that_are_not_complete_are_left_out(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submitted(api)
    space, rng = read_job(job_of(database, job_id).spec).space(), random.Random(0)
    chosen = {one.id: one for one in (space.sample(np.random.default_rng(seed)) for seed in range(60))}
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(stage="search", state="running"))
    fronts._REMEMBERED.clear()
    for number, one in enumerate(chosen.values(), 1):
        metrics = {"accuracy": rng.random(), **({} if number % 7 == 0 else {"macs": rng.randrange(10**6)})}
        with database.transaction() as session:
            row = {"architecture_id": one.id, "values": dict(one.values), "metrics": metrics, "sources": {}}
            session.add(EvaluationRow(job_id=job_id, number=number, seconds=0.1, epoch=1, **row))
        if number % 5 == 0:
            watched = api.get(f"/v1/jobs/{job_id}/front").json()
            with monkeypatch.context() as patched:
                patched.setattr(fronts, "_REMEMBERED", {})
                results.ANSWERS.clear()
                assert api.get(f"/v1/jobs/{job_id}/front").json() == watched
    assert 0 < len(fronts._REMEMBERED[job_id][1]) < 60
