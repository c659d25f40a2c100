"""One gate before every row: no NaN, no infinity and no text that PostgreSQL refuses gets past it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from job.spec import JobSpec
from pipeline.evaluating import evaluation_of, row_of
from search.evaluation import Evaluation
from service.store import queries, records, sharing
from service.store.models import EvaluationRow, Finalist, Job, JobEvent, JobRecord, TrainedSupernet
from service.store.records import (
    Baseline,
    BaselineScore,
    CurvePoint,
    Derived,
    FrontRecord,
    LayerSensitivity,
    Measured,
    OnFront,
    PredictorReport,
    Record,
    SearchPoint,
    SensitivityRecord,
    TrainingPoint,
)
from service.store.storable import storable, to_json
from supernet.data.dataset import Batch
from supernet.scores.labels import Accuracy, Divergence, Perplexity
from tests.api import open_api
from tests.conftest import TINY_JOB
from tests.pipeline.test_sharing import running

BAD = (math.nan, math.inf, -math.inf, np.float64("nan"))


def test_every_number_that_is_not_finite_becomes_null_wherever_it_stands() -> None:
    given = {"a": BAD, "b": {"c": [1.5, [math.inf]]}, "d": True, "e": None, "f": 10**30, "g": "NaN"}
    assert storable(given) == {
        "a": [None] * 4,
        "b": {"c": [1.5, [None]]},
        "d": True,
        "e": None,
        "f": 10**30,
        "g": "NaN",
    }
    assert to_json({"x": math.nan}) == '{"x": null}'


@pytest.mark.parametrize("text", ["a\0b", "caf\udce9.png", "\ud800"])
def test_text_that_no_row_holds_is_shown_with_a_mark(text: str) -> None:
    found = storable({text: [text]})
    assert "�" in next(iter(found))
    assert next(iter(found.values())) == list(found)


def found_out(bad: float, on_front: str) -> list[Record]:
    """A record of every kind that holds scores."""
    where = {"probabilities": ((bad,),), "entropy": bad, "expected_ms": bad, "most_likely_ms": bad}
    point = {"run": 0, "epoch": 1.0, "loss": bad}
    network = {"architecture_id": "a", "metrics": {"accuracy": bad}, "sources": {}, "measurements": [{"p95_ms": bad}]}
    aim = {"target": "t", "latency_weight": None, "budget_ms": 1.0, "table_ms": 1.0, "argmax": True, "values": {}}
    layer = LayerSensitivity(layer="a.b", precision="8", divergence=bad, agreement=0.0, bits=8)
    report = {"metric": "latency_ms", "unit": "ms", "target": None, "used": False, "margin": 0.0}
    return [
        CurvePoint(epoch=1, loss_largest=bad),
        FrontRecord(
            points=(OnFront(architecture_id=on_front),),
            knee=on_front,
            reference=None,
            beaten=(),
            beyond=(),
            hypervolume=bad,
            worst={"accuracy": bad},
            stable=True,
            predictions=(),
        ),
        PredictorReport(**report, rmse=bad, true=[bad]),
        SensitivityRecord(architecture_id="a", layers=(layer,)),
        Baseline(name="x", values={}, **network),
        BaselineScore(values={}, metrics={"accuracy": bad}),
        SearchPoint(**point, **where),
        Derived(run=0, architecture_id="a", **aim, **where),
        TrainingPoint(**point),
        Measured(run=0, test={"test_accuracy": bad}, **network),
    ]


@pytest.mark.parametrize("bad", BAD)
def test_every_kind_of_row_holds_null_for_a_score_that_is_no_number(database, settings, bad: float) -> None:
    spec = JobSpec.model_validate({**TINY_JOB, "objectives": [{"metric": "accuracy"}, {"metric": "macs"}]})
    shop = running(database, settings, spec)
    space = spec.space()
    one, other = space.smallest(), space.largest()
    for architecture, accuracy in ((one, bad), (other, 0.5)):
        scored = Evaluation(
            architecture, {"accuracy": accuracy, "macs": 1.0}, {"accuracy": "measured", "macs": "analytic"}
        )
        shop.reporter.evaluation(row_of(scored, 0.1))
        metrics = {"test_accuracy": bad, "latency_ms": bad}
        measurements = [{"median_ms": bad, "times_ms": [bad, 1.0]}]
        finalist = {"position": 1, "metrics": metrics, "sources": {}, "measurements": measurements}
        shop.reporter.finalist(Finalist(job_id=shop.job_id, architecture_id=architecture.id, **finalist))
    shop.reporter.event("violations", {"loss_largest": bad, "report": {"rmse": bad, "true": [bad]}})
    told = found_out(float(bad), other.id)
    for record in told:
        shop.reporter.record(record)
    shop.reporter.environment({"load": bad})
    scores = {"smallest": bad, "largest": bad, "random": {"mean": bad, "min": bad, "max": bad, "count": 10}}
    facts = {"name": "x", "recipe": "bignas", "space": space.name, "metric": "accuracy", "step": 1}
    file = {"path": "x", "sha256": "0", "size_bytes": 1}
    parts = {"supernet": {}, "data": {}, "training": {}, "curve": [{"loss": bad}], "scores": scores}
    shop.reporter.trained(TrainedSupernet(id=shop.job_id, job_id=shop.job_id, **facts, **parts, **file))
    shop.reporter.offer([(one.id, dict(one.values))], "me")
    with database.transaction() as session:
        (claim,) = sharing.claim(session, shop.job_id, "me", 1, 60)
        assert sharing.deliver(session, shop.job_id, claim, {"accuracy": bad}, {}, 0.1)
    with database.transaction() as session:
        rows = queries.evaluations(session, shop.job_id)
        assert [row.metrics["accuracy"] for row in rows] == [None, 0.5]
        assert math.isnan(evaluation_of(one, rows[0]).metrics["accuracy"])
        found = [
            [row.metrics for row in queries.finalists(session, shop.job_id)],
            [row.measurements for row in queries.finalists(session, shop.job_id)],
            session.get(Job, shop.job_id).environment,
            session.get(TrainedSupernet, shop.job_id).scores,
            session.get(TrainedSupernet, shop.job_id).curve,
            [event.data for event in queries.events_after(session, shop.job_id, 0, 100)],
            [row.data for row in session.query(JobRecord).filter_by(job_id=shop.job_id)],
        ]
        for record in told:  # each can be read again
            assert [one.data() for one in records.read(session, shop.job_id, type(record))] == [record.data()]
        assert [row.metrics for row in sharing.collect(session, shop.job_id, shop.reporter.epoch, [one.id])] == [
            {"accuracy": None}
        ]
    assert [name for name in ("nan", "inf") if name in str(found).lower()] == []
    assert str(found).count("None") > 15
    with open_api(settings) as api:
        address = f"/v1/jobs/{shop.job_id}"
        front = api.get(f"{address}/front").json()
        assert [point["architecture_id"] for point in front["points"]] == [other.id]
        assert front["points"][0]["metrics"]["latency_ms"] is None
        (layer,) = api.get(f"{address}/sensitivity").json()["layers"]
        assert layer["divergence"] is None
        for path in (address, f"{address}/evaluations", f"{address}/front?format=csv", f"/v1/supernets/{shop.job_id}"):
            assert api.get(path).status_code == 200


def test_messages_of_runs_are_stored_whatever_they_hold(database, settings) -> None:
    shop = running(database, settings, JobSpec.model_validate(TINY_JOB))
    shop.reporter.tell("warning", "left out: caf\udce9.png, a\0b")
    shop.reporter.end("failed", "The file caf\udce9.png holds a\0b")
    with database.transaction() as session:
        job = session.get(Job, shop.job_id)
        assert job.message == "The file caf�.png holds a�b"
        (told,) = session.query(JobEvent).filter_by(job_id=shop.job_id, kind="message")
        assert told.data["text"] == "left out: caf�.png, a�b"
        assert session.query(JobEvent).filter_by(job_id=shop.job_id, kind="state").count() >= 2
        assert session.query(EvaluationRow).filter_by(job_id=shop.job_id).count() == 0


def test_answers_that_are_no_numbers_are_never_good_scores() -> None:
    logits, targets = torch.full((4, 3), math.nan), torch.zeros(4, dtype=torch.int64)
    batch = Batch.of(torch.zeros(4, 1), targets)
    accuracy, divergence, perplexity = Accuracy(), Divergence(), Perplexity()
    for tally in (accuracy, divergence, perplexity):
        tally.add(logits, batch, torch.zeros(4, 3))
    assert accuracy.values() == {"accuracy": 0.0}
    assert math.isnan(divergence.values()["kl_divergence"])
    assert math.isnan(perplexity.values()["perplexity"])
