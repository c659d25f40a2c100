"""A search whose networks heal a little, in the stages of a small job: scores, resumption, and what is healed then."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from job.spec import JobSpec
from pipeline import finalists, healing, stages
from pipeline.exams import exams_of, held_out_exams_of
from pipeline.healing import Healer
from pipeline.materials import prepare_data
from pipeline.reporter import Interrupted
from pipeline.workshop import Workshop
from service.store.records import (
    FidelityReport,
    FidelityScore,
    FrontRecord,
    HealedFront,
    HealedNetwork,
    HealingPlan,
    HealingPoint,
)
from supernet.trainer import NonFiniteLoss
from tests.pipeline.bench import MemoryReporter, train_supernet
from tests.pipeline.llama_bench import llama_spec
from tests.pipeline.test_healing import CPU, _Millisecond, _shop, one_thread, words_file
from tests.tiers import mostly_thorough

__all__ = ["one_thread"]

STEPS = 24
HEALING = {"networks": "front", "most": 2, "steps": STEPS, "validations": 4, "learning_rate": 1e-3, "batch_size": 16}
LADDER: dict[str, Any] = {"steps": [2, 8], "candidates": 4, "keep": 0.5}


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finalists, "LocalBench", _Millisecond)
    monkeypatch.setattr(finalists, "write_measurable", lambda *_network: Path())


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return words_file(tmp_path_factory.mktemp("text"), 1000)


def spec(text: Path, algorithm: str = "winnow", fidelities: dict[str, Any] | None = LADDER) -> JobSpec:
    given = llama_spec(text).model_dump(mode="json")
    options = {"batch": 4, **({"initial": 4} if algorithm == "winnow" else {})}
    asked = {"algorithm": algorithm, "evaluations": 8, "options": options, "fidelities": fidelities}
    return JobSpec.model_validate(
        {
            **given,
            "objectives": [{"metric": "perplexity"}, {"metric": "params"}],
            "training": {**given["training"], "method": "single", "options": {"architecture": "largest"}},
            "search": {**given["search"], **asked},
            "healing": HEALING,
        }
    )


def shop_of(one: JobSpec, folder: Path, reporter: MemoryReporter | None = None, **part: Any) -> Workshop:
    return _shop(one, reporter or MemoryReporter(), folder, {**HEALING, **part})


def run(shop: Workshop) -> MemoryReporter:
    stages.search_supernet(shop, prepare_data(shop.spec, shop.space, CPU))
    reporter: Any = shop.reporter
    return reporter


def outcome(reporter: MemoryReporter) -> dict[str, Any]:
    """All that must not depend on where a run was cut off."""
    timeless = {"seconds": 0.0}
    return {
        "evaluations": [(row.architecture_id, row.metrics) for row in reporter.evaluated],
        "rungs": [one.model_copy(update=timeless) for one in reporter.records(FidelityScore)],
        "report": reporter.records(FidelityReport),
        "front": reporter.records(FrontRecord),
        "healed": [one.model_copy(update=timeless) for one in reporter.records(HealedNetwork)],
        "healed front": reporter.records(HealedFront),
        "weights": sorted((row.path, row.sha256) for row in reporter.artifacts("healed")),
        "left": sorted(row.kind for row in reporter.rows if "checkpoint" in row.kind),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(text: Path, folder: Path) -> MemoryReporter:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finalists, "LocalBench", _Millisecond)
        patch.setattr(finalists, "write_measurable", lambda *_network: Path())
        found = run(shop_of(spec(text), folder))
    torch.set_num_threads(threads)
    return found


def test_networks_climb_and_what_they_score_is_kept_apart_from_what_is_held_out(whole: MemoryReporter) -> None:
    scores = whole.records(FidelityScore)
    levels = {level: [one.architecture_id for one in scores if one.level == level] for level in (1, 2)}
    assert [len(set(names)) for names in levels.values()] == [4, 2]
    assert set(levels[2]) < set(levels[1]) < {row.architecture_id for row in whole.evaluated}
    before = {row.architecture_id: row.metrics for row in whole.evaluated}
    largest = max(before, key=lambda name: before[name]["params"] or 0)
    for one in scores:
        assert (one.steps, one.refused) == ((2, 8)[one.level - 1], None)
        assert one.architecture_id != largest
        assert one.metrics["params"] == before[one.architecture_id]["params"]
        assert one.metrics["perplexity"] != before[one.architecture_id]["perplexity"]
        assert not [name for name in one.metrics if name.startswith("test_")]
    (report,) = whole.records(FidelityReport)
    assert report.chosen_by == "Gaussian process"
    assert [(rung.steps, rung.networks, rung.spent_steps) for rung in report.rungs] == [(2, 4, 8), (8, 2, 12)]
    assert set(report.points) <= set(levels[2])
    assert report.knee in report.points
    assert [(one.low, one.high, one.networks) for one in report.correlations] == [(0, 2, 4), (0, 8, 2), (2, 8, 2)]
    assert report.correlations[0].kendall is not None
    assert report.correlations[1].kendall is None
    said = " ".join(whole.messages)
    assert "4 up to 2 steps, 2 up to 8 steps; 20 steps in all" in said
    assert "4 networks healed up to 2 steps (8 steps in all)" in said


def test_what_climbed_is_measured_and_what_was_chosen_is_healed_to_the_end(whole: MemoryReporter) -> None:
    (report,) = whole.records(FidelityReport)
    (front,) = whole.records(FrontRecord)
    reached = {one.architecture_id for one in whole.records(FidelityScore) if one.level == 2}
    assert reached <= {one.architecture_id for one in whole.measured}
    healed = whole.records(HealedNetwork)
    assert [one.architecture_id for one in healed] == list(report.points)[:2]
    for one in healed:
        assert one.steps == STEPS
        assert "test_perplexity" in (one.after or {})
    assert {one.architecture_id for one in front.points} != set()
    assert not outcome(whole)["left"]


@pytest.mark.thorough
def test_the_first_steps_are_those_of_the_healing(
    text: Path, whole: MemoryReporter, folder: Path, tmp_path: Path
) -> None:
    """A network that climbed is to the bit what it is when it heals at once; its rungs cost nothing twice."""
    one = whole.records(HealedNetwork)[0]
    shutil.copytree(folder / "artifacts", tmp_path / "artifacts")
    reporter = copy.deepcopy(whole)
    healing_records = {
        "healing plan",
        "healing point",
        "healed network",
        "healed front",
        "fidelity score",
        "fidelities",
    }
    reporter.stored = {name: data for name, data in whole.stored.items() if name[0] not in healing_records}
    reporter.rows = [row for row in whole.rows if row.kind != "healed"]
    shop = shop_of(spec(text, fidelities=None), tmp_path, reporter, networks=[one.architecture_id])
    data = prepare_data(shop.spec, shop.space, CPU)
    asked = shop.spec, shop.space, data, None
    Healer(shop, data, exams_of(*asked), held_out_exams_of(*asked)).run(train_supernet(shop, data))
    (again,) = reporter.records(HealedNetwork)
    assert (again.after, again.best_step, again.steps) == (one.after, one.best_step, one.steps)
    (file,) = reporter.artifacts("healed")
    assert file.sha256 in {row.sha256 for row in whole.artifacts("healed")}

    def points(of: MemoryReporter) -> list[Any]:
        return [p.shown["perplexity"] for p in of.records(HealingPoint) if p.architecture_id == one.architecture_id]

    assert points(reporter) == points(whole)


@pytest.mark.thorough
@pytest.mark.parametrize("every", mostly_thorough([7, 16], 16))
def test_a_run_that_is_cut_off_again_and_again_ends_as_an_undisturbed_one(
    every: int, text: Path, whole: MemoryReporter, tmp_path: Path
) -> None:
    """Within rungs, between them, and in the healing after: each run comes a few reports further."""
    reporter = MemoryReporter()
    stages_cut = set()
    for number in range(1, 200):
        # What a run finds out again before it comes to something new takes ever more reports.
        reporter.progressed, reporter.interrupt_at = 0, every * number
        began = len(reporter.told)
        try:
            run(shop_of(spec(text), tmp_path, reporter))
        except Interrupted:
            told = [data["stage"] for name, data in reporter.told[began:] if name == "stage"]
            stages_cut.add((told or ["?"])[-1])
            continue
        break
    assert number >= 3
    assert {"search"} < stages_cut
    assert outcome(reporter) == outcome(whole)


@pytest.mark.thorough
def test_a_network_that_cannot_heal_is_not_chosen(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    step = healing.HealingTrainer.step

    def failing(trainer: Any) -> Any:
        name = trainer.method.architecture.id
        if not refused:
            refused.append(name)
        if name == refused[0]:
            raise NonFiniteLoss("The loss is no number.")
        return step(trainer)

    monkeypatch.setattr(healing.HealingTrainer, "step", failing)
    reporter = run(shop_of(spec(text), tmp_path))
    scores = reporter.records(FidelityScore)
    (bad,) = [one for one in scores if one.refused is not None]
    assert (bad.architecture_id, bad.level) == (refused[0], 1)
    assert "diverged 4 times" in (bad.refused or "")
    (report,) = reporter.records(FidelityReport)
    assert [rung.refused for rung in report.rungs] == [1, 0]
    assert refused[0] not in report.points
    assert [rung.networks for rung in report.rungs] == [3, 2]
    assert not outcome(reporter)["left"]


@pytest.mark.thorough
def test_a_stopped_search_reports_what_climbed_and_heals_no_more(
    text: Path, whole: MemoryReporter, tmp_path: Path
) -> None:
    reporter = MemoryReporter()
    run_until = 0
    for number in range(20, 400, 10):  # until some networks have climbed
        reporter = MemoryReporter(stop_at=number)
        run(shop_of(spec(text), tmp_path / str(number), reporter))
        if len(reporter.records(FidelityScore)) >= 2:
            run_until = number
            break
    assert run_until
    scores = reporter.records(FidelityScore)
    assert len(scores) < len(whole.records(FidelityScore))
    (report,) = reporter.records(FidelityReport)
    assert sum(rung.networks for rung in report.rungs) == len(scores)
    assert reporter.records(HealedNetwork) == []
    assert not outcome(reporter)["left"]


@pytest.mark.thorough
@pytest.mark.parametrize("algorithm", mostly_thorough(["random", "nsga2"], "nsga2"))
def test_other_algorithms_climb_by_rank(algorithm: str, text: Path, tmp_path: Path) -> None:
    options = {"population": 4} if algorithm == "nsga2" else {"batch": 4}
    given = spec(text).model_dump(mode="json")
    given["search"] |= {"algorithm": algorithm, "options": options}
    reporter = run(shop_of(JobSpec.model_validate(given), tmp_path))
    (report,) = reporter.records(FidelityReport)
    assert report.chosen_by == "ranks"
    assert [rung.networks for rung in report.rungs] == [4, 2]


def test_rungs_beyond_the_healing_are_refused_where_only_the_data_tell(text: Path, tmp_path: Path) -> None:
    shop = shop_of(spec(text), tmp_path)
    data = prepare_data(shop.spec, shop.space, CPU)
    assert shop.spec.healing is not None
    short = shop.spec.healing.model_copy(update={"steps": 7})
    other = copy.copy(shop)
    object.__setattr__(other, "spec", shop.spec.model_copy(update={"healing": short}))
    with pytest.raises(healing.JobFailed, match=r"fidelities.steps is 8, but a network heals 7"):
        Healer(other, data, [], [])


def test_plans_of_climbing_and_healing_are_the_same(whole: MemoryReporter) -> None:
    plans = whole.records(HealingPlan)
    assert {plan.steps for plan in plans} == {STEPS}
    assert len(plans) == len({plan.architecture_id for plan in plans}) == 4
