"""Which cases of the shipped contracts are for the thorough run: they go through code that others go through."""

from functools import cache
from pathlib import Path

import pytest

from search_space.plugins import FAMILIES, presets

HERE = Path(__file__).parent

# Test -> its parameter -> values that prove no more than the others of the list do.
MORE_OF_THE_SAME = {
    "test_the_budget_is_spent_to_the_last_evaluation": ("evaluations", {7, 50}),
    "test_replay_of_stored_evaluations_gives_the_same_proposals": ("stored", {1, 59}),
    "test_one_to_four_objectives_are_searched": ("count", {3}),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and HERE in item.path.parents and hasattr(item, "callspec"):
            given = item.callspec.params
            name, values = MORE_OF_THE_SAME.get(item.originalname, ("", set()))
            further = any(one_preset(given[of][0]) != given[of][1] for of in PRESET if of in given)
            if further or given.get(name) in values:
                item.add_marker(pytest.mark.thorough)


# Parameters of tests of families: a family and its preset.
PRESET = ("preset", "runnable")


@cache
def one_preset(family: str) -> str:
    """The preset of a family that every run goes through: its first that is small as it is."""
    narrowed = getattr(FAMILIES.load(family), "NARROWED", {})
    return sorted(presets(family), key=lambda preset: preset in narrowed)[0]
