"""Genomes worth a look: where choices decide the same in many places, uniform networks and stretches are among them."""

import numpy as np
import pytest

from search.algorithms import make_algorithm
from search.candidates import Breeder
from search.evaluation import Evaluation
from search.objectives import Objective
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


def test_plain_networks_have_one_of_their_own_options_wherever_choices_are_alike():
    made = space("bits")
    breeder = Breeder(made, np.random.default_rng(3))
    genes = breeder.random(1000)
    plain = breeder.plain(genes)
    assert np.array_equal(plain[:, :4], genes[:, :4])
    assert (most_common_share(plain) == 1).all()
    assert all(row[4] in before[4:] for row, before in zip(plain, genes, strict=True))


def test_a_choice_that_a_network_does_not_have_does_not_decide_what_it_is_plain_in():
    depth = Choice("depth", (1, 2))
    bits = [Choice("one_bits", (8, 32), None, "bits"), Choice("two_bits", (8, 32), ("depth", (2,)), "bits")]
    made = SearchSpace("toy", [depth, *bits])
    shallow = np.array([made.architecture(depth=1, one_bits=32).genes] * 50)
    assert np.array_equal(Breeder(made, np.random.default_rng(4)).plain(shallow), shallow)


def searched(made: SearchSpace, evaluations: int) -> np.ndarray:
    """Genes as `winnow` asked for them; wide layers are better, few bits smaller and a little worse."""
    objectives = [Objective("loss"), Objective("bits")]
    algorithm = make_algorithm("winnow", made, objectives, seed=0, evaluations=evaluations, batch=4, initial=8)
    asked = []
    while batch := algorithm.ask():
        asked += [one.genes for one in batch]
        scored = []
        for one in batch:
            bits = np.array([gene for choice, gene in zip(made.choices, one.genes, strict=True) if choice.decides])
            loss = 0.01 * float((bits == 0).sum()) - float(sum(one.genes) - bits.sum())
            scored.append(Evaluation(one, {"loss": loss, "bits": float(bits.sum())}))
        algorithm.tell(scored)
    return np.array(asked)


def test_winnow_finds_networks_before_it_mixes():
    shares = most_common_share(searched(space("bits"), 32))
    assert (shares[:24] == 1).all()
    assert (shares[24:] < 1).any()


def test_winnow_mixes_at_once_where_there_is_nothing_else_to_find():
    """Policies of one network: three of them are plain."""
    made = SearchSpace("toy", [Choice(f"layer{i}_bits", (4, 8, 32), None, "bits") for i in range(30)])
    asked = searched(made, 32)
    assert len(asked) == 32
    assert any(len(set(row)) > 1 for row in asked[:12])
