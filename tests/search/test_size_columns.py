"""Sizes of networks as columns of a Gaussian process."""

import numpy as np
import pytest

from predictors.cost import macs, params
from quantization.policies import Quantization
from quantization.quantized_space import QuantizedSpace
from search.gaussian_process.regression import Features, GaussianProcess, kernel_features
from search.gaussian_process.size_columns import RELEVANCE, SizeColumns
from search_space import Choice, SearchSpace
from search_space.encoding import gene_matrix
from search_space.plugins import load_family


def test_columns_are_logarithms_of_macs_and_parameters_up_to_scale():
    space = load_family("mobilenet", "digits")
    rng = np.random.default_rng(3)
    networks = [space.sample(rng) for _ in range(30)]
    columns = SizeColumns(space).of(gene_matrix(space, networks))
    for column, count in zip(columns.T, (macs, params), strict=True):
        expected = np.log([count(space, network) for network in networks])
        slope, offset = np.polyfit(expected, column, 1)
        assert slope > 0
        np.testing.assert_allclose(column, slope * expected + offset, atol=1e-9)
    assert np.abs(columns.mean(axis=0)).max() < 1
    assert columns.std(axis=0) == pytest.approx([1, 1], abs=0.5)


def test_policies_of_a_network_are_as_large():
    space = QuantizedSpace(load_family("vit", "cifar"), Quantization((8, 32)))
    network = space.base.largest()
    columns = SizeColumns(space).of(gene_matrix(space, [space.quantized(network, bits) for bits in (8, 32)]))
    assert columns[0] == pytest.approx(columns[1])


def test_a_space_without_layers_has_no_columns():
    space = SearchSpace("table", [Choice("edge", (1, 2, 3))])
    assert SizeColumns(space).of(gene_matrix(space, [space.largest(), space.smallest()])).shape == (2, 0)


def test_sizes_tell_of_networks_that_were_not_seen():
    space = load_family("mobilenet", "digits")
    rng = np.random.default_rng(5)
    networks = [space.sample(rng) for _ in range(80)]
    genes = gene_matrix(space, networks)
    scores = np.sqrt(np.log([macs(space, network) for network in networks]) - 8)
    scores = (scores - scores.mean()) / scores.std() + 0.2 * rng.standard_normal(80)
    alone = kernel_features(space, genes)
    seen, unseen = np.arange(16), np.arange(16, 80)

    def ranked(features: Features) -> float:
        process = GaussianProcess(features)
        process.learn(features.rows(seen), scores[seen])
        means = process.given(features.rows(seen), scores[seen]).predict(features.rows(unseen))[0]
        return float(np.corrcoef(means, scores[unseen])[0, 1])

    assert ranked(alone.with_columns(SizeColumns(space).of(genes), RELEVANCE)) > max(0.8, ranked(alone) + 0.1)
