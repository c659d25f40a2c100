"""Every family and preset that is found keeps the contract of `supernet/contract.py`."""

import pytest

from search_space import plugins
from supernet.contract import CHECKS, Skipped, Subject

PRESETS = [(family, preset) for family in plugins.names("search_space.families") for preset in plugins.presets(family)]


@pytest.fixture(scope="module", params=PRESETS, ids="/".join)
def subject(request) -> Subject:
    return Subject(plugins.load_family(*request.param))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_family_keeps_its_contract(subject, check):
    try:
        check(subject)
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
