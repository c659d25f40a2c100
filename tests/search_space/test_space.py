"""Choices, canonical forms, sampling and counting."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_space import Choice, SearchSpace
from search_space.layers import ConvSpec
from search_space.plugins import load_family


def nested_space() -> SearchSpace:
    """Three levels: `kernel` matters only with an attention branch of two heads in a deep network."""
    return SearchSpace(
        "nested",
        [
            Choice("depth", (1, 2, 3)),
            Choice("branch", ("none", "attention"), when=("depth", (2, 3))),
            Choice("heads", (1, 2), when=("branch", ("attention",))),
            Choice("kernel", (3, 5, 7), when=("heads", (2,))),
            Choice("width", (8, 16)),
        ],
        blueprint=nested_layers,
    )


def nested_layers(values):
    """Layers that read a choice only where it is active, as every blueprint does."""
    width = values["width"]
    layers = {f"block{b}": ConvSpec(3, width, 3, 1, 8, "ReLU") for b in range(values["depth"])}
    if values["depth"] > 1 and values["branch"] == "attention":
        kernel = values["kernel"] if values["heads"] == 2 else 1
        layers["branch"] = ConvSpec(3, width * values["heads"], kernel, 1, 8, "ReLU")
    return layers


def flat_space(num_choices: int = 12, options: tuple[int, ...] = (1, 2, 3)) -> SearchSpace:
    """A space without `when`, where genes are what was drawn."""
    return SearchSpace("flat", [Choice(f"c{i}", options) for i in range(num_choices)])


def every_genome(space: SearchSpace):
    return itertools.product(*(range(len(choice.options)) for choice in space.choices))


@st.composite
def spaces(draw):
    """Small spaces whose choices hang on one another at random."""
    choices: list[Choice] = []
    for i in range(draw(st.integers(1, 6))):
        options = tuple(range(draw(st.integers(1, 3))))
        parent = draw(st.none() | st.sampled_from(choices)) if choices else None
        when = None
        if parent is not None:
            subset = draw(st.sets(st.sampled_from(parent.options), min_size=1))
            when = (parent.name, tuple(sorted(subset)))
        choices.append(Choice(f"c{i}", options, when))
    return SearchSpace("random", choices)


# --- values and canonical form ----------------------------------------------------------------------


def test_an_architecture_keeps_the_values_it_was_made_from():
    values = {"depth": 3, "branch": "attention", "heads": 2, "kernel": 5, "width": 16}
    assert nested_space().architecture(**values).values == values


def test_values_of_inactive_choices_may_be_left_out():
    space = nested_space()
    assert space.architecture(depth=1, width=8) == space.architecture(
        depth=1, branch="attention", heads=2, kernel=7, width=8
    )


def test_an_inactive_choice_carries_its_first_option():
    values = nested_space().architecture(depth=1, branch="attention", heads=2, kernel=7, width=8).values
    assert (values["branch"], values["heads"], values["kernel"]) == ("none", 1, 3)


def test_a_choice_is_inactive_when_an_ancestor_is():
    space = nested_space()
    # heads=2 is written, but without the attention branch nothing below it matters.
    architecture = space.architecture(depth=2, branch="none", heads=2, kernel=7, width=8)
    assert space.is_active(architecture) == (True, True, False, False, True)


def test_genomes_that_differ_only_in_dead_genes_are_one_network():
    space = nested_space()
    first, second = space.from_genes([0, 0, 0, 0, 1]), space.from_genes([0, 1, 1, 2, 1])
    assert first == second
    assert first.id == second.id
    assert first.genes == second.genes
    assert hash(first) == hash(second)
    assert space.layers(first) == space.layers(second)


def test_genomes_that_differ_in_a_living_gene_are_two_networks():
    space = nested_space()
    first, second = space.from_genes([1, 1, 1, 0, 0]), space.from_genes([1, 1, 1, 2, 0])
    assert first != second
    assert first.id != second.id


def test_canonical_is_idempotent():
    space = nested_space()
    once = space.canonical({"depth": 1, "branch": "attention", "heads": 2, "kernel": 7, "width": 16})
    assert space.canonical(once) == once


def test_genes_give_back_the_architecture():
    space = nested_space()
    rng = np.random.default_rng(0)
    for _ in range(50):
        architecture = space.sample(rng)
        assert space.from_genes(architecture.genes) == architecture
        assert space.architecture(**architecture.values) == architecture


@given(spaces())
def test_ids_differ_exactly_where_canonical_genes_do(space):
    genes_of = {}
    for genome in every_genome(space):
        architecture = space.from_genes(genome)
        assert genes_of.setdefault(architecture.id, architecture.genes) == architecture.genes
    assert len(set(genes_of.values())) == len(genes_of)


def test_architectures_of_spaces_with_different_names_differ():
    first = SearchSpace("one", [Choice("c", (1, 2))]).smallest()
    second = SearchSpace("two", [Choice("c", (1, 2))]).smallest()
    assert first != second


def test_the_id_does_not_depend_on_the_order_of_the_choices():
    a, b = Choice("a", (1, 2)), Choice("b", (1, 2))
    forward = SearchSpace("s", [a, b]).architecture(a=1, b=2)
    backward = SearchSpace("s", [b, a]).architecture(a=1, b=2)
    assert forward.id == backward.id


def test_an_architecture_cannot_be_changed():
    architecture = nested_space().smallest()
    with pytest.raises(AttributeError):
        architecture.id = "0" * 16
    architecture.values["depth"] = 3
    assert architecture.values["depth"] == 1


def test_smallest_and_largest_have_the_first_and_last_options():
    space = nested_space()
    assert space.smallest().values == {"depth": 1, "branch": "none", "heads": 1, "kernel": 3, "width": 8}
    assert space.largest().values == {"depth": 3, "branch": "attention", "heads": 2, "kernel": 7, "width": 16}


# --- counting ---------------------------------------------------------------------------------------


def test_size_of_the_nested_space_is_counted_by_hand():
    # depth 1: 1. depth 2 or 3: no branch 1, attention with one head 1, with two heads 3. Times two widths.
    assert nested_space().size() == (1 + 2 * (1 + 1 + 3)) * 2


@given(spaces())
def test_size_equals_the_number_of_different_ids(space):
    assert space.size() == len({space.from_genes(genome).id for genome in every_genome(space)})


def test_the_digits_space_has_at_least_a_million_networks():
    assert load_family("mobilenet", "digits").size() >= 1_000_000


# --- moving in the space ----------------------------------------------------------------------------


def assert_in_space(space, architecture):
    """It is a canonical point of the space: made again from its genes, it is the same."""
    assert space.from_genes(architecture.genes).genes == architecture.genes
    for choice, (name, value) in zip(space.choices, architecture.items, strict=True):
        assert name == choice.name
        assert value in choice.options


def test_sample_mutate_and_crossover_stay_in_the_space():
    space = nested_space()
    rng = np.random.default_rng(1)
    previous = space.smallest()
    for _ in range(200):
        architecture = space.sample(rng)
        assert_in_space(space, architecture)
        assert_in_space(space, space.mutate(architecture, rng, 0.5))
        assert_in_space(space, space.crossover(architecture, previous, rng))
        previous = architecture


def test_sampling_reaches_every_network_of_a_small_space():
    space = nested_space()
    rng = np.random.default_rng(2)
    assert len({space.sample(rng).id for _ in range(2000)}) == space.size()


def test_sampling_draws_every_option_equally_often():
    space = flat_space()
    rng = np.random.default_rng(3)
    genes = np.array([space.sample(rng).genes for _ in range(2000)])
    shares = np.bincount(genes.ravel(), minlength=3) / genes.size
    # 24,000 draws: one standard deviation of a share is 0.003.
    assert shares == pytest.approx([1 / 3] * 3, abs=0.012)


def test_sampling_depends_on_the_generator_alone():
    space = flat_space()
    first, second = ([space.sample(rng).id for _ in range(5)] for rng in map(np.random.default_rng, (4, 4)))
    assert first == second


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.8])
def test_mutation_probability_is_the_share_of_genes_that_change(probability):
    space = flat_space()
    rng = np.random.default_rng(5)
    parent = space.sample(rng)
    children = np.array([space.mutate(parent, rng, probability).genes for _ in range(2000)])
    # 24,000 genes: four standard deviations are at most 0.013.
    assert (children != np.array(parent.genes)).mean() == pytest.approx(probability, abs=0.013)


def test_mutation_takes_every_other_option_equally_often():
    space = flat_space(num_choices=1, options=(1, 2, 3, 4))
    rng = np.random.default_rng(6)
    parent = space.from_genes([2])
    drawn = np.bincount([space.mutate(parent, rng, 1.0).genes[0] for _ in range(3000)], minlength=4) / 3000
    assert drawn[2] == 0
    assert drawn[[0, 1, 3]] == pytest.approx([1 / 3] * 3, abs=0.035)


def test_mutation_with_probability_zero_changes_nothing():
    space = nested_space()
    assert space.mutate(space.largest(), np.random.default_rng(0), 0.0) == space.largest()


def test_mutation_with_probability_one_changes_every_gene():
    space = flat_space()
    parent = space.sample(np.random.default_rng(0))
    child = space.mutate(parent, np.random.default_rng(1), 1.0)
    assert all(a != b for a, b in zip(parent.genes, child.genes, strict=True))


def test_a_choice_with_one_option_does_not_mutate():
    space = SearchSpace("s", [Choice("fixed", (7,)), Choice("free", (1, 2))])
    child = space.mutate(space.smallest(), np.random.default_rng(0), 1.0)
    assert child.values == {"fixed": 7, "free": 2}


def test_mutation_leaves_its_parent_as_it_was():
    space = flat_space()
    parent = space.smallest()
    space.mutate(parent, np.random.default_rng(0), 1.0)
    assert parent == space.smallest()


def test_crossover_takes_each_gene_from_either_parent_equally_often():
    space = flat_space()
    rng = np.random.default_rng(7)
    first, second = space.smallest(), space.largest()
    children = np.array([space.crossover(first, second, rng).genes for _ in range(2000)])
    assert set(np.unique(children)) == {0, 2}
    assert (children == 0).mean() == pytest.approx(0.5, abs=0.013)


def test_crossover_of_equal_parents_is_the_parent():
    space = nested_space()
    parent = space.sample(np.random.default_rng(8))
    assert space.crossover(parent, parent, np.random.default_rng(9)) == parent


# --- layers -----------------------------------------------------------------------------------------


def test_capacity_is_the_largest_network_unless_the_family_says_otherwise():
    space = nested_space()
    assert space.capacity() == space.layers(space.largest())


def test_a_space_without_a_blueprint_has_no_layers():
    space = flat_space()
    assert not space.has_layers
    with pytest.raises(ValueError, match="Space 'flat' has no blueprint"):
        space.layers(space.smallest())


def test_layers_of_another_spaces_architecture_are_refused():
    with pytest.raises(ValueError, match=r"Architecture\(flat .*\) is not of space 'nested'"):
        nested_space().layers(flat_space().smallest())


# --- what is refused --------------------------------------------------------------------------------


def test_an_unknown_choice_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no choice 'dept'.*depth, branch, heads, kernel, width"):
        nested_space().architecture(dept=1, width=8)


def test_a_value_that_is_no_option_is_refused_with_the_options():
    with pytest.raises(ValueError, match=r"4 is not an option of 'depth'; options: \(1, 2, 3\)"):
        nested_space().architecture(depth=4, width=8)


def test_a_value_that_cannot_be_an_option_at_all_is_refused_the_same_way():
    with pytest.raises(ValueError, match=r"\[1\] is not an option of 'depth'"):
        nested_space().architecture(depth=[1], width=8)


def test_a_missing_value_of_an_active_choice_is_refused():
    with pytest.raises(ValueError, match=r"Choice 'branch' has no value; options: \('none', 'attention'\)"):
        nested_space().architecture(depth=2, width=8)


def test_a_wrong_number_of_genes_is_refused():
    with pytest.raises(ValueError, match="Got 2 genes; space 'nested' has 5 choices"):
        nested_space().from_genes([0, 0])


@pytest.mark.parametrize("gene", [-1, 3])
def test_a_gene_outside_its_options_is_refused(gene):
    with pytest.raises(ValueError, match=rf"Gene {gene} of 'depth' is not in 0\.\.2"):
        nested_space().from_genes([gene, 0, 0, 0, 0])


def test_a_choice_without_options_is_refused():
    with pytest.raises(ValueError, match="Choice 'depth' has no options"):
        Choice("depth", ())


def test_a_choice_that_lists_an_option_twice_is_refused():
    with pytest.raises(ValueError, match="Choice 'depth' lists an option twice"):
        Choice("depth", (1, 2, 1))


def test_a_space_without_choices_is_refused():
    with pytest.raises(ValueError, match="Space 'empty' has no choices"):
        SearchSpace("empty", [])


def test_two_choices_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two choices of one name"):
        SearchSpace("s", [Choice("a", (1,)), Choice("a", (2,))])


@pytest.mark.parametrize("parent", ["later", "self", "nowhere"])
def test_a_choice_may_only_depend_on_an_earlier_one(parent):
    choices = [Choice("self", (1, 2), when=(parent, (1,))), Choice("later", (1, 2))]
    with pytest.raises(ValueError, match=f"'self' depends on '{parent}', which is not an earlier choice"):
        SearchSpace("s", choices)


@pytest.mark.parametrize("values", [(3,), (1, 3), ()])
def test_a_choice_may_only_depend_on_options_that_exist(values):
    with pytest.raises(ValueError, match=r"'b' depends on 'a' being one of .*, but its options are \(1, 2\)"):
        SearchSpace("s", [Choice("a", (1, 2)), Choice("b", (1, 2), when=("a", values))])
