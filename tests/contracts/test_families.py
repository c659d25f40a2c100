"""Every family and preset that is found keeps the contract of `supernet/contract.py`."""

import numpy as np
import pytest
from _pytest.mark import ParameterSet

from search_space import SearchSpace, plugins
from search_space.adjustments import Adjustments
from supernet import contract
from supernet.contract import CHECKS, RUNNING, Subject
from supernet.network import extract
from tests.contracts.narrow import NARROWED, buildable, can_be_built

PRESETS = [(family, preset) for family in plugins.names("search_space.families") for preset in plugins.presets(family)]
# Presets whose networks run in a test: as they are, or where they are big, narrowed.
ADJUSTABLE = (contract.equal_ids, contract.fits_capacity, contract.counted_params, contract.counted_macs)
RUN = [preset for preset in PRESETS if can_be_built(*preset)]


def one_of_each_family(presets: list[tuple[str, str]]) -> list[ParameterSet]:
    """Every preset as a parameter. All but one of a family, its first small one, are for the thorough run."""
    one: dict[str, tuple[str, str]] = {}
    for preset in sorted(presets, key=lambda preset: preset in NARROWED):
        one.setdefault(preset[0], preset)
    return [
        pytest.param(
            (family, preset),
            id=f"{family}/{preset}",
            marks=() if one[family] == preset else pytest.mark.thorough,
        )
        for family, preset in presets
    ]


@pytest.fixture(autouse=True)
def moderate(monkeypatch):
    """`winnow family check` looks at 200 networks; each of the 19 presets has fewer here, but always both ends."""
    for name, number in {"DESCRIBED": 60, "WHOLE": 1, "MACS_BUDGET": 200_000_000, "MOST_RUN": 30}.items():
        monkeypatch.setattr(contract, name, number)


@pytest.fixture(scope="module", params=one_of_each_family(PRESETS))
def preset(request) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def whole(preset) -> Subject:
    return Subject(plugins.load_family(*preset))


@pytest.fixture(scope="module", params=one_of_each_family(RUN))
def small(request) -> Subject:
    """The preset, or where that is too big to be run, a narrowed version of it."""
    return Subject(buildable(*request.param))


@pytest.mark.parametrize("check", [check for check in CHECKS if check not in RUNNING], ids=lambda check: check.__name__)
def test_a_preset_describes_and_counts_its_networks(whole, check):
    check(whole)


@pytest.mark.parametrize("check", RUNNING, ids=lambda check: check.__name__)
def test_a_preset_computes_what_it_describes(small, check):
    check(small)


def test_every_family_has_a_preset_that_is_run():
    assert {family for family, _ in PRESETS} == {family for family, _ in RUN}


def test_counted_params_equal_those_of_the_extracted_network(small):
    for architecture in small.architectures(5):
        network = extract(small.supernet, architecture)
        counted = sum(layer.params() for layer in small.space.layers(architecture).values())
        assert counted == sum(parameter.numel() for parameter in network.parameters())


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


@pytest.fixture
def fewer(moderate, monkeypatch):
    """Changed choices go through the same code as a preset's own."""
    monkeypatch.setattr(contract, "DESCRIBED", 12)


@pytest.mark.parametrize("check", ADJUSTABLE, ids=lambda check: check.__name__)
def test_the_contract_holds_where_choices_are_wider(wide, fewer, check):
    check(wide)


@pytest.mark.parametrize("check", ADJUSTABLE, ids=lambda check: check.__name__)
def test_the_contract_holds_where_choices_are_narrower(small, fewer, check):
    check(small)


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
