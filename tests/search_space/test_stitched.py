"""Stitched networks: where they are stitched, what they cost to the last parameter, and what cannot be stitched."""

import numpy as np
import pytest

from predictors.cost import costs
from quantization.policies import Quantization
from quantization.quantized_space import QuantizedSpace
from search_space.adjustments import Adjustments
from search_space.checkpoint import CheckpointError
from search_space.families._stitches import positions
from search_space.layers import StitchSpec
from search_space.plugins import FAMILIES, load_family

# The authors' results for DeiT: gigaFLOPs as fvcore counts them, million parameters. Of stitched networks they leave
# class token and positions out, of anchors they count them.
ANCHORS = {"anchor1": (1.26, 5.72), "anchor2": (4.61, 22.05), "anchor3": (17.58, 86.57)}
PUBLISHED = {
    "1.11-2.12": (1.55, 7.28),
    "1.10-2.11": (1.83, 8.61),
    "1.9-2.10": (2.10, 9.93),
    "1.8-2.9": (2.38, 11.26),
    "1.8-2.8": (2.76, 13.04),
    "1.7-2.6": (3.41, 16.14),
    "1.6-2.5": (3.69, 17.47),
    "1.4-2.3": (4.24, 20.13),
    "1.2-2.2": (4.42, 21.02),
    "2.11-3.12": (5.74, 27.97),
    "2.10-3.11": (6.82, 33.28),
    "2.10-3.10": (8.27, 40.37),
    "2.8-3.9": (8.97, 43.91),
    "2.7-3.8": (10.05, 49.22),
    "2.6-3.7": (11.12, 54.54),
    "2.5-3.6": (12.20, 59.85),
    "2.4-3.5": (13.28, 65.16),
    "2.3-3.4": (14.35, 70.48),
    "2.3-3.3": (15.81, 77.56),
    "2.2-3.1": (18.34, 89.96),
}
WIDTHS = {1: 192, 2: 384, 3: 768}
TOKENS = 197

VIT = {"model_type": "vit", "num_labels": 10, "image_size": 32, "patch_size": 8, "num_hidden_layers": 4}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def sized(base, embed, **more):
    return {**base, "hidden_size": embed, "intermediate_size": 2 * embed, "num_attention_heads": 4, **more}


def joined(*configs):
    return {"model_type": "stitched", "anchors": list(configs)}


def space_of(*configs, **changes):
    return load_family("stitched", None, Adjustments(**changes), joined(*configs))


def fvcore(layers):
    """Its count: a normalisation as five operations an element, everything else as multiply-accumulates."""
    norms = 0
    for layer in layers.values():
        embed = layer.fields().get("embed", 0)
        norms += {"encoder_layer": 2, "patch_head": 1}.get(layer.kind, 0) * 5 * TOKENS * embed
    return sum(layer.macs() for layer in layers.values()) + norms


# --- positions -------------------------------------------------------------------------------------------


def test_windows_of_equal_depths_are_those_of_the_paper():
    found = positions(12, 12)
    assert len(found) == 34
    assert len({one.layer for one in found}) == 11
    assert all(abs(one.leave - one.enter) <= 1 for one in found)
    # Each window adds what the one before it did not have.
    assert [(one.leave, one.enter) for one in found if one.layer == 1] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [(one.leave, one.enter) for one in found if one.layer == 2] == [(2, 3), (3, 2), (3, 3)]


def test_a_shallower_front_has_a_stitching_layer_for_each_of_its_layers():
    assert [(one.leave, one.enter, one.layer) for one in positions(2, 6)] == [
        (1, 2, 1),
        (1, 3, 1),
        (2, 4, 2),
        (2, 5, 2),
        (2, 6, 2),
    ]


@pytest.mark.parametrize(("front", "back"), [(2, 2), (3, 7), (7, 3), (12, 24), (24, 12), (5, 6), (6, 5)])
def test_positions_are_in_both_networks_each_once(front, back):
    found = positions(front, back)
    assert len({(one.leave, one.enter) for one in found}) == len(found)
    assert all(1 <= one.leave <= front and 1 <= one.enter <= back for one in found)
    # Deeper in the one is deeper in the other, within a window.
    assert all(a.enter <= b.enter + 1 for a in found for b in found if a.leave < b.leave)


def test_networks_of_one_layer_have_no_place_for_a_stitch():
    with pytest.raises(CheckpointError, match="1 and 1 layers have no place for a stitch"):
        positions(1, 1)


# --- counts ----------------------------------------------------------------------------------------------


def test_deit_has_the_papers_networks():
    space = load_family("stitched", "deit")
    assert space.size() == 71
    capacity = space.capacity()
    assert sum(isinstance(layer, StitchSpec) for layer in capacity.values()) == 22


@pytest.mark.parametrize("path", ANCHORS)
def test_anchors_are_counted_as_published(path):
    space = load_family("stitched", "deit")
    one = space.architecture(path=path)
    assert (round(fvcore(space.layers(one)) / 1e9, 2), round(costs(space, one)["params"] / 1e6, 2)) == ANCHORS[path]


@pytest.mark.parametrize("path", PUBLISHED)
def test_stitches_are_counted_as_published(path):
    space = load_family("stitched", "deit")
    one = space.architecture(path=path)
    counted = costs(space, one)["params"] - (TOKENS + 1) * WIDTHS[int(path[0])]
    flops, params = PUBLISHED[path]
    assert round(counted / 1e6, 2) == params
    # Anchors are counted as published to the last digit; of stitched networks the authors count some norm less.
    assert fvcore(space.layers(one)) / 1e9 == pytest.approx(flops, abs=0.006)


