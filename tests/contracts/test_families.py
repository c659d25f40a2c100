"""Every family and preset that is found keeps the contract of `supernet/contract.py`, also where it is adjusted."""

import numpy as np
import pytest

from predictors import cost
from search_space import SearchSpace, plugins
from search_space.adjustments import Adjustments
from supernet.contract import CHECKS, COMPUTING, Subject
from supernet.network import extract
from tests.contracts.narrow import buildable, can_be_built

PRESETS = [(family, preset) for family in plugins.names("search_space.families") for preset in plugins.presets(family)]
DESCRIBING = [check for check in CHECKS if check not in COMPUTING]


@pytest.fixture(scope="module", params=PRESETS, ids="/".join)
def preset(request) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def space(preset) -> SearchSpace:
    return plugins.load_family(*preset)


@pytest.fixture(scope="module")
def subject(space) -> Subject:
    return Subject(space)


@pytest.fixture(scope="module", params=[preset for preset in PRESETS if can_be_built(*preset)], ids="/".join)
def small(request) -> Subject:
    """The preset, or where that is too big to be built, a narrowed version of it."""
    return Subject(buildable(*request.param))


@pytest.fixture(scope="module")
def wide(preset, space) -> Subject:
    """The preset with one more option, larger than the others, wherever the family allows it."""
    changes = {}
    for choice in space.choices:
        for larger in larger_options(choice.options[-1]):
            wanted = Adjustments({choice.name: (*choice.options, larger)})
            try:
                plugins.load_family(*preset, wanted)
            except ValueError:
                continue
            changes[choice.name] = (*choice.options, larger)
            break
    assert changes, "no choice of this preset can be extended"
    return Subject(plugins.load_family(*preset, Adjustments(changes)))


def larger_options(option):
    """Options that might be the next larger one, whatever the choice is about."""
    if isinstance(option, int):
        return (option + 1, option + 2, option + 8, 2 * option)
    if isinstance(option, float):
        return (1.5 * option, 2 * option)
    return ("k9e6", "k9e1")


# --- the contract -----------------------------------------------------------------------------------


@pytest.mark.parametrize("check", DESCRIBING, ids=lambda check: check.__name__)
def test_a_preset_describes_and_counts_its_networks(subject, check):
    check(subject)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_preset_computes_what_it_describes(small, check):
    check(small)


@pytest.mark.parametrize("check", DESCRIBING, ids=lambda check: check.__name__)
def test_wider_choices_keep_the_contract(wide, check):
    check(wide)


def test_counted_params_equal_those_of_the_extracted_network(small):
    for architecture in small.architectures(5):
        network = extract(small.supernet, architecture)
        assert cost.params(small.space, architecture) == sum(parameter.numel() for parameter in network.parameters())


# --- names, repeatability, adjustments ----------------------------------------------------------------


def test_a_space_is_named_after_its_family_and_preset_and_is_the_same_every_time(preset, space):
    assert space.name == "/".join(preset)
    again = plugins.load_family(*preset)
    assert again.choices == space.choices
    assert again.largest().id == space.largest().id


def test_every_space_says_what_its_networks_take(space):
    assert space.takes is not None


def test_networks_keep_their_ids_and_layers_where_choices_are_widened(subject, wide):
    for architecture in subject.architectures(50):
        same = wide.space.architecture(**architecture.values)
        assert same.id == architecture.id
        assert wide.space.layers(same) == subject.space.layers(architecture)


def test_a_preset_can_be_narrowed_to_one_network(preset, space):
    network = space.sample(np.random.default_rng(0))
    active = [item for item, alive in zip(network.items, space.is_active(network), strict=True) if alive]
    one = plugins.load_family(*preset, Adjustments({name: (value,) for name, value in active}))
    assert one.size() == 1
    assert one.smallest() == network
    assert one.layers(one.smallest()) == space.layers(network)


def test_every_family_has_a_preset_whose_networks_are_built():
    assert {family for family, _ in PRESETS} == {family for family, preset in PRESETS if can_be_built(family, preset)}
