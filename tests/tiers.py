"""What `make test` leaves to `make test-all`: the one place where parametrised and inherited tests are told apart.

`mostly_thorough` is for a parametrisation of ours, `INHERITED` for test classes that somebody ships (the contracts of
`winnow.testing`, optuna's tests of samplers). Whatever is left out repeats, for more members, what a test of every run
proves (docs/decisions/0134-what-every-run-proves.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from search_space.plugins import FAMILIES, presets


def mostly_thorough(values: Iterable[Any], *chosen: Any) -> list[ParameterSet]:
    """Values of a parametrisation, as parameters: all but the chosen ones are marked `thorough`.

    Args:
        values: of one parameter, or tuples of several.
        chosen: those that every run goes through.

    Raises:
        ValueError: one of the chosen is not among the values, or none is chosen.
    """
    every = list(values)
    if not chosen or (strange := [one for one in chosen if one not in every]):
        raise ValueError(f"Choose at least one of {every} for every run; got {strange if chosen else 'none'}.")
    return [
        pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=() if one in chosen else pytest.mark.thorough)
        for one in every
    ]


@dataclass(frozen=True)
class Inherited:
    """What every run takes of an inherited test class.

    Attributes:
        whole: plug-ins that go through every test.
        each: tests that the other plug-ins go through as well; all others of theirs are `thorough`.
        less: test -> its parameter -> values that prove no more than its others do, whatever the plug-in.
    """

    whole: frozenset[str] = frozenset()
    each: frozenset[str] = frozenset()
    less: dict[str, tuple[str, frozenset[Any]]] | None = None

    def takes(self, test: str, member: str, given: dict[str, Any]) -> bool:
        """Whether every run takes a test of a plug-in with these parameters."""
        name, values = (self.less or {}).get(test, ("", frozenset()))
        return (member in self.whole or test in self.each) and given.get(name) not in values


INHERITED = {
    "TestAlgorithms": Inherited(
        whole=frozenset({"nsga2"}),
        each=frozenset(
            {
                "test_a_budget_below_one_is_refused",
                "test_a_space_of_one_architecture_is_searched",
                "test_an_option_that_it_does_not_have_is_refused",
                "test_declarations_load_nothing_heavy",
                "test_every_option_has_help",
                "test_no_architecture_is_asked_twice",
                "test_replay_of_stored_evaluations_gives_the_same_proposals",
                "test_scores_that_are_not_numbers_neither_stop_the_search_nor_reach_the_front",
                "test_seeds_are_asked_first",
                "test_the_budget_is_spent_to_the_last_evaluation",
                "test_the_declaration_is_a_class_of_options",
                "test_with_limits_the_front_is_feasible",
            }
        ),
        less={
            "test_the_budget_is_spent_to_the_last_evaluation": ("evaluations", frozenset({1, 7, 50})),
            "test_replay_of_stored_evaluations_gives_the_same_proposals": ("stored", frozenset({1, 59})),
            "test_one_to_four_objectives_are_searched": ("count", frozenset({3})),
        },
    ),
    "TestFamilies": Inherited(
        whole=frozenset({"mobilenet", "llama"}),
        each=frozenset(
            {
                "test_a_family_has_a_preset_that_is_run",
                "test_a_preset_computes_what_it_describes",
                "test_a_preset_describes_and_counts_its_networks",
                "test_a_space_says_what_its_networks_take",
            }
        ),
    ),
    "TestMethods": Inherited(
        whole=frozenset({"bignas", "single"}),
        each=frozenset(
            {
                "test_a_job_may_name_the_method_alone",
                "test_a_step_reports_finite_numbers",
                "test_declarations_load_nothing_heavy",
                "test_every_option_has_help",
                "test_it_says_what_it_cannot_train",
                "test_the_declaration_is_a_class_of_options",
            }
        ),
    ),
    # A bundle for each format and type of weights; `tests/export` has bundles of the others.
    "TestFormats": Inherited(
        whole=frozenset({"safetensors", "winnow"}),
        each=frozenset(
            {
                "test_a_format_for_everybody_is_in_every_bundle",
                "test_it_has_a_tolerance_and_a_way_back",
                "test_it_says_what_it_is",
            }
        ),
        less={"test_a_network_of_16_bits_comes_back": ("plugin", frozenset({"winnow"}))},
    ),
    "TestOptunasOwn": Inherited(
        each=frozenset(
            {
                "test_categorical",
                "test_conditional_parameter_objective",
                "test_dynamic_range_objective",
                "test_multi_objective_sample_independent",
                "test_nan_objective_value",
                "test_partial_fixed_sampling",
                "test_single_parameter_objective",
            }
        ),
    ),
}


def mark_inherited(items: Iterable[pytest.Item]) -> None:
    """Mark as `thorough` what every run leaves out of inherited test classes."""
    for item in items:
        if not isinstance(item, pytest.Function) or item.cls is None or item.cls.__name__ not in INHERITED:
            continue
        given = item.callspec.params if hasattr(item, "callspec") else {}
        if not INHERITED[item.cls.__name__].takes(item.originalname, _member(given), given) or _is_further(given):
            item.add_marker(pytest.mark.thorough)


def _member(given: dict[str, Any]) -> str:
    """The plug-in that a test is about; a family where it is about a preset."""
    return str(next((given[of][0] for of in PRESET if of in given), given.get("plugin", "")))


# Parameters of tests of families: a family and its preset.
PRESET = ("preset", "runnable")


def _is_further(given: dict[str, Any]) -> bool:
    """Whether a test is about another preset than the one that every run takes of its family."""
    return any(_one_preset(given[of][0]) != given[of][1] for of in PRESET if of in given)


@cache
def _one_preset(family: str) -> str:
    """The preset of a family that every run goes through: its first that is small as it is."""
    narrowed = getattr(FAMILIES.load(family), "NARROWED", {})
    return sorted(presets(family), key=lambda preset: preset in narrowed)[0]
