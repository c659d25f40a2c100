"""The final front: who is measured, what is made of it, and what is said of networks that break a limit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from job.resolve import resolve
from job.spec import JobSpec
from pipeline import finalists, front
from pipeline.finalists import Lab
from pipeline.front import measure_front
from pipeline.hardware import Hardware
from pipeline.workshop import JobFailed, Workshop
from predictors.latency_fit import Fitted
from search.evaluation import Evaluation
from search.final_front import FinalFront
from search.metrics import Source
from search_space.architecture import Architecture
from service.store.records import FrontRecord
from tests.pipeline.bench import MemoryReporter, workshop
from tests.tiers import mostly_thorough

SOURCES = {"accuracy": Source.MEASURED, "latency_ms": Source.PREDICTED, "size_bytes": Source.ANALYTIC}


class World:
    """A device that has become slower since its predictor learned, and a predictor with errors of a few per cent.

    Args:
        drift: by which share measurements are longer than when the predictor learned.
        noise: standard deviation of the predictor's errors, as a share.
    """

    def __init__(self, shop: Workshop, drift: float = 0.08, noise: float = 0.05, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.shop, self.asked = shop, []
        self.networks = list({a.id: a for a in (shop.space.sample(rng) for _ in range(200))}.values())
        sizes = {a.id: float(rng.random()) for a in self.networks}
        largest = shop.space.largest()
        self.networks = [one for one in self.networks if one.id != largest.id]
        sizes[largest.id] = 1.0
        self.accuracy = {name: 0.4 + 0.4 * size**0.5 - 0.2 * rng.random() for name, size in sizes.items()}
        self.true = {name: (1 + 4 * size) * (1 + drift) for name, size in sizes.items()}
        self.predicted = {name: (1 + 4 * size) * (1 + noise * rng.standard_normal()) for name, size in sizes.items()}
        fitted = Fitted(lambda a: self.predicted[a.id], 0.1, {}, lambda ones: [noise] * len(ones))
        self.hardware = Hardware(("latency_ms",), {"latency_ms": fitted})
        self.largest = largest

    def evaluation(self, one: Architecture) -> Evaluation:
        metrics = {"accuracy": self.accuracy[one.id], "latency_ms": self.predicted[one.id], "size_bytes": 1.0}
        return Evaluation(one, metrics, SOURCES)

    def evaluate(self, architectures: list[Architecture]) -> list[Evaluation]:
        """As an evaluator: without the target's metrics, which `Hardware` adds."""
        found = [self.evaluation(one) for one in architectures]
        for one in found:
            del one.metrics["latency_ms"]  # type: ignore[attr-defined]
        return [
            Evaluation(one.architecture, one.metrics, {name: SOURCES[name] for name in one.metrics}) for one in found
        ]

    @property
    def lab(self) -> Lab:
        """The world, which is all that is asked of a lab and its evaluators."""
        self.spec, self.space, self.searching, self.delivering = self.shop.spec, self.shop.space, self, self
        return cast(Lab, self)

    def tested(self, architectures: list[Architecture], *_rest: Any) -> list[finalists.Tested]:
        self.asked += [one.id for one in architectures]
        return [self._tested(one) for one in architectures]

    def _tested(self, one: Architecture) -> finalists.Tested:
        true = self.true[one.id]
        metrics = {"latency_ms": true, "predicted_latency_ms": self.predicted[one.id]}
        how = {"latency_ms": Source.MEASURED, "predicted_latency_ms": Source.PREDICTED}
        ends = {"latency_ms": (0.99 * true, 1.01 * true), "accuracy": (self.accuracy[one.id] - 0.01, 1.0)}
        return finalists.Tested({"test_accuracy": self.accuracy[one.id] - 0.01}, metrics, how, ends, [])


def world(folder: Path, limit: float | None, **given: Any) -> World:
    objectives = [{"metric": "accuracy"}, {"metric": "latency_ms", "limit": limit}]
    return World(workshop(folder, MemoryReporter(), objectives=objectives), **given)


def record_of(found: World) -> FrontRecord:
    measure_front(found.lab, list(map(found.evaluation, found.networks)), found.shop.reporter)
    (record,) = found.shop.reporter.records(FrontRecord)
    return record


def dominates(found: World, one: str, other: str) -> bool:
    mine, theirs = ((-found.accuracy[name], found.true[name]) for name in (one, other))
    return mine != theirs and mine[0] <= theirs[0] and mine[1] <= theirs[1]


@pytest.mark.parametrize("seed", mostly_thorough(range(4), 0))
def test_networks_are_measured_until_the_front_is_stable(tmp_path, seed: int) -> None:
    found = world(tmp_path, 4.0, seed=seed)
    record = record_of(found)
    ids = [point.architecture_id for point in record.points]
    assert record.stable
    assert len(found.asked) == len(set(found.asked)) < 60
    assert not any(dominates(found, one, other) for one in found.asked for other in ids if found.true[one] <= 4)
    assert all(found.true[name] <= 4 for name in ids)
    # The true front, of networks that nobody has measured too: few of it are missing.
    every = [one.id for one in found.networks if found.true[one.id] <= 4]
    true = [name for name in every if not any(dominates(found, other, name) for other in every)]
    assert len(set(true) & set(ids)) >= 0.8 * len(true)


