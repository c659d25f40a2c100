"""The final front over HTTP and in the terminal: from rows, with reference, intervals, rivals and broken limits."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from sqlalchemy import event, insert, update

from job.spec import JobSpec
from pipeline.evaluating import row_of
from pipeline.front import Reference, as_measured, store_front
from pipeline.workshop import Workshop
from search.evaluation import Evaluation
from service import fronts, jobs
from service.api import results
from service.api.answers import Answer, Kept
from service.auth import quotas
from service.store import queries, warm
from service.store.models import Artifact, EvaluationRow, Finalist, Job, JobState
from service.store.session import Database
from service.terminal import front_notes, front_plot, front_table
from tests.api import open_api
from tests.conftest import TINY_JOB
from tests.pipeline.test_sharing import running

FILE = {"path": "x", "sha256": "0", "size_bytes": 1}
LIMIT = 5.0
# Accuracy; latency as predicted and as measured.
NETWORKS = (
    (0.92, 4.0, 4.4),  # the most accurate
    (0.91, 3.0, 3.6),  # within error of the one above, and clearly faster
    (0.90, 3.5, 3.7),  # beaten as measured
    (0.93, 4.5, 5.5),  # beyond the limit as measured
    (0.70, 1.0, 1.1),  # the fastest
)


def finished(database, settings, *, ended: bool = True) -> tuple[Workshop, list[str]]:
    """A job whose front is made as a job makes it; ids of its networks and of the reference, which comes last."""
    objectives = [{"metric": "accuracy"}, {"metric": "latency_ms", "limit": LIMIT}]
    shop = running(database, settings, JobSpec.model_validate({**TINY_JOB, "objectives": objectives}))
    space, rng = shop.spec.space(), np.random.default_rng(0)
    how = {"accuracy": "measured", "latency_ms": "predicted", "macs": "analytic"}
    measured, ids = [], []
    for number, (accuracy, predicted, latency) in enumerate([*NETWORKS, (0.95, 8.0, 9.0)]):
        network = space.largest() if number == len(NETWORKS) else space.sample(rng)
        scores = {"accuracy": accuracy, "latency_ms": predicted, "macs": 1e6 * predicted}
        one = Evaluation(network, scores, how)
        (shop.reporter.reference if number == len(NETWORKS) else shop.reporter.evaluation)(row_of(one, 0.1))
        finalist = Finalist(
            job_id=shop.job_id,
            architecture_id=network.id,
            position=None,
            metrics={"test_accuracy": accuracy - 0.01, "latency_ms": latency, "predicted_latency_ms": predicted},
            sources={"test_accuracy": "measured", "latency_ms": "measured", "predicted_latency_ms": "predicted"},
            intervals={"accuracy": [accuracy - 0.015, accuracy + 0.015], "latency_ms": [latency - 0.1, latency + 0.1]},
            measurements=[],
        )
        measured.append((as_measured(one, finalist), finalist))
        shop.reporter.finalist(finalist)
        ids.append(network.id)
    store_front(shop.spec, measured, Reference("largest network", measured[-1][0]), shop.reporter)
    shop.reporter.artifact(lambda: Artifact(job_id=shop.job_id, kind="supernet", step=1, **FILE))
    if ended:
        shop.reporter.end(JobState.SUCCEEDED, None)
    return shop, ids


@pytest.fixture
def answered(database, settings) -> tuple[dict[str, Any], list[str], str]:
    shop, ids = finished(database, settings)
    with open_api(settings) as api:
        base = f"/v1/jobs/{shop.job_id}"
        front = api.get(f"{base}/front").json()
        front["csv"] = api.get(f"{base}/front?format=csv").text
        front["one"] = api.get(f"{base}/architectures/{ids[0]}").json()
        front["evaluations"] = api.get(f"{base}/evaluations").json()["evaluations"]
        front["listed"] = api.get("/v1/jobs").json()["jobs"][0]
        front["insight"] = api.get(f"{base}/insight").json()
        front["asked"] = api.post(f"{base}/exports", json={})
        front["of_reference"] = api.post(f"{base}/exports", json={"architecture_id": ids[-1]})
        front["page"] = api.get(f"/jobs/{shop.job_id}").text
    return front, ids, shop.job_id


def test_the_front_is_what_was_measured(answered) -> None:
    front, ids, _ = answered
    first, second, beaten, beyond, fastest, reference = ids
    assert front["final"]
    assert [point["architecture_id"] for point in front["points"]] == [first, second, fastest]
    assert [(one["architecture_id"], one["by"]) for one in front["beaten"]] == [(beaten, second)]
    (broken,) = front["beyond"]
    assert broken["architecture_id"] == beyond
    assert broken["breaks"] == [{"metric": "latency_ms", "limit": 5.0, "value": 5.5, "by": pytest.approx(0.1)}]
    assert (front["reference"]["name"], front["reference"]["architecture_id"]) == ("largest network", reference)
    assert [one["by"] for one in front["reference"]["breaks"]] == [pytest.approx(0.8)]
    assert front["held_out"] == ["test_accuracy"]
    assert front["worst"] == {"accuracy": 0.7, "latency_ms": 5.0}
    assert front["hypervolume"] == pytest.approx(0.22 * 0.6 + 0.21 * 0.8)
    assert front["insight"]["networks"] == 3
    assert front["insight"]["final"]


def test_numbers_have_intervals_ratios_and_rivals(answered) -> None:
    front, ids, _ = answered
    first, second = front["points"][:2]
    assert first["intervals"]["accuracy"] == [pytest.approx(0.905), pytest.approx(0.935)]
    assert first["ratios"]["latency_ms"] == pytest.approx(4.4 / 9)
    assert (first["rivals"], second["rivals"]) == ([ids[1]], [])
    assert front["knee"] == ids[1]  # a tie in accuracy, and clearly faster
    assert front["one"]["ratios"] == first["ratios"]
    assert front["one"]["intervals"] == first["intervals"]


def test_the_reference_is_no_evaluation_and_can_be_exported(answered, database) -> None:
    front, ids, job_id = answered
    assert [one["architecture_id"] for one in front["evaluations"]] == ids[:-1]
    listed = front["listed"]
    assert (listed["evaluations"], listed["front_size"], listed["best_accuracy"]) == (5, 3, 0.92)
    assert front["of_reference"].status_code == 202
    with database.transaction() as session:
        assert len(queries.evaluations(session, job_id)) == 5
        assert quotas.evaluations(session, "nobody") == 0


def test_without_a_rule_the_knee_is_compared_with_the_reference_of_the_front(answered) -> None:
    front, _, _ = answered
    refusal = front["asked"].json()
    assert front["asked"].status_code == 422
    assert refusal["reference"] == {"metric": "accuracy", "value": 0.95}
    assert "has accuracy 0.91 where the largest network has 0.95" in refusal["detail"]


def test_the_csv_has_the_reference_and_the_ends_of_intervals(answered) -> None:
    front, ids, _ = answered
    rows = list(csv.DictReader(io.StringIO(front["csv"])))
    assert [row["architecture_id"] for row in rows] == [ids[0], ids[1], ids[4], ids[5]]
    assert [row["baseline"] for row in rows] == ["", "", "", "largest network"]
    assert float(rows[0]["accuracy_low"]) == pytest.approx(0.905)
    assert float(rows[0]["latency_ms_high"]) == pytest.approx(4.5)


def test_the_terminal_shows_reference_intervals_and_what_is_beside(answered) -> None:
    front, ids, _ = answered
    console = Console(width=200)
    with console.capture() as told:
        console.print(front_table(front))
    assert "largest network" in told.get()
    assert "±1.5" in told.get()
    assert "×0.49" in told.get()
    (beside, luck) = front_notes(front)
    assert beside == f"Beside the front: {ids[3]}, latency_ms 5.5 ms, 10.0 % beyond 5 ms."
    assert luck.startswith("~")
    assert "□" in front_plot(front)


def test_a_narrow_terminal_cuts_no_id_and_no_name(answered) -> None:
    front, ids, _ = answered
    console = Console(width=80)
    with console.capture() as told:
        console.print(front_table(front))
    assert "…" not in told.get()
    assert max(map(len, told.get().splitlines())) <= 80
    assert all(ids[place] in told.get() for place in (0, 1, 4))


def test_a_front_is_never_computed_again(database, settings, monkeypatch) -> None:
    shop, _ = finished(database, settings)
    monkeypatch.setattr(fronts, "_so_far", lambda *_: pytest.fail("computed"))
    with open_api(settings) as api:
        assert api.get(f"/v1/jobs/{shop.job_id}/front").json()["final"]


def test_before_it_is_made_no_network_is_dominated_in_the_numbers_that_are_shown(database, settings) -> None:
    shop, ids = finished(database, settings, ended=False)
    with database.transaction() as session:
        session.execute(queries.delete(fronts.records.JobRecord).where(fronts.records.JobRecord.kind == "front"))
    with open_api(settings) as api:
        front = api.get(f"/v1/jobs/{shop.job_id}/front").json()
    assert not front["final"]
    assert front["reference"] is None
    shown = [(-one["metrics"]["accuracy"], one["metrics"]["latency_ms"]) for one in front["points"]]
    assert not any(a != b and a[0] <= b[0] and a[1] <= b[1] for a in shown for b in shown)
    assert ids[3] not in [one["architecture_id"] for one in front["points"]]


# --- what reading costs ---------------------------------------------------------------------------


@contextmanager
def counted(api: TestClient) -> Iterator[tuple[list[str], list[str]]]:
    """Statements of the API, and the evaluations that it reads as rows."""
    engine = api.app.state.database.engine
    statements: list[str] = []
    read: list[str] = []

    def stated(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    def loaded(row: EvaluationRow, _context: Any) -> None:
        read.append(row.architecture_id)

    event.listen(engine, "before_cursor_execute", stated)
    event.listen(EvaluationRow, "load", loaded)
    try:
        yield statements, read
    finally:
        event.remove(engine, "before_cursor_execute", stated)
        event.remove(EvaluationRow, "load", loaded)


def searched(database: Database, shop: Workshop, count: int, front: int, *, after: int = 0) -> None:
    """Evaluations of a job that searches, the first of which are on its front."""
    space, rng = shop.spec.space(), np.random.default_rng(after)
    networks = {one.id: one for one in (space.sample(rng) for _ in range(2 * count))}
    rows = []
    for place, one in enumerate(list(networks.values())[:count], 1):
        better = 0.9 + place / 1e4 if place <= front else 0.1
        metrics = {"accuracy": better, "macs": 1000 * place if place <= front else 10**7}
        facts = {"values": dict(one.values), "metrics": metrics, "sources": {}, "seconds": 0.1, "epoch": 1}
        rows.append({"job_id": shop.job_id, "architecture_id": one.id, "number": after + place, **facts})
    with database.transaction() as session:
        session.execute(insert(EvaluationRow), rows)
        session.execute(update(Job).where(Job.id == shop.job_id).values(stage="search"))


def test_a_front_reads_no_rows_but_those_that_it_shows_and_those_once(database, settings) -> None:
    shop = running(database, settings, JobSpec.model_validate(TINY_JOB))
    searched(database, shop, 2000, 40)
    path = f"/v1/jobs/{shop.job_id}/front"
    with open_api(settings) as api:
        with counted(api) as (first, read):
            shown = [one["architecture_id"] for one in api.get(path).json()["points"]]
        assert len(shown) == 40
        assert sorted(read) == sorted(shown)
        with counted(api) as (again, read):
            answer = api.get(path)
        assert [one["architecture_id"] for one in answer.json()["points"]] == shown
        assert read == []
        assert len(again) == 1 < len(first)
        # What was looked at once is not looked at again, also when nothing has come since, or there is news.
        for _ in range(2):
            results.ANSWERS.clear()
            assert api.get(path).json() == answer.json()
            assert fronts._REMEMBERED[shop.job_id][0] == 2000
        with database.transaction() as session:
            one = shop.spec.space().largest()
            facts = {"values": dict(one.values), "metrics": {"accuracy": 0.99, "macs": 10**6}, "sources": {}}
            row = EvaluationRow(architecture_id=one.id, seconds=0.1, **facts)
            epoch = jobs.get(session, shop.job_id).epoch
            queries.add_evaluation(session, shop.job_id, epoch, row, {})
        with counted(api) as (_, read):
            later = [point["architecture_id"] for point in api.get(path).json()["points"]]
        assert one.id in later
        assert sorted(read) == sorted(later)


def test_a_network_whose_scores_are_completed_comes_to_a_front_that_is_watched(database, settings) -> None:
    shop = running(database, settings, JobSpec.model_validate(TINY_JOB))
    searched(database, shop, 20, 5)
    path, one = f"/v1/jobs/{shop.job_id}/front", shop.spec.space().largest()
    copied = EvaluationRow(architecture_id=one.id, values=dict(one.values), sources={}, seconds=0.1)
    copied.metrics = {"accuracy": 0.99}
    with database.transaction() as session:
        epoch = jobs.get(session, shop.job_id).epoch
        queries.add_evaluation(session, shop.job_id, epoch, copied, {})
    with open_api(settings) as api:
        for _ in range(2):
            results.ANSWERS.clear()
            assert one.id not in [point["architecture_id"] for point in api.get(path).json()["points"]]
        with database.transaction() as session:
            warm.rescore(session, shop.job_id, epoch, one.id, {"accuracy": 0.99, "macs": 10**6}, {})
        assert api.get(path).json()["points"][0]["architecture_id"] == one.id


def test_a_front_that_is_known_is_not_sent_again(database, settings) -> None:
    shop, ids = finished(database, settings, ended=False)
    path = f"/v1/jobs/{shop.job_id}/front"
    with open_api(settings) as api:
        api.headers["Accept-Encoding"] = "identity"  # a compressed answer has a weak tag
        tag = api.get(path).headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = api.get(path, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        shop.reporter.end(JobState.SUCCEEDED, None)
        answer = api.get(path, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.json()["final"]) == (200, True)
        assert [one["architecture_id"] for one in answer.json()["points"]] == [ids[0], ids[1], ids[4]]
        assert api.get("/v1/jobs/nonsuch/front", headers={"If-None-Match": "*"}).status_code == 404


def test_a_list_takes_as_many_statements_for_many_jobs_as_for_one(database, settings) -> None:
    shop, _ = finished(database, settings)
    with open_api(settings) as api:
        for _ in range(5):
            assert api.post("/v1/jobs", json=TINY_JOB).status_code == 201
        with counted(api) as (one, read):
            api.get("/v1/jobs", params={"limit": 1})
        with counted(api) as (many, read):
            listed = api.get("/v1/jobs", params={"limit": 6}).json()["jobs"]
    assert (len(one), read) == (len(many), [])
    of = next(job for job in listed if job["id"] == shop.job_id)
    assert (of["evaluations"], of["front_size"], of["best_accuracy"]) == (5, 3, 0.92)


def test_answers_are_kept_by_version_and_within_their_bytes() -> None:
    kept = Kept[Answer](most_bytes=10)
    kept.keep("a", 1, Answer.of(b"12345"))
    assert kept.get("a", 2) is None
    kept.keep("b", 1, Answer.of(b"1234"))
    assert kept.get("a", 1) == Answer.of(b"12345")
    kept.keep("c", 1, Answer.of(b"1"))
    kept.keep("c", 2, Answer.of(b"123"))  # one too many: what was asked for least recently goes
    assert [kept.get(*one) is None for one in (("a", 1), ("b", 1), ("c", 1), ("c", 2))] == [False, True, True, False]
    kept.keep("d", 1, Answer.of(b"1" * 11))
    assert kept.get("d", 1) is None
