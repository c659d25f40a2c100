"""Contract of a model family: every preset keeps the checks of `supernet/contract.py`.

Presets that are too big to be built in a test are counted without storage, and built narrowed by the adjustments that
users have: same code, small sizes. A family's `NARROWED` says how.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from predictors import cost
from search_space import SearchSpace
from search_space.adjustments import Adjustments
from search_space.plugins import FAMILIES, load_family, presets
from supernet import contract
from supernet.contract import CHECKS, RUNNING, Subject
from supernet.network import extract
from winnow.testing.contract import Contract

Check = Callable[[Subject], str]

# Networks above either are too big for a test.
MAX_PARAMS, MAX_PIXELS = 10_000_000, 200
# Checks that adjusted choices go through too.
ADJUSTABLE = (contract.equal_ids, contract.fits_capacity, contract.counted_params, contract.counted_macs)


def is_big(space: SearchSpace) -> bool:
    """Whether its largest network takes too much memory or time for a test."""
    return cost.params(space, space.largest()) > MAX_PARAMS or getattr(space.takes, "size", 0) > MAX_PIXELS


def narrowed(family: str) -> dict[str, Adjustments | None]:
    """What makes big presets of a family small; None: nothing does."""
    found: dict[str, Adjustments | None] = getattr(FAMILIES.load(family), "NARROWED", {})
    return found


def can_be_built(family: str, preset: str) -> bool:
    """Whether the preset, or a narrowed version of it, is small enough for a test."""
    return narrowed(family).get(preset, Adjustments()) is not None


def buildable(family: str, preset: str) -> SearchSpace:
    """The preset, narrowed if it is too big to be built."""
    space = load_family(family, preset)
    if not is_big(space):
        return space
    adjustments = narrowed(family).get(preset)
    assert adjustments is not None, f"{space.name} is too big to be built; add a line to its family's NARROWED"
    return load_family(family, preset, adjustments)


def is_allowed(preset: tuple[str, str], changes: dict[str, tuple[int | float | str, ...]]) -> bool:
    """Whether the family honours these choices."""
    try:
        load_family(*preset, Adjustments(changes))
    except ValueError:
        return False
    return True


def larger_options(option: int | float | str) -> tuple[int | float | str, ...]:
    """Options that might be the next larger one, whatever the choice is about."""
    if isinstance(option, int):
        return (option + 1, option + 2, option + 8, 2 * option)
    if isinstance(option, float):
        return (1.5 * option, 2 * option)
    return ("k9e6", "k9e1")


def called(check: Check) -> str:
    """Name of a check, for the id of a test."""
    return getattr(check, "__name__", "check")


class FamilyContract(Contract):
    """What holds of every preset of every family."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test once for each preset."""
        super().pytest_generate_tests(metafunc)
        every = [(family, preset) for family in self.names or (self.name,) for preset in presets(family)]
        for fixture, chosen in (("preset", every), ("runnable", [one for one in every if can_be_built(*one)])):
            if fixture in metafunc.fixturenames:
                metafunc.parametrize(fixture, chosen, ids="/".join, scope="class")

    @pytest.fixture(autouse=True)
    def moderate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`winnow family check` looks at 200 networks; here every preset has fewer, but always both ends."""
        for name, number in {"DESCRIBED": 60, "WHOLE": 1, "MACS_BUDGET": 200_000_000, "MOST_RUN": 30}.items():
            monkeypatch.setattr(contract, name, number)

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, preset: tuple[str, str]) -> Subject:
        """The preset as it is."""
        return Subject(load_family(*preset))

    @pytest.fixture(scope="class")
    @classmethod
    def small(cls, runnable: tuple[str, str]) -> Subject:
        """The preset, or where that is too big to be run, a narrowed version of it."""
        return Subject(buildable(*runnable))

    @pytest.mark.parametrize("check", [check for check in CHECKS if check not in RUNNING], ids=called)
    def test_a_preset_describes_and_counts_its_networks(self, whole: Subject, check: Check) -> None:
        """Networks are described and counted without memory for their weights."""
        check(whole)

    @pytest.mark.parametrize("check", RUNNING, ids=called)
    def test_a_preset_computes_what_it_describes(self, small: Subject, check: Check) -> None:
        """Networks are built, and their answers and gradients compared."""
        check(small)

    def test_a_family_has_a_preset_that_is_run(self, plugin: str) -> None:
        """Without a preset that is run, nothing shows that networks of the family compute."""
        assert any(can_be_built(plugin, preset) for preset in presets(plugin))

    def test_counted_params_equal_those_of_the_extracted_network(self, small: Subject) -> None:
        """The count of a whole network is that of its parameters."""
        for architecture in small.architectures(5):
            network = extract(small.supernet, architecture)
            counted = sum(layer.params() for layer in small.space.layers(architecture).values())
            assert counted == sum(parameter.numel() for parameter in network.parameters())

    def test_the_space_is_named_after_its_family_and_preset(self, preset: tuple[str, str], whole: Subject) -> None:
        """The name of a space finds stored networks again."""
        assert whole.space.name == "/".join(preset)

    def test_a_preset_gives_the_same_space_every_time(self, preset: tuple[str, str]) -> None:
        """A stored network must still belong to the space that it was found in."""
        first, second = load_family(*preset), load_family(*preset)
        assert first.choices == second.choices
        assert first.largest().id == second.largest().id

    def test_a_space_says_what_its_networks_take(self, whole: Subject) -> None:
        """A job checks its data against what the networks take."""
        assert whole.space.takes is not None

    # --- choices changed by the user ----------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def wide(cls, preset: tuple[str, str], whole: Subject) -> Subject:
        """The preset with one more option, larger than the others, wherever the family allows it."""
        changes: dict[str, tuple[int | float | str, ...]] = {}
        for choice in whole.space.choices:
            for larger in larger_options(choice.options[-1]):
                wanted = {**changes, choice.name: (*choice.options, larger)}
                if is_allowed(preset, wanted):
                    changes = wanted
                    break
        closed: frozenset[str] = getattr(FAMILIES.load(preset[0]), "CLOSED", frozenset())
        assert not closed & set(changes), "a choice that the family calls closed can be extended"
        if closed.issuperset(choice.name for choice in whole.space.choices):
            pytest.skip("every choice of this preset has all options there are")
        assert changes, "no choice of this preset can be extended"
        return Subject(load_family(*preset, Adjustments(changes)))

    @pytest.fixture
    def fewer(self, moderate: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a check look at few networks: changed choices go through the same code as a preset's own."""
        monkeypatch.setattr(contract, "DESCRIBED", 12)

    @pytest.mark.parametrize("check", ADJUSTABLE, ids=called)
    def test_the_contract_holds_where_choices_are_wider(self, wide: Subject, fewer: None, check: Check) -> None:
        """Options may be larger than the preset's."""
        check(wide)

    @pytest.mark.parametrize("check", ADJUSTABLE, ids=called)
    def test_the_contract_holds_where_choices_are_narrower(self, small: Subject, fewer: None, check: Check) -> None:
        """Options may be fewer than the preset's."""
        check(small)

    def test_networks_keep_their_ids_and_layers_where_choices_are_widened(self, whole: Subject, wide: Subject) -> None:
        """A job of the wider space can learn from a job of the narrower one."""
        for architecture in whole.architectures(50):
            same = wide.space.architecture(**architecture.values)
            assert same.id == architecture.id
            assert wide.space.layers(same) == whole.space.layers(architecture)

    def test_a_preset_can_be_narrowed_to_one_network(self, preset: tuple[str, str], whole: Subject) -> None:
        """The one network that is left is the same as in the whole space."""
        space = whole.space
        network = space.sample(np.random.default_rng(0))
        active = [item for item, alive in zip(network.items, space.is_active(network), strict=True) if alive]
        one = load_family(*preset, Adjustments({name: (value,) for name, value in active}))
        assert one.size() == 1
        assert one.smallest() == network
        assert one.layers(one.smallest()) == space.layers(network)
