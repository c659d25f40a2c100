"""Nesting: sub-models that are prefixes of one another."""

from itertools import pairwise, product

import numpy as np
import pytest

from search_space import Choice, SearchSpace
from search_space.adjustments import Adjustments
from search_space.nesting import Nesting, dimension_of
from search_space.plugins import load_family

DIGITS = load_family("mobilenet", "digits")


def test_the_levels_multiply():
    # Five width choices of three options and nine expansions move together; three stages of depth 1 or 2.
    nesting = Nesting(DIGITS)
    assert nesting.shape == (3, 4)
    assert len(nesting.all()) == 12


def test_the_highest_levels_are_the_largest_network_and_come_last():
    nesting = Nesting(DIGITS)
    assert nesting.architecture(2, 3) == DIGITS.largest()
    assert nesting.all()[-1] == DIGITS.largest()
    assert nesting.all()[0] == nesting.smallest()


def widths_fit(large, small) -> bool:
    return all(small.values[name] <= value for name, value in large.values.items())


def test_a_level_contains_every_level_that_is_lower_in_all_dimensions():
    nesting = Nesting(DIGITS)
    for high in product(*(range(levels) for levels in nesting.shape)):
        for low in product(*(range(level + 1) for level in high)):
            small, large = nesting.architecture(*low), nesting.architecture(*high)
            assert set(DIGITS.layers(small)) <= set(DIGITS.layers(large))
            assert widths_fit(large, small), (low, high)


def test_kernels_stay_at_their_largest():
    kernels = [v for name, v in Nesting(DIGITS).smallest().values.items() if name.endswith("block1_kernel")]
    assert kernels == [5, 5, 5]


def test_depth_grows_by_one_block_at_a_time():
    nesting = Nesting(DIGITS, "depth")
    blocks = [len(DIGITS.layers(nesting.architecture(level))) for level in range(nesting.shape[0])]
    assert [b - a for a, b in pairwise(blocks)] == [1, 1, 1]


def test_mobilenet_v2_has_the_160_sub_models_of_the_paper():
    nesting = Nesting(load_family("mobilenet", "mobilenet_v2"))
    assert nesting.shape == (10, 16)
    assert len(nesting.all()) == 160


def test_layers_that_may_be_left_out_go_from_the_last_on():
    space = load_family("llama", "tiny", Adjustments({"layer6_keep": (0, 1)}))
    nesting = Nesting(space, "depth")
    layers = [list(space.layers(nesting.architecture(level))) for level in range(nesting.shape[0])]
    assert all(low[:-1] == high[: len(low) - 1] for low, high in pairwise(layers))
    assert layers[-1] == list(space.layers(space.largest()))


def test_width_alone_keeps_the_depth():
    nesting = Nesting(DIGITS, "width")
    assert nesting.shape == (3,)
    assert all(nesting.architecture(level).values["stage1_depth"] == 2 for level in range(3))


def test_draws_are_uniform_over_levels():
    nesting = Nesting(DIGITS)
    rng = np.random.default_rng(0)
    drawn = [nesting.sample(rng).id for _ in range(1200)]
    counts = {one.id: drawn.count(one.id) for one in nesting.all()}
    assert sum(counts.values()) == 1200
    assert 60 < min(counts.values()) <= max(counts.values()) < 140  # 100 expected, four deviations


def test_a_space_without_depth_has_nothing_to_nest_there():
    space = SearchSpace("flat", [Choice("width", (1, 2))])
    with pytest.raises(ValueError, match="no choice of depth"):
        Nesting(space, "depth")


def test_unknown_dimensions_are_refused():
    with pytest.raises(ValueError, match="Got dimensions 'height'"):
        Nesting(DIGITS, "height")


@pytest.mark.parametrize(
    ("name", "dimension"),
    [
        ("stage1_depth", "depth"),
        ("layers", "depth"),
        ("layer3_ffn", "width"),
        ("stage1_block1_kernel", None),
        ("resolution", None),
    ],
)
def test_choices_belong_to_a_dimension_by_their_name(name, dimension):
    assert dimension_of(Choice(name, (1, 2))) == dimension