def test_a_stitched_llama_has_its_heads_weight_for_itself():
    """A tied head is the embedding of its anchor, which a network that begins in another one does not have."""
    space = space_of(sized(LLAMA, 16), sized(LLAMA, 32))
    alone, through = space.largest(), space.architecture(path="1.2-2.2")
    assert space.layers(alone)["anchor2_head"].tied_to == "anchor2_embedding"
    layers = space.layers(through)
    assert layers["anchor2_head"].tied_to == ""
    assert layers["anchor2_head"].params() == 32 + 64 * 32
    assert layers["anchor2_head"].fits_in(space.capacity()["anchor2_head"])
    assert not space.capacity()["anchor2_head"].fits_in(layers["anchor2_head"])


# --- the space -------------------------------------------------------------------------------------------


def test_anchors_go_by_size_whatever_the_list_says():
    small, large = sized(VIT, 16), sized(VIT, 32)
    one, other = space_of(small, large), space_of(large, small)
    assert one.name == other.name
    assert one.largest().id == other.largest().id
    assert one.layers(one.largest()) == other.layers(other.largest())
    assert {layer.embed for slot, layer in other.layers(other.smallest()).items()} == {16}


def test_every_network_is_drawn_as_often():
    space = space_of(sized(VIT, 16), sized(VIT, 32), sized(VIT, 48))
    rng, size = np.random.default_rng(0), space.size()
    drawn = [space.sample(rng).id for _ in range(60 * size)]
    times = [drawn.count(one.id) for one in space.every()]
    assert len(times) == size
    # Sixty of each with a deviation of eight.
    assert min(times) > 25
    assert max(times) < 100


def test_bits_of_every_layer_are_a_choice_where_there_are_several_anchors():
    space = space_of(sized(VIT, 16), sized(VIT, 32), sized(VIT, 48))
    policies = QuantizedSpace(space, Quantization((8, 32)))
    for network in space.every():
        chosen = policies.policy(policies.quantized(network, 8))
        assert chosen
        assert not any(precision.is_full for precision in chosen.values())


def test_the_path_may_be_narrowed_to_what_there_is():
    space = space_of(sized(VIT, 16), sized(VIT, 32), choices={"path": ["1.2-2.3", "anchor2", "anchor1"]})
    assert space.choices[0].options == ("anchor1", "1.2-2.3", "anchor2")
    with pytest.raises(ValueError, match=r"Option '1.1-2.4' of choice 'path'"):
        space_of(sized(VIT, 16), sized(VIT, 32), choices={"path": ["1.1-2.4", "anchor2"]})


def test_texts_are_as_long_as_the_shortest_that_an_anchor_reads():
    space = space_of(sized(LLAMA, 16), sized(LLAMA, 32, max_position_embeddings=32, num_hidden_layers=6))
    assert (space.takes.length, space.takes.max_length) == (32, 32)
    assert {layer.tokens for layer in space.capacity().values()} == {32}


# --- what cannot be stitched -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configs", "says"),
    [
        ([sized(VIT, 16)], "give two or more"),
        ([sized(VIT, 16), sized(LLAMA, 32)], "different kinds: checkpoint 1 is a vit, checkpoint 2 a llama"),
        ([sized(VIT, 16), sized(VIT, 32, patch_size=4)], "patches of 8 pixels, checkpoint 2 patches of 4 pixels"),
        ([sized(VIT, 16), sized(VIT, 32, image_size=64)], "images of 32 pixels, checkpoint 2 images of 64 pixels"),
        ([sized(VIT, 16), sized(VIT, 32, num_labels=7)], "different classes: checkpoint 1 10, checkpoint 2 7"),
        ([sized(LLAMA, 16), sized(LLAMA, 32, vocab_size=65)], "a vocabulary of 64 tokens, checkpoint 2 a vocabulary"),
        ([sized(VIT, 16), sized(VIT, 16)], "have the same sizes"),
        ([sized(VIT, 16), {"model_type": "resnet"}], "model_type of checkpoint 2 is 'resnet'; networks of these"),
        ([sized(VIT, 16, num_hidden_layers=1), sized(VIT, 32, num_hidden_layers=1)], "no place for a stitch"),
    ],
)
def test_what_cannot_be_stitched_is_refused(configs, says):
    with pytest.raises(CheckpointError, match=says):
        space_of(*configs)


def test_new_classifiers_let_networks_of_other_classes_be_stitched():
    space = space_of(sized(VIT, 16), sized(VIT, 32, num_labels=7), classes=5)
    assert space.takes.classes == 5


def test_one_checkpoint_is_no_list_and_a_list_no_one_checkpoint():
    with pytest.raises(CheckpointError, match=r"supernet.pretrained is one; give a list"):
        load_family("stitched", None, None, sized(VIT, 16))
    with pytest.raises(ValueError, match=r"Family 'vit' starts from one checkpoint, and supernet.pretrained lists"):
        load_family("vit", None, None, joined(sized(VIT, 16), sized(VIT, 32)))
    with pytest.raises(ValueError, match="has anchors of its own; leave it out"):
        load_family("stitched", "cifar", None, joined(sized(VIT, 16), sized(VIT, 32)))


# --- writing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [VIT, LLAMA], ids=["vit", "llama"])
def test_an_anchor_alone_is_a_network_of_transformers_and_a_stitched_one_is_none(base):
    family, config = FAMILIES.load("stitched"), joined(sized(base, 16), sized(base, 32))
    space = space_of(*config["anchors"])
    written = family.config_of(space.layers(space.largest()), config)
    assert (written["model_type"], written["hidden_size"]) == (base["model_type"], 32)
    assert written.get("tie_word_embeddings", True)
    with pytest.raises(CheckpointError, match="through a stitching layer, which no class of transformers has"):
        family.config_of(space.layers(space.architecture(path="1.2-2.2")), config)
