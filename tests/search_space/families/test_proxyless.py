"""ProxylessNAS spaces: operations, blocks left out, candidates, and networks written as JSON."""

import json

import pytest

from predictors.cost import params
from search_space.adjustments import Adjustments
from search_space.families import proxyless
from search_space.plugins import load_family

OPERATIONS = ["k3e3", "k5e3", "k7e3", "k3e6", "k5e6", "k7e6"]


def all_k3e3(space):
    return {choice.name: "k3e3" for choice in space.choices if choice.name != "width"} | {"width": 1.0}


def test_a_block_that_is_zero_is_absent():
    space = load_family("proxyless", "imagenet")
    with_it = space.layers(space.architecture(**all_k3e3(space)))
    without = space.layers(space.architecture(**{**all_k3e3(space), "stage1_block2": "zero"}))
    assert set(with_it) - set(without) == {"stage1_block2"}
    assert [without[slot] for slot in without] == [with_it[slot] for slot in without]


def test_only_blocks_that_keep_the_shape_can_be_zero():
    space = load_family("proxyless", "imagenet")
    layers = space.layers(space.architecture(**all_k3e3(space)))
    for choice in space.choices:
        if choice.name != "width":
            block = layers[choice.name]
            keeps = block.stride == 1 and block.in_channels == block.out_channels
            assert ("zero" in choice.options) == keeps == block.shortcut


def test_operations_are_listed_smallest_first():
    for choice in load_family("proxyless", "imagenet").choices:
        if choice.name != "width":
            assert [option for option in choice.options if option != "zero"] == OPERATIONS


def test_candidates_are_what_each_option_would_be():
    space = load_family("proxyless", "imagenet")
    candidates = proxyless.candidates(space)
    assert len(candidates) == 21
    assert sum(None in specs.values() for specs in candidates.values()) == 15
    block = candidates["stage2_block1"]["k5e6"]
    priced = (block.in_channels, block.out_channels, block.size, block.out_size, block.kernel, block.stride)
    assert priced == (24, 40, 56, 28, 5, 2)
    assert (block.hidden_channels, block.shortcut) == (6 * 24, False)


def test_candidates_do_not_depend_on_other_blocks():
    space = load_family("proxyless", "imagenet")
    assert proxyless.candidates(space, space.smallest()) == proxyless.candidates(space, space.largest())


def test_candidates_follow_the_width():
    space = load_family("proxyless", "imagenet", Adjustments({"width": (0.5, 1.0)}))
    half = proxyless.candidates(space, space.smallest())["stage2_block1"]["k3e3"]
    assert (half.in_channels, half.out_channels) == (16, 24)


def test_the_width_multiplier_leaves_the_head_alone_below_one():
    space = load_family("proxyless", "imagenet", Adjustments({"width": (0.5, 1.0, 1.4)}))
    heads = [
        space.layers(space.architecture(**{**all_k3e3(space), "width": width}))["head"] for width in (0.5, 1.0, 1.4)
    ]
    assert [(head.in_channels, head.hidden_channels) for head in heads] == [(160, 1280), (320, 1280), (448, 1792)]


def test_added_operations_find_their_place_by_size():
    space = load_family("proxyless", "imagenet", Adjustments({"stage1_block1": ("k3e4", "k7e6", "k9e3", "k3e3")}))
    assert space.choices[1].options == ("k3e3", "k9e3", "k3e4", "k7e6")
    # The slot holds the largest kernel and the largest width, though no one operation has both.
    held = space.capacity()["stage1_block1"]
    assert (held.kernel, held.hidden_channels) == (9, 16 * 6)


def test_the_candidates_for_cifar_are_the_papers_and_shapes_decide_where_nothing_will_do():
    space = load_family("proxyless", "cifar_operations")
    operations = ("avg3", "max3", "sep3", "dil3", "sep5", "sep7")
    for name, specs in proxyless.candidates(space).items():
        keeps_shape = not name.endswith("block1")
        assert tuple(specs) == (("zero", "identity", *operations) if keeps_shape else operations)
        assert all(spec.shortcut == keeps_shape for spec in specs.values() if spec is not None)
    dilated = proxyless.candidates(space)["stage1_block1"]["dil3"]
    assert (dilated.operation, dilated.kernel, dilated.dilation, dilated.hidden_channels) == ("separable", 3, 2, 32)


def test_a_slot_of_operations_holds_the_largest_that_is_left():
    pools = Adjustments({"stage1_block2": ("max3", "zero"), "stage1_block3": ("sep5", "avg3")})
    space = load_family("proxyless", "cifar_operations", pools)
    assert space.choices[2].options == ("zero", "max3")
    held = space.capacity()
    assert (held["stage1_block2"].operation, held["stage1_block3"].kernel) == ("max_pool", 5)
    with pytest.raises(ValueError, match="must be one of avg3, max3, sep3, dil3, sep5, sep7; this block cannot be"):
        load_family("proxyless", "cifar_operations", Adjustments({"stage1_block1": ("identity", "sep3")}))
    with pytest.raises(ValueError, match="must be an operation"):
        load_family("proxyless", "cifar", Adjustments({"stage1_block2": ("sep3", "zero")}))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"stage1_block1": ("zero", "k3e3")}, "this block cannot be 'zero'"),
        ({"stage1_block2": ("k4e3",)}, "must be an operation such as 'k5e6', with an odd kernel"),
        ({"stage1_block2": ("k3e3s2",)}, "must be an operation"),
        ({"stage1_block2": (3,)}, "must be an operation"),
        ({"first_block": ("k3e1",)}, "has no choice 'first_block'"),
        ({"width": (0.99, 1.0)}, "keep one of them"),
    ],
)
def test_what_cannot_be_built_is_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        load_family("proxyless", "imagenet", Adjustments(choices))


# --- networks written as JSON -----------------------------------------------------------------------

TEXT = '{"stem": 16, "blocks": [[3,1,8,1], [5,3,16,2], null, [3,6,16,1]], "feature_mix": 64, "top1": 70.0}'


def test_a_network_is_read_from_its_json():
    space = proxyless.fixed(json.loads(TEXT), resolution=32, classes=10)
    assert space.size() == 1
    assert space.smallest().values == {"block0": "k3e1", "block1": "k5e3", "block3": "k3e6"}
    assert list(space.layers(space.smallest())) == ["stem", "block0", "block1", "block3", "head"]
    # stem 432+32; k3e1: 72... worked out block by block:
    stem = 3 * 16 * 9 + 32
    block0 = 16 * 9 + 32 + 16 * 8 + 16
    block1 = 8 * 24 + 48 + 24 * 25 + 48 + 24 * 16 + 32
    block3 = 16 * 96 + 192 + 96 * 9 + 192 + 96 * 16 + 32
    head = 16 * 64 + 128 + 64 * 10 + 10
    assert params(space, space.smallest()) == stem + block0 + block1 + block3 + head


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"blocks": [[3, 1, 8]]}, r"Block 0 must be \[kernel, expansion, width, stride\]"),
        ({"blocks": [[4, 1, 8, 1]]}, "odd kernel"),
        ({"blocks": [[3, 1.5, 8, 1]]}, "whole numbers"),
        ({"blocks": [None]}, "at least one block"),
        ({"blocks": ["k3e1"]}, "Block 0 must be"),
    ],
)
def test_a_description_that_is_no_network_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        proxyless.fixed({**json.loads(TEXT), **changed})


def test_a_description_without_a_stem_is_refused():
    with pytest.raises(ValueError, match="needs 'stem'; got blocks, feature_mix"):
        proxyless.fixed({"blocks": [[3, 1, 8, 1]], "feature_mix": 64})
