"""Every different layer of a space, found without looking at every network."""

import pytest

from search_space import Choice, SearchSpace
from search_space.distinct import TooManyLayers, distinct_layers, some_networks
from search_space.layers import ConvSpec
from search_space.plugins import load_family


def small_space():
    """Depth and widths that hang together: a block's input is the width of the one before."""
    choices = [
        Choice("first", (4, 8)),
        Choice("depth", (1, 2)),
        Choice("second", (4, 8, 16), when=("depth", (2,))),
    ]

    def blueprint(values):
        layers = {"a": ConvSpec(3, values["first"], 3, 1, 8, "ReLU")}
        if values["depth"] == 2:
            layers["b"] = ConvSpec(values["first"], values["second"], 3, 1, 8, "ReLU")
        return layers

    return SearchSpace("small", choices, blueprint)


def test_all_layers_of_a_small_space_are_found_with_a_network_that_has_each():
    space = small_space()
    found = distinct_layers(space, 100)
    assert set(found) == {spec for one in space.every() for spec in space.layers(one).values()}
    assert all(spec in space.layers(holder).values() for spec, holder in found.items())


@pytest.mark.parametrize(("family", "preset"), [("mobilenet", "cifar"), ("vit", "cifar"), ("llama", "tiny")])
def test_random_networks_have_no_layer_that_was_not_found(family, preset):
    import numpy as np

    space = load_family(family, preset)
    found = distinct_layers(space, 5000)
    rng = np.random.default_rng(7)
    for _ in range(300):
        assert set(space.layers(space.sample(rng)).values()) <= set(found)


def test_more_layers_than_allowed_are_refused_with_what_to_do():
    with pytest.raises(TooManyLayers, match=r"more than 3 different layers; raise hardware\.max_layers"):
        distinct_layers(small_space(), 3)


def test_some_networks_are_different_and_have_both_ends():
    space = small_space()
    found = some_networks(space)
    assert {space.smallest().id, space.largest().id} <= {one.id for one in found}
    assert len({one.id for one in found}) == len(found)