@pytest.mark.parametrize(("high", "warnings"), [(21.0, 0), (25.0, 1)])
def test_a_wide_interval_of_the_best_perplexity_is_said(high: float, warnings: int) -> None:
    space = JobSpec.model_validate({"recipe": "bignas"}).supernet.space()
    # Only the best network's interval counts, and latency has nothing to do with examples.
    points = [
        Evaluation(
            architecture,
            {"perplexity": perplexity, "latency_ms": 1.0},
            intervals={"perplexity": ends, "latency_ms": (0.5, 1.5), "test_perplexity": (1.0, 9.0)},
        )
        for architecture, perplexity, ends in (
            (space.smallest(), 40.0, (20.0, 80.0)),
            (space.largest(), 20.0, (20.0, high)),
        )
    ]
    said = front._too_wide(
        FinalFront(points=points, rivals=[], beaten=[], beyond=[], knee=None, hypervolume=0, worst={})
    )
    assert len(said) == warnings
    assert all("perplexity of the best network" in text for text in said)


def test_what_breaks_a_limit_as_measured_is_beside_the_front_with_by_how_much(tmp_path) -> None:
    found = world(tmp_path, 3.0)
    record = record_of(found)
    assert record.beyond
    for one in record.beyond:
        (broken,) = one.breaks
        assert (broken.metric, broken.limit, broken.value) == ("latency_ms", 3.0, found.true[one.architecture_id])
        assert broken.by == pytest.approx(found.true[one.architecture_id] / 3 - 1)
        assert broken.by > 0
    reporter = found.shop.reporter
    told = [text for text in reporter.messages if "beside it" in text]  # type: ignore[attr-defined]
    assert record.beyond[0].architecture_id in told[0]
    assert "% beyond 3" in told[0]
    (finalist,) = [f for f in reporter.finalists() if f.architecture_id == record.beyond[0].architecture_id]
    assert finalist.position is None


def test_predictions_beside_measured_numbers_are_those_of_the_other_networks(tmp_path) -> None:
    found = world(tmp_path, None)
    record = record_of(found)
    (error,) = record.predictions
    assert error.networks == len(found.asked)
    assert error.bias > 0.05  # what the search believed was too good: the drift, and luck
    on_front = [f for f in found.shop.reporter.finalists() if f.position is not None]
    off = [f.metrics["latency_ms"] / f.metrics["predicted_latency_ms"] - 1 for f in on_front]
    assert abs(float(np.mean(off))) < 0.02


def test_the_reference_is_always_there(tmp_path) -> None:
    found = world(tmp_path, 3.0)
    record = record_of(found)
    assert record.reference is not None
    assert (record.reference.name, record.reference.architecture_id) == ("largest network", found.largest.id)
    assert [one.metric for one in record.reference.breaks] == ["latency_ms"]
    assert found.largest.id not in [one.architecture_id for one in (*record.beyond, *record.beaten)]
    assert found.asked[0] == found.largest.id
    (row,) = found.shop.reporter.evaluated  # type: ignore[attr-defined]
    assert (row.number, row.metrics["latency_ms"]) == (0, found.predicted[found.largest.id])


def test_a_front_that_nothing_keeps_fails_with_the_nearest(tmp_path) -> None:
    found = world(tmp_path, 1.05, noise=0.08)
    with pytest.raises(JobFailed, match=r"networks that were measured keeps the limits as measured. The nearest is"):
        record_of(found)
    (record,) = found.shop.reporter.records(FrontRecord)
    assert record.points == ()
    assert record.beyond
    hopeless = world(tmp_path, 0.01)
    with pytest.raises(JobFailed, match=r"None of \d+ architectures meets the limits \(latency_ms 0.01\)"):
        record_of(hopeless)
    assert hopeless.asked == []


def test_a_killed_stage_goes_on_with_what_is_measured(tmp_path) -> None:
    undisturbed = world(tmp_path, 4.0)
    expected = record_of(undisturbed)
    found = world(tmp_path, 4.0)
    found.shop.reporter.interrupt_at = 1  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="pausing"):
        record_of(found)
    found.shop.reporter.interrupt_at = None  # type: ignore[attr-defined]
    assert record_of(found).points == expected.points
    assert len(found.asked) == len(set(found.asked))


def test_without_predictions_the_front_of_the_search_is_measured_and_no_more(tmp_path) -> None:
    shop = workshop(tmp_path, MemoryReporter(), objectives=[{"metric": "accuracy"}, {"metric": "macs"}])
    found = World(shop)

    def exact(one: Architecture) -> Evaluation:
        metrics = {"accuracy": found.accuracy[one.id], "macs": found.predicted[one.id], "size_bytes": 1.0}
        return Evaluation(one, metrics, Source.ANALYTIC)

    found.evaluate = lambda many: list(map(exact, many))  # type: ignore[method-assign]
    found.hardware = Hardware()
    measure_front(found.lab, list(map(exact, found.networks)), shop.reporter)
    (record,) = shop.reporter.records(FrontRecord)
    ids = {point.architecture_id for point in record.points} | {found.largest.id}
    assert set(found.asked) == ids
    assert record.hypervolume is not None
    assert record.hypervolume > 0


def test_scores_that_are_no_numbers_are_on_no_front(tmp_path) -> None:
    found = world(tmp_path, None)
    for number, one in enumerate(found.networks):
        found.accuracy[one.id] = (math.nan, math.inf, -math.inf)[number % 3] if number % 2 else found.accuracy[one.id]
    record = record_of(found)
    assert all(math.isfinite(found.accuracy[point.architecture_id]) for point in record.points)
    spec = resolve(JobSpec.model_validate({"objectives": [{"metric": "accuracy"}, {"metric": "macs"}]}))
    assert spec.goals[0][0].violation(math.inf) == math.inf
