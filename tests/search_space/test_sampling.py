"""Sampling over bins of a cost sees small and large networks alike."""

import numpy as np
import pytest

from predictors import cost
from search_space import Choice, SearchSpace
from search_space.plugins import load_family
from tests.tiers import mostly_thorough


def shares_of_bins(space: SearchSpace, over: str, draws: int) -> np.ndarray:
    """Share of the draws in each of ten bins between smallest and largest."""
    rng = np.random.default_rng(0)
    count = cost.params if over == "params" else cost.macs
    costs = [count(space, space.sample(rng, over)) for _ in range(draws)]
    ends = count(space, space.smallest()), count(space, space.largest())
    return np.histogram(costs, bins=10, range=ends)[0] / draws


RANGES = [("mobilenet", "digits"), ("llama", "llama2_7b"), ("vit", "cifar")]


@pytest.mark.parametrize("over", ["params", "macs"])
@pytest.mark.parametrize(("family", "preset"), mostly_thorough(RANGES, ("mobilenet", "digits")))
def test_every_tenth_of_the_range_is_drawn_about_as_often(family, preset, over):
    shares = shares_of_bins(load_family(family, preset), over, 600)
    # Three standard deviations of a share of 0.1 among 600 draws are 0.037.
    assert shares.min() > 0.06
    assert shares.max() < 0.14


def test_uniform_genes_see_the_middle_only():
    """What binned sampling is for: the outer tenths are never met by uniform genes."""
    space = load_family("llama", "llama2_7b")
    rng = np.random.default_rng(0)
    costs = np.array([cost.params(space, space.sample(rng)) for _ in range(300)])
    low, high = cost.params(space, space.smallest()), cost.params(space, space.largest())
    assert costs.min() > low + (high - low) / 10
    assert costs.max() < high - (high - low) / 10


def test_networks_of_a_bin_differ():
    space = load_family("mobilenet", "digits")
    rng = np.random.default_rng(0)
    assert len({space.sample(rng, "macs").id for _ in range(200)}) > 150


def test_the_same_generator_gives_the_same_networks():
    space = load_family("mobilenet", "digits")
    first, second = (
        [space.sample(rng, "macs").id for _ in range(20)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    )
    assert first == second


def test_a_space_of_one_network_is_sampled():
    space = load_family("mobilenet", "digits")
    narrow = SearchSpace("one", [Choice(c.name, c.options[:1]) for c in space.choices], space._blueprint)
    assert narrow.sample(np.random.default_rng(0), "params") == narrow.smallest()


def test_an_unknown_way_of_sampling_is_refused():
    with pytest.raises(ValueError, match=r"Cannot sample uniformly over 'latency'\. Known: genes, params, macs"):
        load_family("mobilenet", "digits").sample(np.random.default_rng(0), "latency")
