"""The stages of hardware on real rows, with a bench whose costs are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from job.spec import JobSpec
from pipeline import hardware
from pipeline.artifacts import ArtifactStore
from pipeline.hardware import Hardware, Targets, prepare_hardware, read, to_fit
from pipeline.reporter import Reporter
from pipeline.stages import search_problem
from pipeline.workshop import JobFailed, Workshop
from predictors.tables import key_of
from search.objectives import limits_of
from search_space.distinct import distinct_layers
from service import targets
from service.jobs import submit
from service.settings import Settings
from service.store import leases, queries
from service.store.models import Job, Stage
from service.store.session import Database
from tests.pipeline.bench import heard
from tests.pipeline.test_layer_tables import PricedBench

CHOICES = {"*_width": [8], "*_depth": [1, 2], "*_kernel": [3], "*_expansion": [2, 3], "head_width": [16]}
Make = Callable[..., Workshop]


@pytest.fixture
def shop_of(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes the workshop of a submitted and claimed job whose machine is a bench of known costs."""

    def make(bench: Any, **parts: Any) -> Workshop:
        monkeypatch.setattr(hardware, "LocalBench", lambda runtime: bench)
        objectives = [{"metric": "accuracy"}, {"metric": "latency_ms", "limit": 0.5}]
        body = {"supernet": {"choices": CHOICES}, "objectives": objectives, **parts}
        spec = JobSpec.model_validate({"recipe": "bignas", **body})
        with database.transaction() as session:
            job, _ = submit(session, spec, None)
        return shop_for(database, settings, job.id, spec)

    return make


def shop_for(database: Database, settings: Settings, job_id: str, spec: JobSpec) -> Workshop:
    with database.transaction() as session:
        lease = leases.claim(session, Job, job_id, "bench", 600)
        assert lease is not None
        queries.set_running(session, queries.fenced_job(session, job_id, lease.epoch))
    reporter = Reporter(database, job_id, lease.epoch)
    artifacts = ArtifactStore(settings.artifacts_dir)
    return Workshop(job_id, spec, spec.supernet.space(), reporter, artifacts, settings, torch.device("cpu"))


def prepared(shop: Workshop) -> Hardware:
    targets = Targets(shop.spec, shop.reporter, shop.artifacts, shop.settings)
    return prepare_hardware(shop.spec, shop.space, targets, shop.reporter)


