"""`search.fidelities` of a job: what follows from it, and what is refused with what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from job.fidelities_spec import FidelitiesSpec
from job.resolve import opened, resolve
from job.spec import JobSpec
from job.versions import read_job
from search.fidelities.plan import LadderPlan
from tests.job.test_healing import job, llama, refusal

GRADIENT = {"recipe": "proxylessnas"}


def part(**given: Any) -> dict[str, Any]:
    return {"fidelities": given}


def resolved(**parts: Any) -> FidelitiesSpec:
    found = resolve(job(**parts)).search.fidelities
    assert found is not None
    return found


def test_a_job_chooses_networks_as_they_are_found_unless_it_is_asked() -> None:
    assert job(healing={}).search.fidelities is None


def test_an_empty_part_has_rungs_at_a_twelfth_and_a_third_of_the_healing() -> None:
    found = resolved(healing={"steps": 300}, search=part())
    assert found.plan() == LadderPlan((25, 100), 16, 0.5)
    found = resolved(healing={"examples": 64 * 125}, training={"batch_size": 64}, search=part(keep=0.25))
    assert found.plan() == LadderPlan((10, 40), 16, 0.25)


def test_a_budget_says_how_many_heal() -> None:
    found = resolved(healing={"steps": 300}, search=part(budget=1000))
    assert found.plan() == LadderPlan((25, 100), 16, 0.5)
    assert resolved(healing={"steps": 300}, search=part(budget=999)).plan().candidates == 15


def test_rungs_that_followed_from_the_healing_follow_its_changes() -> None:
    spec = resolve(job(healing={"steps": 300}, search=part()))
    left = opened(spec).search.fidelities
    assert left is not None
    assert left.steps is None
    assert resolve(opened(spec)) == spec
    named = opened(resolve(job(healing={"steps": 300}, search=part(steps=[25, 99])))).search.fidelities
    assert named is not None
    assert named.steps == (25, 99)
    assert read_job(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"search": part()}, "the job has no part healing; say there how networks heal"),
        ({"healing": {"minutes": 3}, "search": part()}, "give healing.steps, examples or tokens"),
        ({"healing": {"steps": 11}, "search": part()}, "A healing of 11 steps is too short for rungs of a twelfth"),
        (
            {"healing": {"steps": 50}, "search": part(steps=[20, 80])},
            "The last rung of search.fidelities.steps is 80, but a network heals 50 steps in all",
        ),
        ({"healing": {}, "search": part(steps=[20, 20])}, "each rung has more steps than the one before"),
        ({"healing": {}, "search": part(steps=[])}, "at least 1 item"),
        ({"healing": {}, "search": part(steps=[0, 5])}, "greater than or equal to 1"),
        ({"healing": {}, "search": part(budget=0)}, "greater than or equal to 1"),
        (
            {"healing": {}, "search": part(budget=124)},
            "a choice between 2 networks up to 100 steps takes 125; give more",
        ),
        ({"healing": {}, "search": part(candidates=1)}, "greater than or equal to 2"),
        ({"healing": {}, "search": part(keep=0)}, "greater than 0"),
        ({"healing": {}, "search": part(candidates=4, budget=500)}, "say in one of them how many heal"),
        ({"healing": {}, "search": {**part(candidates=9), "evaluations": 8}}, "ask for fewer candidates"),
        (
            {"healing": {}, "search": part(), "objectives": [{"metric": "macs"}, {"metric": "params"}]},
            "healing changes none and search.fidelities has nothing to choose by",
        ),
        ({"healing": {"networks": ["a"]}, "search": part(), "supernet": {"reuse": "job"}}, "nothing for search.fidel"),
        ({**GRADIENT, "search": part()}, "so they have no parent to be healed by; leave search.fidelities out"),
        (
            {"search": part(), "training": {"method": "single", "options": {"architecture": "smallest"}}},
            "no trained parent to be healed by; leave search.fidelities out",
        ),
        ({"healing": {}, "search": part(), "quantization": {"bits": [8, 32]}}, "Leave healing or quantization out"),
        ({"healing": {}, "search": part(rungs=3)}, "Extra inputs are not permitted"),
    ],
)
def test_what_leaves_nothing_to_choose_by_is_refused(parts: dict[str, Any], said: str) -> None:
    assert said in refusal(**parts)


def test_tokens_are_steps_where_the_length_is_known(tmp_path: Path) -> None:
    given = llama(tmp_path / "a.txt")
    healing = {"tokens": 16 * 8 * 240, "batch_size": 8}
    spec = resolve(JobSpec.model_validate({**given, "healing": healing, "search": part()}))
    assert spec.search.fidelities is not None
    assert spec.search.fidelities.steps == (20, 80)
