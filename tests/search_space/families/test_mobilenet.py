"""MobileNet spaces: what their choices mean, and what may be changed of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from predictors.cost import macs, params
from search_space.adjustments import Adjustments
from search_space.families import mobilenet
from search_space.plugins import load_family


def blocks(space, architecture):
    """The inverted residual blocks by slot."""
    return {slot: layer for slot, layer in space.layers(architecture).items() if layer.kind == "mbconv"}


def test_bignas_has_shortcuts_exactly_where_shapes_agree():
    space = load_family("mobilenet", "bignas")
    for block in blocks(space, space.largest()).values():
        assert block.shortcut == (block.stride == 1 and block.in_channels == block.out_channels)
        assert not block.project_shortcut


def test_attentivenas_has_shortcuts_everywhere():
    space = load_family("mobilenet", "attentivenas")
    for block in blocks(space, space.largest()).values():
        assert block.shortcut
        assert block.project_shortcut == (block.in_channels != block.out_channels)


def test_squeeze_of_bignas_is_a_quarter_of_the_blocks_input():
    space = load_family("mobilenet", "bignas")
    for block in blocks(space, space.largest()).values():
        assert block.squeeze_channels == block.in_channels // 4
        assert (block.squeeze_activation, block.gate) == ("SiLU", "Sigmoid")


def test_squeeze_of_attentivenas_is_a_quarter_of_the_hidden_channels():
    space = load_family("mobilenet", "attentivenas")
    squeezed = {slot[:6]: block for slot, block in blocks(space, space.largest()).items() if block.squeeze_channels}
    assert sorted(squeezed) == ["stage3", "stage5", "stage6", "stage7"]
    for block in squeezed.values():
        # Every quarter of a hidden width here is a multiple of 2; it is rounded to one of 8.
        assert block.squeeze_channels % 8 == 0
        assert abs(block.squeeze_channels - block.hidden_channels / 4) <= 4
        assert (block.squeeze_activation, block.gate) == ("ReLU", "Hardsigmoid")


def test_elastic_resolution_begins_with_a_resize():
    space = load_family("mobilenet", "cifar")
    network = space.architecture(**{**space.largest().values, "resolution": 24})
    first, second = list(space.layers(network).values())[:2]
    assert (first.kind, first.size) == ("resize", 24)
    assert second.size == 24
    assert space.takes.size == 32


def test_a_lower_resolution_costs_less_and_has_the_same_weights():
    space = load_family("mobilenet", "bignas")
    large = space.largest()
    small = space.architecture(**{**large.values, "resolution": 192})
    assert macs(space, small) < macs(space, large)
    assert params(space, small) == params(space, large)


def test_the_cifar_space_is_small_enough_for_a_cpu():
    space = load_family("mobilenet", "cifar")
    assert macs(space, space.smallest()) < 1e6
    assert 15e6 < macs(space, space.largest()) < 25e6


def test_expansion_one_has_no_expanding_convolution():
    wider = load_family("mobilenet", "bignas", Adjustments({"stage1_expansion": (1, 6)}))
    plain = wider.layers(wider.architecture(**{**wider.largest().values, "stage1_expansion": 1}))["stage1_block1"]
    expanded = wider.layers(wider.largest())["stage1_block1"]
    assert (plain.expand, plain.hidden_channels) == (False, plain.in_channels)
    assert (expanded.expand, expanded.hidden_channels) == (True, 6 * expanded.in_channels)


def test_a_first_blocks_capacity_has_a_shortcut_only_if_every_combination_of_widths_has_one():
    """A slot without one keeps its last scale when training starts; see `zero_last_scale`."""
    mixed = load_family("mobilenet", "bignas", Adjustments({"stage4_width": (80, 88), "stage5_width": (80, 88)}))
    equal = load_family("mobilenet", "bignas", Adjustments({"stage4_width": (80,), "stage5_width": (80,)}))
    assert not mixed.capacity()["stage5_block1"].shortcut
    assert equal.capacity()["stage5_block1"].shortcut
    both = {mixed.layers(mixed.sample(np.random.default_rng(seed)))["stage5_block1"].shortcut for seed in range(20)}
    assert both == {True, False}


# --- SortedNet's nested sub-models ------------------------------------------------------------------


def test_mobilenet_v2_has_160_nested_networks():
    space = load_family("mobilenet", "mobilenet_v2")
    assert space.size() == 160
    assert [len(choice.options) for choice in space.choices] == [10, 16]


def test_the_largest_nested_network_is_mobilenet_v2():
    """Two million weights fewer: ten classes instead of a thousand. 1281 numbers a class."""
    space = load_family("mobilenet", "mobilenet_v2")
    assert params(space, space.largest()) == 3_504_872 - 990 * 1281


def test_depth_counts_the_blocks_after_the_first_stage():
    space = load_family("mobilenet", "mobilenet_v2")
    for depth in (1, 7, 16):
        assert len(blocks(space, space.architecture(width=1.0, depth=depth))) == 1 + depth


def test_a_smaller_width_is_a_prefix_of_a_larger_one_in_every_layer():
    space = load_family("mobilenet", "mobilenet_v2")
    networks = [space.layers(space.architecture(width=share / 10, depth=16)) for share in range(1, 11)]
    for narrow, wide in pairwise(networks):
        assert all(narrow[slot].fits_in(wide[slot]) for slot in narrow)
        assert any(narrow[slot].params() < wide[slot].params() for slot in narrow)


# --- what may be changed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "choices", "message"),
    [
        ("bignas", {"stage1_kernel": (4,)}, "must be an odd number from 1 to 15"),
        ("bignas", {"stage1_expansion": (2.5,)}, "must be a whole number from 1 to 32"),
        ("bignas", {"stage1_depth": (0,)}, "must be a whole number from 1 to 64"),
        ("bignas", {"resolution": (4,)}, "must be a whole number from 8 to 2048"),
        ("attentivenas", {"stage2_width": (20,)}, "must be a multiple of 8"),
        ("digits", {"resolution": (8, 16)}, "has no choice 'resolution'"),
        ("mobilenet_v2", {"depth": (17,)}, "must be a whole number from 1 to 16"),
        ("mobilenet_v2", {"width": (0.5, 0.5001)}, r"both give \(16, 640\) channels"),
        ("mobilenet_v2", {"width": (0,)}, "must be a number above 0"),
    ],
)
def test_what_cannot_be_built_is_refused(preset, choices, message):
    with pytest.raises(ValueError, match=message):
        load_family("mobilenet", preset, Adjustments(choices))


def test_another_number_of_classes_is_another_space():
    space = load_family("mobilenet", "bignas", Adjustments(classes=10))
    assert space.name == "mobilenet/bignas/10-classes"
    assert space.takes.classes == space.layers(space.largest())["head"].classes == 10


# --- fixed networks ---------------------------------------------------------------------------------


def test_the_name_of_a_fixed_network_is_in_its_id():
    table = mobilenet.PUBLISHED["mobilenet_v2"]
    first, second = mobilenet.fixed(table, "one"), mobilenet.fixed(table, "two")
    assert first.name == "mobilenet/one"
    assert first.largest() != second.largest()
    assert list(first.layers(first.largest()).values()) == list(second.layers(second.largest()).values())


def test_a_published_network_may_be_changed_by_changing_its_table():
    space = mobilenet.fixed(replace(mobilenet.PUBLISHED["mobilenet_v2"], classes=10), "ten")
    assert params(space, space.largest()) == 3_504_872 - 990 * 1281