class Place(PricedBench):
    """A bench of a device of its own, so that tests do not find one another's numbers."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.place = {"device": name}


class Dice(Place):
    """A machine whose latencies have nothing to do with the networks."""

    def result(self, model: Any) -> dict[str, Any]:
        found = super().result(model)
        return {**found, "median_ms": float(np.random.default_rng(len(self.measured)).uniform(1, 100))}

    def measure(self, models: Any, settings: Any, effort: Any, tick: Any) -> Any:
        return [super(Dice, self).measure([model], settings, effort, tick)[0] for model in models]


@pytest.mark.thorough
def test_a_good_predictor_drives_the_search_and_limits_leave_room(shop_of: Make) -> None:
    bench = Place("a calm machine")
    shop = shop_of(bench, hardware={"networks": 24})
    made = prepared(shop)
    (told,) = heard(shop.reporter, "predictor")
    assert told["used"]
    assert told["within_percent"]["10"] >= 0.9
    assert told["layers_in_table"] == len(distinct_layers(shop.space, 1000))
    problem = search_problem(shop.spec, shop.space, made)
    (limited,) = limits_of(problem.objectives, problem.constraints)
    assert limited.limit == pytest.approx(0.5 / (1 + told["margin"]))
    one = shop.space.largest()
    metrics, sources = made.scores(one, shop.reporter.listen)
    assert sources == {"latency_ms": "predicted"}
    assert problem.exact_costs["latency_ms"](one) == metrics["latency_ms"]
    # A job that was killed here measures nothing again, and says nothing twice.
    measured = len(bench.measured)
    again = prepared(shop)
    assert len(bench.measured) == measured
    assert again.scores(one, shop.reporter.listen)[0] == metrics
    assert len(heard(shop.reporter, "predictor")) == 1
    # Nor does another job on the same device.
    prepared(shop_of(bench, hardware={"networks": 24}))
    assert len(bench.measured) == measured


@pytest.mark.thorough
def test_below_the_stated_quality_every_network_is_measured_and_it_is_said(shop_of: Make) -> None:
    shop = shop_of(Dice("a die"), hardware={"networks": 20, "max_layers": 0})
    made = prepared(shop)
    assert made.fitted == {}
    assert [event["used"] for event in heard(shop.reporter, "predictor")] == [False]
    assert "measured instead" in heard(shop.reporter, "message")[-1]["text"]
    _, sources = made.scores(shop.space.largest(), shop.reporter.listen)
    assert sources == {"latency_ms": "measured"}
    assert search_problem(shop.spec, shop.space, made).objectives[1].limit == 0.5


@pytest.mark.thorough
def test_too_many_layers_leave_the_table_out_and_it_is_said(shop_of: Make) -> None:
    shop = shop_of(Place("a small one"), hardware={"networks": 10, "max_layers": 3, "min_within_10_percent": 0})
    assert prepared(shop).fitted
    assert "No table of layers" in heard(shop.reporter, "message")[0]["text"]


def test_an_uploaded_table_prices_and_has_nothing_to_measure(shop_of: Make, database: Database) -> None:
    space = JobSpec.model_validate({"recipe": "bignas", "supernet": {"choices": CHOICES}}).supernet.space()
    rows = [f'pocket,"{key_of(spec)}",0.25' for spec in distinct_layers(space, 1000)]
    with database.transaction() as session:
        targets.add_table(session, "quarter", "\n".join(["target,key,latency_ms", *rows]))
    goals = [{"metric": "accuracy"}, {"metric": "latency_ms", "target": "quarter"}]
    shop = shop_of(Place("unused"), objectives=goals)
    made = prepared(shop)
    assert made.meter is None
    one = shop.space.smallest()
    metrics, sources = made.scores(one, shop.reporter.listen)
    assert (metrics, sources) == ({"latency_ms": 0.25 * len(shop.space.layers(one))}, {"latency_ms": "predicted"})
    assert "cannot be measured there" in heard(shop.reporter, "message")[0]["text"]
    (told,) = heard(shop.reporter, "predictor")
    assert (told["model"], told["layers_in_table"], told["used"]) == ("uploaded table", len(rows), True)


def test_a_job_without_a_target_measures_no_hardware(shop_of: Make) -> None:
    goals = [{"metric": "accuracy"}, {"metric": "macs"}]
    assert prepared(shop_of(Place("idle"), objectives=goals)) == Hardware()


class Ticking(Place):
    """Says how far each measurement is."""

    def measure(self, models: Any, settings: Any, effort: Any, tick: Any) -> Any:
        for tenth in range(11):
            tick(tenth / 10)
        return super().measure(models, settings, effort, tick)


@pytest.mark.thorough
def test_the_stage_moves_while_networks_are_measured_and_says_what_and_where(
    shop_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shop_of(Ticking("a slow machine"), hardware={"networks": 20})
    shares: list[float] = []
    learned: list[float] = []
    told: list[str] = []
    progress = shop.reporter.progress

    def seen(done: float, *, force: bool = False) -> None:
        progress(done, force=force)
        if shop.reporter.where()[0] == Stage.FIT_PREDICTORS:
            learned.append(done)
        if shop.reporter.where()[0] == Stage.MEASURE_HARDWARE:
            shares.append(done)
            told.append(shop.reporter.where()[2])

    monkeypatch.setattr(shop.reporter, "progress", seen)
    prepared(shop)
    assert shares == sorted(shares)
    # Of layers and of networks alike, no measurement stands still.
    assert max(later - earlier for earlier, later in itertools.pairwise(shares)) < 0.1
    assert shares[-1] == pytest.approx(1)
    assert learned == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])  # the folds that judge the predictor
    for what in ("0 of 20 networks are measured, 20 take turns on cpu-onnxruntime", "layers are measured", "probes"):
        assert any(what in one for one in told), what


class Tokens:
    """Reads folders of language models: a token costs what the weights' bytes cost to read."""

    place: ClassVar[dict[str, Any]] = {"device": "a talker"}

    def measure(self, models: list[Path], settings: Any, effort: Any, tick: Any) -> Any:
        return [self.result((model / "model.safetensors").stat().st_size) for model in models]

    def result(self, size_bytes: int) -> list[dict[str, Any]]:
        token_ms = 1 + size_bytes / 1e6
        decode = {"phase": "decode", "median_ms": token_ms, "tokens_per_second": 1000 / token_ms}
        return [{"phase": "prefill", "median_ms": 5 * token_ms, "mad_ms": 0.0, "runs": 3}, decode]


@pytest.mark.thorough
def test_tokens_per_second_are_predicted_from_whole_networks_and_their_limit_is_a_least(shop_of: Make) -> None:
    goals = [{"metric": "perplexity"}, {"metric": "tokens_per_second", "limit": 100}]
    parts = {
        "supernet": {"family": "llama", "preset": "tiny"},
        "data": {"source": "text", "path": "/nowhere.txt", "length": 16},
        "training": {"method": "single"},
        "objectives": goals,
        "hardware": {"networks": 20},
    }
    shop = shop_of(Tokens(), **parts)
    made = prepared(shop)
    (told,) = heard(shop.reporter, "predictor")
    assert (told["metric"], told["target"], told["used"]) == ("tokens_per_second", "cpu-torch", True)
    problem = search_problem(shop.spec, shop.space, made)
    (limited,) = limits_of(problem.objectives, problem.constraints)
    assert limited.limit == pytest.approx(100 * (1 + told["margin"]))


def test_a_phase_that_was_not_measured_is_said() -> None:
    with pytest.raises(JobFailed, match="choose a target whose runtime is torch"):
        read([{"phase": "prefill", "median_ms": 1.0}], "tokens_per_second")


def test_networks_to_fit_are_different_and_have_both_ends() -> None:
    space = JobSpec.model_validate({"recipe": "bignas"}).supernet.space()
    found = to_fit(space, 30, seed=0)
    assert len({one.id for one in found}) == 30
    assert {space.smallest().id, space.largest().id} <= {one.id for one in found}
    assert [one.id for one in to_fit(space, 30, seed=0)] == [one.id for one in found]
