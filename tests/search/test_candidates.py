"""Genomes worth a look: where choices decide the same in many places, uniform networks and stretches are among them."""

import numpy as np
import pytest

from search.candidates import Breeder
from search_space import Choice, SearchSpace

WIDTHS = [Choice(f"width{i}", (0, 1, 2)) for i in range(4)]


def space(decides: str) -> SearchSpace:
    return SearchSpace("toy", [*WIDTHS, *(Choice(f"layer{i}_bits", (4, 8, 32), None, decides) for i in range(30))])


def most_common_share(genes: np.ndarray) -> np.ndarray:
    """Of each network, the share of layers that have its most common width."""
    return np.stack([(genes[:, 4:] == option).mean(axis=1) for option in range(3)]).max(axis=0)


def test_half_of_the_random_networks_are_drawn_over_how_common_options_are():
    apart = most_common_share(Breeder(space(""), np.random.default_rng(0)).random(2000))
    alike = most_common_share(Breeder(space("bits"), np.random.default_rng(0)).random(2000))
    assert apart.max() < 0.8
    assert 0.01 < (alike == 1).mean() < 0.1
    assert 0.1 < (alike > 0.8).mean() < 0.3


def test_every_option_of_choices_alike_is_as_common_overall():
    genes = Breeder(space("bits"), np.random.default_rng(1)).random(4000)[:, 4:]
    assert np.bincount(genes.ravel(), minlength=3) / genes.size == pytest.approx([1 / 3] * 3, abs=0.02)


def test_mutants_set_stretches_of_choices_alike_and_leave_the_others_alone():
    made = space("bits")
    parent = np.array([made.from_genes([2, 1, 0, 2] + [1] * 30).genes])
    mutants = Breeder(made, np.random.default_rng(2)).mutants(parent, 3000)
    changed = mutants != parent
    several = changed[:, 4:].sum(axis=1) > 12
    assert 0.05 < several.mean() < 0.2
    assert not changed[several, :4].any()
    for row in mutants[several, 4:]:
        (at,) = np.nonzero(row != 1)
        assert len(set(row[at])) == 1
        assert np.array_equal(at, np.arange(at[0], at[-1] + 1))


def test_a_space_without_such_choices_has_none_alike():
    assert space("").alike == ()
    assert [list(group) for group in space("bits").alike] == [list(range(4, 34))]
