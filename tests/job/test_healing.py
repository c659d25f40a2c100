"""The part `healing` of a job: what may be asked, what follows from it, and what is refused with what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from job.healing_spec import DEFAULT_STEPS, HealingSpec
from job.resolve import opened, resolve
from job.spec import JobSpec


def job(**parts: Any) -> JobSpec:
    return JobSpec.model_validate({"recipe": "bignas", **parts})


def refusal(**parts: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        job(**parts)
    return str(raised.value)


def llama(path: Path, **parts: Any) -> dict[str, Any]:
    path.write_text("some words")
    data = {"source": "text", "path": str(path), "length": 16}
    return {"recipe": "llama_nas", "supernet": {"preset": "tiny"}, "data": data, "training": {"epochs": 1}, **parts}


def test_a_job_heals_nothing_unless_it_is_asked() -> None:
    assert job().healing is None


def test_an_empty_part_heals_the_knee_for_so_many_steps_in_the_batches_of_the_training() -> None:
    part = resolve(job(healing={}, training={"batch_size": 64})).healing
    assert part is not None
    assert (part.networks, part.steps, part.batch_size, part.teacher) == ("knee", DEFAULT_STEPS, 64, "largest")
    assert (part.temperature, part.top, part.labels, part.hidden) == (1.0, None, 0.0, 0.0)


def test_what_followed_from_the_training_follows_its_changes_again() -> None:
    spec = resolve(job(healing={}))
    left_open = opened(spec).healing
    assert left_open is not None
    assert left_open.batch_size is None
    assert resolve(opened(spec)) == spec
    named = opened(resolve(job(healing={"batch_size": 32}))).healing
    assert named is not None
    assert named.batch_size == 32


@pytest.mark.parametrize(
    ("budget", "batch", "length", "steps"),
    [
        ({"steps": 7}, 64, 128, 7),
        ({"examples": 640}, 64, None, 10),
        ({"examples": 703}, 64, 16, 10),
        ({"tokens": 64 * 16 * 5}, 64, 16, 5),
        ({"minutes": 3}, 64, 16, None),
    ],
)
def test_every_budget_is_a_number_of_steps(
    budget: dict[str, Any], batch: int, length: int | None, steps: int | None
) -> None:
    assert HealingSpec.model_validate(budget).num_steps(batch, length) == steps


@pytest.mark.parametrize("budget", [{"examples": 63}, {"tokens": 1023}])
def test_a_budget_of_less_than_a_step_is_refused(budget: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"less than the [\d,]+ (examples|tokens) of one step.*give more"):
        HealingSpec.model_validate(budget).num_steps(64, 16)


def test_a_job_whose_budget_is_less_than_a_step_is_refused_when_it_is_submitted(tmp_path: Path) -> None:
    given = llama(tmp_path / "a.txt", healing={"tokens": 255, "batch_size": 16})
    with pytest.raises(ValidationError, match=r"healing.tokens is 255, less than the 256 tokens of one step"):
        JobSpec.model_validate(given)
    part = JobSpec.model_validate({**given, "healing": {"tokens": 256, "batch_size": 16}}).healing
    assert part is not None
    assert part.num_steps(16, 16) == 1


@pytest.mark.parametrize("budget", [{"steps": 0}, {"examples": 0}, {"tokens": 0}, {"minutes": 0}, {"steps": -1}])
def test_a_budget_of_nothing_is_refused(budget: dict[str, Any]) -> None:
    (name,) = budget
    assert f"healing.{name}" in refusal(healing=budget)
    assert "greater than" in refusal(healing=budget)


@pytest.mark.parametrize("budget", [{"examples": 10**400}, {"tokens": 10**16}])
def test_a_budget_that_no_float_holds_is_refused(budget: dict[str, Any]) -> None:
    (name,) = budget
    said = refusal(healing=budget)
    assert f"healing.{name}" in said
    assert "less than or equal to" in said


def test_two_budgets_are_refused() -> None:
    said = refusal(healing={"steps": 3, "minutes": 2})
    assert "Got healing.steps and healing.minutes; say in one of them how long networks heal." in said


def test_tokens_of_images_are_refused() -> None:
    assert "healing.tokens counts text, and these data are images" in refusal(healing={"tokens": 10**6})


def test_networks_that_nobody_knows_yet_are_refused() -> None:
    assert "which ones a search finds is not known yet; say knee or front" in refusal(healing={"networks": ["ab"]})
    assert job(healing={"networks": ["ab"]}, supernet={"reuse": "a"}).healing is not None


def test_a_network_trained_alone_is_no_parent() -> None:
    single = {"method": "single", "options": {"architecture": "smallest"}}
    said = refusal(healing={}, training=single)
    assert "Method 'single' trains one network here and not the largest" in said
    assert "no trained parent to be healed by" in said
    largest = {"method": "single", "options": {"architecture": "largest"}}
    assert job(healing={}, training=largest).healing is not None


def test_a_search_by_gradient_has_no_parent() -> None:
    said = refusal(recipe="proxylessnas", healing={})
    assert "trains each of its networks alone, so they have no parent to be healed by" in said


def test_quantization_policies_are_not_healed() -> None:
    said = refusal(healing={}, quantization={"bits": [8, 32]}, objectives=[{"metric": "accuracy"}])
    assert "Leave healing or quantization out" in said


def test_a_checkpoint_teaches_only_where_there_is_one() -> None:
    assert "the job starts from none; leave it at 'largest'" in refusal(healing={"teacher": "checkpoint"})


def test_a_projection_and_low_rank_updates_exclude_each_other() -> None:
    assert "Set one of them to 0" in refusal(healing={"hidden": 0.5, "lora_rank": 4})


@pytest.mark.parametrize("part", [{"batch_size": 6, "micro_batches": 4}, {"batch_size": 4, "micro_batches": 4}])
def test_batches_are_cut_evenly(part: dict[str, int]) -> None:
    assert "healing.micro_batches of at least 2 examples; choose a multiple" in refusal(healing=part)


def test_named_data_are_of_the_same_kind_and_vocabulary(tmp_path: Path) -> None:
    given = llama(tmp_path / "a.txt")
    other = {**given["data"], "path": str(tmp_path / "b.txt")}
    spec = JobSpec.model_validate({**given, "healing": {"data": other}})
    assert spec.healing is not None
    assert spec.healing.data is not None
    assert spec.healing.data.source == "text"
    with pytest.raises(ValidationError, match="the networks and their parent have the vocabulary of None"):
        JobSpec.model_validate({**given, "healing": {"data": {**other, "tokenizer": "/somewhere"}}})
    with pytest.raises(ValidationError, match="name data of the same kind"):
        JobSpec.model_validate({**given, "healing": {"data": {"source": "digits"}}})


def test_the_schedule_spans_the_budget_with_a_warm_up_that_is_a_share_of_it() -> None:
    part = HealingSpec.model_validate({"batch_size": 8, "warmup": 0.25, "learning_rate": 0.1, "lr_floor": 0.5})
    options = part.training()
    assert [options.rate(share) for share in (0.125, 0.25, 1.0)] == pytest.approx([0.05, 0.1, 0.05])
