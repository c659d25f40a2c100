"""Architectures as numbers: networks are encoded, not genomes."""

import numpy as np
import pytest

from search_space import Choice, SearchSpace
from search_space.encoding import (
    active_mask,
    all_genes,
    canonical_genes,
    column_names,
    decode,
    encode,
    gene_matrix,
    one_hot,
)
from search_space.plugins import load_family

NESTED = SearchSpace(
    "nested",
    [
        Choice("depth", (1, 2, 3)),
        Choice("kind", ("conv", "pool"), when=("depth", (2, 3))),
        Choice("kernel", (3, 5), when=("kind", ("conv",))),
        Choice("width", (8, 16, 32)),
    ],
)
DIGITS = load_family("mobilenet", "digits")
SPACES = pytest.mark.parametrize("space", [NESTED, DIGITS], ids=lambda space: space.name)


def samples(space, count, seed=0):
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def test_a_column_is_one_where_the_option_is_chosen():
    architecture = NESTED.architecture(depth=2, kind="conv", kernel=5, width=8)
    row = dict(zip(column_names(NESTED), encode(NESTED, [architecture])[0], strict=True))
    assert {name for name, value in row.items() if value == 1} == {"depth=2", "kind=conv", "kernel=5", "width=8"}
    assert set(row.values()) == {0.0, 1.0}


def test_an_inactive_choice_is_all_zeros():
    names = column_names(NESTED)
    row = encode(NESTED, [NESTED.architecture(depth=2, kind="pool", width=8)])[0]
    assert all(value == 0 for name, value in zip(names, row, strict=True) if name.startswith("kernel="))


def test_the_shape_is_a_row_per_architecture_and_a_column_per_option():
    features = encode(DIGITS, samples(DIGITS, 7))
    assert (
        features.shape == (7, sum(len(choice.options) for choice in DIGITS.choices)) == (7, len(column_names(DIGITS)))
    )
    assert features.dtype == np.float64
    assert encode(DIGITS, []).shape == (0, len(column_names(DIGITS)))


def test_genomes_that_differ_in_dead_genes_alone_give_identical_features():
    genes = np.array([[0, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 1]])
    features = one_hot(NESTED, genes)
    assert (features == features[0]).all()
    assert (canonical_genes(NESTED, genes) == [0, 0, 0, 1]).all()


@SPACES
def test_two_architectures_have_equal_features_exactly_when_they_are_equal(space):
    architectures = samples(space, 300)
    distinct = {architecture.id for architecture in architectures}
    assert len(np.unique(encode(space, architectures), axis=0)) == len(distinct)


@SPACES
def test_decoding_gives_the_architectures_back(space):
    architectures = samples(space, 200)
    assert decode(space, encode(space, architectures)) == architectures


@SPACES
def test_activity_is_that_of_the_space(space):
    architectures = samples(space, 200)
    expected = [space.is_active(architecture) for architecture in architectures]
    assert (active_mask(space, gene_matrix(space, architectures)) == expected).all()


def test_all_genes_are_the_distinct_networks_in_lexical_order():
    genes = all_genes(NESTED)
    assert len(genes) == NESTED.size() == len({NESTED.from_genes(row).id for row in genes})
    assert genes.tolist() == sorted(genes.tolist())
    assert (canonical_genes(NESTED, genes) == genes).all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row * 0,
        lambda row: np.ones_like(row),
        lambda row: row * 0.5,
        lambda row: np.full_like(row, np.nan),
    ],
)
def test_a_row_that_is_no_encoding_is_refused(spoil):
    rows = encode(NESTED, samples(NESTED, 3))
    rows[1] = spoil(rows[1])
    with pytest.raises(ValueError, match="Row 1 is not a masked one-hot encoding of an architecture of 'nested'"):
        decode(NESTED, rows)


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"Got features of shape \(2, 5\); space 'nested' has 10 columns"):
        decode(NESTED, np.zeros((2, 5)))


def test_an_architecture_of_another_space_is_refused():
    with pytest.raises(ValueError, match="is not of space 'nested'"):
        encode(NESTED, [DIGITS.smallest()])
