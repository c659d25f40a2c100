"""Exact costs are sums over layers."""

import numpy as np
import pytest

from predictors.cost import ANALYTIC, costs, macs, params, peak_activation_bytes, weight_bytes
from search.metrics import METRICS, OF_GENERATION
from search_space import Choice, SearchSpace
from search_space.layers import ConvSpec, HeadSpec
from search_space.plugins import load_family


def two_layers(values):
    width = values["width"]
    return {"stem": ConvSpec(1, width, 3, 1, 8, "ReLU"), "head": HeadSpec(width, 16, 10, 8, "ReLU")}


SPACE = SearchSpace("two layers", [Choice("width", (4, 8))], blueprint=two_layers)


def test_params_are_the_sum_over_layers():
    # stem 4*9 + 8; head 4*16 + 32 + 16*10 + 10
    assert params(SPACE, SPACE.smallest()) == 44 + 266


def test_macs_are_the_sum_over_layers():
    # stem 36*64; head 64*64 + 160
    assert macs(SPACE, SPACE.smallest()) == 2304 + 4256


def test_weight_bytes_are_the_sum_over_layers():
    assert weight_bytes(SPACE, SPACE.smallest()) == 4 * 310
    # weights 36 + 64 + 160 at a byte each, 50 other parameters at four
    assert weight_bytes(SPACE, SPACE.smallest(), bits=8) == 260 + 200


def test_costs_have_every_analytic_metric_under_its_name():
    architecture = SPACE.largest()
    assert costs(SPACE, architecture) == {
        "macs": macs(SPACE, architecture),
        "params": params(SPACE, architecture),
        "size_bytes": weight_bytes(SPACE, architecture),
        "peak_activation_bytes": peak_activation_bytes(SPACE, architecture),
    }


def test_every_cost_is_an_analytic_metric_of_the_search():
    assert set(ANALYTIC) == {name for name, metric in METRICS.items() if metric.source == "analytic"}


@pytest.mark.parametrize("metric", sorted(ANALYTIC))
def test_no_network_costs_less_than_the_smallest_or_more_than_the_largest(metric):
    space = load_family("llama", "tiny") if metric in OF_GENERATION else load_family("mobilenet", "digits")
    rng = np.random.default_rng(0)
    drawn = [ANALYTIC[metric](space, space.sample(rng)) for _ in range(300)]
    assert ANALYTIC[metric](space, space.smallest()) <= min(drawn)
    assert max(drawn) <= ANALYTIC[metric](space, space.largest())


def test_a_space_without_layers_has_no_costs():
    tabular = SearchSpace("table", [Choice("edge", (0, 1))])
    with pytest.raises(ValueError, match="has no blueprint"):
        costs(tabular, tabular.smallest())
