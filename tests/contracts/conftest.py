"""Which cases of the shipped contracts are for the thorough run: they go through code that others go through."""

from pathlib import Path

import pytest

from search_space.plugins import presets

HERE = Path(__file__).parent

# Test -> its parameter -> values that prove no more than the others of the list do.
MORE_OF_THE_SAME = {
    "test_the_budget_is_spent_to_the_last_evaluation": ("evaluations", {7, 50}),
    "test_replay_of_stored_evaluations_gives_the_same_proposals": ("stored", {1, 59}),
    "test_one_to_four_objectives_are_searched": ("count", {3}),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first: dict[str, str] = {}
    for item in items:
        if isinstance(item, pytest.Function) and HERE in item.path.parents and hasattr(item, "callspec"):
            given = item.callspec.params
            name, values = MORE_OF_THE_SAME.get(item.originalname, ("", set()))
            if given.get(name) in values or any(is_further_preset(given[of], first) for of in PRESET if of in given):
                item.add_marker(pytest.mark.thorough)


# Parameters of tests of families: a family and its preset.
PRESET = ("preset", "runnable")


def is_further_preset(preset: tuple[str, str], first: dict[str, str]) -> bool:
    """Whether it is not the one preset of its family that every run goes through."""
    family, name = preset
    return first.setdefault(family, presets(family)[0]) != name
