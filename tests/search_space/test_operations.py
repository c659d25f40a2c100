"""Spaces of blocks: which they are, and the same spaces with other slots."""

import pytest

from search_space import Choice, SearchSpace
from search_space.adjustments import Adjustments
from search_space.layers import ClassifierSpec, ConvSpec
from search_space.operations import alone, blocks_of, separated
from search_space.plugins import load_family

DIGITS = load_family("proxyless", "digits")


def conv(channels: int = 8, kernel: int = 3) -> ConvSpec:
    return ConvSpec(8, channels, kernel, 1, 8, "ReLU")


def test_every_block_of_the_papers_space_is_found_in_order():
    space = load_family("proxyless", "imagenet")
    blocks = blocks_of(space)
    assert len(blocks.searched) == 21
    assert [block.choice for block in blocks.searched] == [c.name for c in space.choices if c.name != "width"]
    assert list(blocks.fixed) == ["stem", "first_block", "head"]
    assert blocks.order[:3] == ("stem", "first_block", "stage1_block1")
    left_out = [block for block in blocks.searched if block.specs[0] is None]
    assert len(left_out) == 15
    assert all(block.options[0] == "zero" for block in left_out)


def test_a_space_of_anybodys_with_free_names_is_found():
    def layers(values):
        body = {"a": conv(kernel=values["first"])} | ({"b": conv(kernel=3)} if values["second"] else {})
        return {**body, "c": ClassifierSpec(8, 10, 8)}

    space = SearchSpace("mine", [Choice("second", (False, True)), Choice("first", (3, 5))], layers)
    blocks = blocks_of(space)
    assert [(block.choice, block.slot) for block in blocks.searched] == [("first", "a"), ("second", "b")]
    assert blocks.searched[1].specs == (None, conv())


def test_separated_networks_are_the_same_networks_with_slots_of_their_own():
    apart = separated(DIGITS)
    architecture = DIGITS.smallest()
    assert apart.architecture(**architecture.values).id == architecture.id
    assert list(apart.layers(architecture).values()) == list(DIGITS.layers(architecture).values())
    assert "stage1_block1/0" in apart.layers(architecture)
    slots = apart.capacity()
    assert len([slot for slot in slots if slot.startswith("stage1_block1/")]) == 6
    assert "stage1_block2/0" not in slots  # zero holds no weights
    assert all(spec == slots[slot] for slot, spec in apart.layers(DIGITS.largest()).items())


def test_a_network_alone_has_no_weights_of_others():
    architecture = DIGITS.smallest()
    assert alone(DIGITS, architecture).capacity() == DIGITS.layers(architecture)


def test_a_single_candidate_is_refused_by_its_name():
    space = load_family("proxyless", "digits", Adjustments({"stage1_block1": ("k3e3",)}))
    with pytest.raises(ValueError, match=r"Block 'stage1_block1' .* has a single candidate operation, 'k3e3'"):
        blocks_of(space)


def test_widths_that_shape_every_layer_are_refused():
    space = load_family("proxyless", "digits", Adjustments({"width": (0.5, 1.0)}))
    with pytest.raises(ValueError, match=r"Choice 'width' .* shapes \d+ layers .* single option, such as 1.0"):
        blocks_of(space)
    with pytest.raises(ValueError, match="pick the operation of one block"):
        blocks_of(load_family("mobilenet", "digits"))


def test_two_choices_of_one_slot_are_refused():
    def layers(values):
        return {"a": conv(values["width"], values["kernel"])}

    space = SearchSpace("two", [Choice("width", (4, 8)), Choice("kernel", (3, 5))], layers)
    with pytest.raises(ValueError, match="Choices 'width' and 'kernel' of 'two' both shape slot 'a'"):
        blocks_of(space)


def test_blocks_that_depend_on_one_another_are_refused():
    """Each choice by itself shapes one slot; both together shape a third."""

    def layers(values):
        both = values["x"] == 3 and values["y"] == 3
        return {"a": conv(kernel=values["x"]), "b": conv(kernel=values["y"]), "c": conv(kernel=7 if both else 3)}

    space = SearchSpace("knot", [Choice("x", (3, 5)), Choice("y", (3, 5))], layers)
    with pytest.raises(ValueError, match="Slot 'c' of 'knot' depends on more than one choice"):
        blocks_of(space)


def test_a_choice_without_effect_is_refused():
    space = SearchSpace("idle", [Choice("x", (1, 2))], lambda values: {"a": conv()})
    with pytest.raises(ValueError, match="Choice 'x' of 'idle' shapes no layer"):
        blocks_of(space)


def test_the_same_networks_arranged_otherwise_count_the_same_bytes_a_number():
    space = load_family("proxyless", "digits")
    space.float_bits = 16
    assert separated(space).float_bits == alone(space, space.largest()).float_bits == 16
