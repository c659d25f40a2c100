"""How often layers are kept and how wide they are, among several networks."""

import pytest

from search.insight import choices_of, layers_of
from search_space import Choice, SearchSpace
from search_space.adjustments import Adjustments
from search_space.plugins import load_family

SPACE = load_family("llama", "tiny", Adjustments({"layer*_kv_heads": (4,)}))


def network(kept: set[int], ffn: dict[int, int]):
    values = SPACE.largest().values
    for i in range(2, 6):
        values[f"layer{i}_keep"] = int(i in kept)
    for i, width in ffn.items():
        values[f"layer{i}_ffn"] = width
    return SPACE.architecture(**values)


NETWORKS = [
    network({2, 3}, {1: 88}),
    network({2}, {1: 352, 2: 176}),
    network({2, 4, 5}, {1: 176, 2: 88}),
    network({3}, {}),
]


def test_layers_are_kept_by_shares_and_as_wide_as_on_average():
    found = {layer.slot: layer for layer in layers_of(SPACE, NETWORKS)}
    assert list(found) == ["embedding", *(f"layer{i}" for i in range(1, 7)), "head"]
    assert [found[f"layer{i}"].kept for i in range(1, 7)] == [1, 0.75, 0.5, 0.25, 0.25, 1]
    assert found["layer4"].size == 1
    sizes = [SPACE.layers(a)["layer2"].params() for a in NETWORKS[:3]]
    assert found["layer2"].size == pytest.approx(sum(sizes) / 3 / SPACE.capacity()["layer2"].params())


def test_shares_of_options_leave_out_who_has_no_such_layer():
    found = {choice.name: choice for choice in choices_of(SPACE, NETWORKS)}
    assert found["layer2_ffn"].options == (88, 176, 264, 352)
    assert found["layer2_ffn"].shares == (0.25, 0.25, 0, 0.25)
    assert found["layer2_keep"].shares == (0.25, 0.75)
    assert "layer1_kv_heads" not in found  # one option is no choice


def test_nothing_is_said_about_no_networks_or_of_layers_without_a_blueprint():
    assert layers_of(SPACE, []) == []
    table = SearchSpace("table", [Choice("a", (0, 1))])
    assert layers_of(table, [table.smallest()]) == []
    assert choices_of(table, [table.smallest()])[0].shares == (1.0, 0.0)
    assert choices_of(table, [])[0].shares == (0.0, 0.0)
