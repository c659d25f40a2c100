"""What a user may change of a preset, and what is refused."""

import pytest

from search_space.adjustments import Adjustments, Options, number, odd, one_of, space_name, whole
from search_space.plugins import load_family


def options(**choices) -> Options:
    return Options("a space", Adjustments(choices))


def test_without_changes_the_presets_options_stay():
    assert options().of("width", (8, 16)) == (8, 16)


def test_options_become_what_the_user_wants_smallest_first():
    assert options(width=[32, 8]).of("width", (8, 16), whole()) == (8, 32)


def test_a_pattern_stands_for_every_choice_that_it_matches_and_exact_names_win():
    changed = Options("a space", Adjustments({"layer*_ffn": [64], "layer2_ffn": [32]}))
    assert [changed.of(f"layer{i}_ffn", (16,), whole()) for i in (1, 2, 3)] == [(64,), (32,), (64,)]
    changed.finish()


def test_words_keep_the_order_of_the_preset():
    default = ("zero", "k3e3", "k7e6")
    assert options(op=["k7e6", "zero"]).of("op", default, one_of(default)) == ("zero", "k7e6")


def test_without_a_rule_only_the_presets_own_options_are_allowed():
    with pytest.raises(ValueError, match="Option 12 of choice 'width' of 'a space' must be one of 8, 16"):
        options(width=[8, 12]).of("width", (8, 16))


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (whole(), [1, 7], [0, -1, 1.5, "8", True]),
        (whole(2, 4), [2, 4], [1, 5]),
        (whole(8, None, 8), [8, 16], [4, 12]),
        (odd(7), [1, 3, 7], [2, 9, 0]),
        (number(0, 16), [0.25, 16, 3], [0, 17, "3", True, -1]),
        (one_of(("a", "b")), ["a"], ["c", 1]),
    ],
)
def test_rules_say_what_can_be_built(rule, good, bad):
    assert all(rule.allows(option) for option in good)
    assert not any(rule.allows(option) for option in bad)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "has no options; give at least one"),
        ("8", "needs a list of options; got '8'"),
        (8, "needs a list of options; got 8"),
        ([8, 8], "lists an option twice"),
        ([8, 0], "Option 0 of choice 'width' of 'a space' must be a whole number of at least 1"),
    ],
)
def test_impossible_options_are_refused_in_words(wanted, message):
    with pytest.raises(ValueError, match=message):
        options(width=wanted).of("width", (8, 16), whole())


def test_a_change_that_no_choice_takes_is_refused_with_the_names_that_there_are():
    changed = options(widht=[8])
    changed.of("width", (8, 16))
    changed.of("depth", (1, 2))
    with pytest.raises(ValueError, match=r"no choice 'widht'. Its choices: width, depth"):
        changed.finish()


@pytest.mark.parametrize("part", ["classes", "length"])
def test_classes_and_lengths_are_at_least_one(part):
    with pytest.raises(ValueError, match=f"Got {part} 0; it must be at least 1"):
        Adjustments(**{part: 0})


def test_another_number_of_classes_is_another_space_and_narrower_choices_are_not():
    assert space_name("f", "p", Adjustments({"a": [1]})) == "f/p"
    assert space_name("f", "p", Adjustments(classes=7)) == "f/p/7-classes"


def test_a_network_that_two_adjustments_share_has_one_id():
    full = load_family("llama", "tiny")
    narrow = load_family("llama", "tiny", Adjustments({"layer*_ffn": [88, 176]}))
    values = narrow.largest().values
    assert narrow.largest().id == full.architecture(**values).id
    assert narrow.size() < full.size()
