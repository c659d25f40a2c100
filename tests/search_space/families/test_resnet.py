"""ResNet spaces: stems, shortcuts, genes of SimQ-NAS, and what may be changed of them."""

import pytest

from search_space.adjustments import Adjustments
from search_space.families import resnet
from search_space.plugins import load_family


def test_genes_of_ofa_resnet50_are_those_of_simq_nas():
    """5 depths, 18 expansions, 6 widths; those whose values rounding makes equal have fewer options."""
    space = load_family("resnet", "ofa_resnet50")
    options = {choice.name: len(choice.options) for choice in space.choices}
    assert [options[f"stage{s}_depth"] for s in (1, 2, 3, 4)] == [3, 3, 3, 3]
    assert options["stem_depth"] == 2
    assert sum(name.endswith("expansion") for name in options) == 18
    assert sum(name.endswith("width") for name in options) == 6
    assert {options[name] for name in options if name.endswith("expansion")} == {3}


def test_the_second_convolution_of_a_deep_stem_can_be_left_out():
    space = load_family("resnet", "ofa_resnet50")
    deep = list(space.layers(space.largest()))[:4]
    shallow = list(space.layers(space.architecture(**{**space.largest().values, "stem_depth": 2})))[:3]
    assert deep == ["stem_conv1", "stem_conv2", "stem_conv3", "pool"]
    assert shallow == ["stem_conv1", "stem_conv3", "pool"]


@pytest.mark.parametrize(
    ("preset", "shortcut", "projections"), [("ofa_resnet50", "pool", 4), ("resnet50", "conv", 4), ("cifar", "pad", 0)]
)
def test_shortcuts(preset, shortcut, projections):
    space = load_family("resnet", preset)
    blocks = [layer for layer in space.layers(space.largest()).values() if layer.kind in ("basic", "bottleneck")]
    assert {block.shortcut for block in blocks} == {shortcut}
    assert sum(block.project_shortcut for block in blocks) == projections


def test_a_first_block_projects_if_any_combination_of_widths_needs_it():
    space = load_family("resnet", "resnet50", Adjustments({"stem_width": (64, 256)}))
    same = space.layers(space.largest())["stage1_block1"]
    assert (same.in_channels, same.out_channels, same.project_shortcut) == (256, 256, False)
    assert space.capacity()["stage1_block1"].project_shortcut


def test_resnet_18_and_its_like_have_an_identity_where_shapes_agree():
    space = resnet.fixed(resnet.PUBLISHED["resnet18"], "resnet18")
    blocks = [layer for layer in space.layers(space.largest()).values() if layer.kind == "basic"]
    assert [block.project_shortcut for block in blocks] == [False, False, True, False, True, False, True, False]


def test_expansions_may_be_whole_numbers_and_are_one_option_with_the_same_ratio():
    written = load_family("resnet", "cifar", Adjustments({"*_expansion": (1, 0.5)}))
    assert written.choices[3].options == (0.5, 1.0)
    assert written.largest() == load_family("resnet", "cifar").largest()


@pytest.mark.parametrize(
    ("preset", "choices", "message"),
    [
        ("ofa_resnet50", {"stem_depth": (1, 2)}, "must be one of 2, 3"),
        ("ofa_resnet50", {"stage1_block1_expansion": (0.25, 0.26)}, "at width 208 both give 56 channels"),
        ("resnet50", {"stage1_block1_expansion": (0,)}, "must be a number above 0"),
        ("cifar", {"stage1_depth": (200,)}, "must be a whole number from 1 to 128"),
        ("cifar", {"stem_depth": (2,)}, "has no choice 'stem_depth'"),
    ],
)
def test_what_cannot_be_built_is_refused(preset, choices, message):
    with pytest.raises(ValueError, match=message):
        load_family("resnet", preset, Adjustments(choices))


@pytest.mark.parametrize("depth", [2, 21, 51])
def test_resnets_for_cifar_have_6n_plus_2_layers(depth):
    with pytest.raises(ValueError, match=rf"have 6n \+ 2 layers, such as 20 or 56; got {depth}"):
        resnet.cifar(depth)
