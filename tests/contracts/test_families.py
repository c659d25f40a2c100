"""Every family and preset that is found keeps the contract of `supernet/contract.py`."""

import numpy as np
import pytest

from search_space import SearchSpace, plugins
from search_space.adjustments import Adjustments
from supernet import contract
from supernet.contract import CHECKS, Skipped, Subject
from tests.contracts.narrow import buildable

PRESETS = [(family, preset) for family in plugins.names("search_space.families") for preset in plugins.presets(family)]
# Checks that run networks: of a big preset, on a narrowed version of it.
RUNNING = {contract.supernet_equals_extract, contract.answers_are_what_it_says, contract.no_gradient_changes_nothing}


@pytest.fixture(scope="module", params=PRESETS, ids="/".join)
def preset(request) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def whole(preset) -> Subject:
    return Subject(plugins.load_family(*preset))


@pytest.fixture(scope="module")
def small(preset) -> Subject:
    """The preset, or where that is too big to be run, a narrowed version of it."""
    return Subject(buildable(*preset))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_family_keeps_its_contract(whole, small, check):
    try:
        check(small if check in RUNNING else whole)
    except Skipped as skipped:
        pytest.skip(str(skipped))


def test_the_space_is_named_after_its_family_and_preset():
    for family, preset in PRESETS:
        assert plugins.load_family(family, preset).name == f"{family}/{preset}"


def test_a_preset_gives_the_same_space_every_time():
    for family, preset in PRESETS:
        first, second = plugins.load_family(family, preset), plugins.load_family(family, preset)
        assert first.choices == second.choices
        assert first.largest().id == second.largest().id


def test_every_space_says_what_its_networks_take():
    for family, preset in PRESETS:
        assert plugins.load_family(family, preset).takes is not None


# --- choices changed by the user --------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(preset, whole) -> Subject:
    """The preset with one more option, larger than the others, wherever the family allows it."""
    changes: dict[str, tuple] = {}
    for choice in whole.space.choices:
        for larger in larger_options(choice.options[-1]):
            wanted = {**changes, choice.name: (*choice.options, larger)}
            if is_allowed(preset, wanted):
                changes = wanted
                break
    assert changes, "no choice of this preset can be extended"
    return Subject(plugins.load_family(*preset, Adjustments(changes)))


def is_allowed(preset: tuple[str, str], changes: dict[str, tuple]) -> bool:
    try:
        plugins.load_family(*preset, Adjustments(changes))
    except ValueError:
        return False
    return True


def larger_options(option):
    """Options that might be the next larger one, whatever the choice is about."""
    if isinstance(option, int):
        return (option + 1, option + 2, option + 8, 2 * option)
    if isinstance(option, float):
        return (1.5 * option, 2 * option)
    return ("k9e6", "k9e1")


@pytest.mark.parametrize("check", [contract.equal_ids, contract.fits_capacity], ids=lambda check: check.__name__)
def test_the_contract_holds_where_choices_are_changed(small, wide, check):
    for subject in (small, wide):
        check(subject)


def test_counts_are_torchs_where_choices_are_changed(small, wide, monkeypatch):
    monkeypatch.setattr(contract, "BUILT", 10)
    monkeypatch.setattr(contract, "COUNTED", 10)
    for subject in (small, wide):
        contract.counted_params(subject)
        contract.counted_macs(subject)


def test_networks_keep_their_ids_and_layers_where_choices_are_widened(whole, wide):
    for architecture in whole.architectures(50):
        same = wide.space.architecture(**architecture.values)
        assert same.id == architecture.id
        assert wide.space.layers(same) == whole.space.layers(architecture)


def test_a_preset_can_be_narrowed_to_one_network(preset, whole):
    space: SearchSpace = whole.space
    network = space.sample(np.random.default_rng(0))
    active = [item for item, alive in zip(network.items, space.is_active(network), strict=True) if alive]
    one = plugins.load_family(*preset, Adjustments({name: (value,) for name, value in active}))
    assert one.size() == 1
    assert one.smallest() == network
    assert one.layers(one.smallest()) == space.layers(network)
