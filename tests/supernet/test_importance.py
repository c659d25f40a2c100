"""Importance ordering permutes exactly, and puts what matters first."""

import pytest
import torch

from search_space.adjustments import Adjustments
from search_space.plugins import load_family
from supernet.importance import axes, order_by_importance
from supernet.network import Supernet
from supernet.weights import load_pretrained
from tests.supernet.checkpoints import CHECKPOINTS, inputs, one_of_each_family, save
from tests.supernet.test_weights import config_of, logits, supernet_of
from tests.tiers import mostly_thorough

NAMES = ["llama", "llama-biases", "llama-tied", "llama-mha", "mistral-window", "qwen2", "qwen3", "bert", "vit"]


@pytest.fixture(params=one_of_each_family(NAMES))
def case(request, tmp_path):
    family, kind, config = CHECKPOINTS[request.param]
    save(kind, config, tmp_path)
    return family, supernet_of(family, tmp_path), inputs(family)


@pytest.mark.parametrize("score", ["activation", "weight"])
def test_outputs_of_the_largest_network_stay(case, score):
    _, supernet, x = case
    before = logits(supernet, x)
    orders = order_by_importance(supernet, [x], score)
    assert any(order != sorted(order) for order in orders.values()), "nothing moved"
    assert (logits(supernet, x) - before).abs().max() <= 1e-5


def test_every_layer_is_ordered_along_both_axes(case):
    family, supernet, x = case
    heads = "kv_heads" if family == "llama" else "heads"
    orders = order_by_importance(supernet, [x])
    assert set(orders) == {f"layer{i}.{field}" for i in range(1, 5) for field in ("ffn", heads)}
    for axis in axes(supernet):
        assert sorted(orders[f"{axis.slot}.{axis.field}"]) == list(range(axis.groups))


@pytest.mark.parametrize("score", ["activation", "weight"])
def test_ordering_again_changes_nothing(case, score):
    _, supernet, x = case
    order_by_importance(supernet, [x], score)
    again = order_by_importance(supernet, [x], score)
    # Equal scores may swap within rounding; none do here.
    assert all(order == sorted(order) for order in again.values())


def silence(supernet: Supernet, keep: dict[str, list[int]]) -> None:
    """Let only some groups of each axis reach the output."""
    with torch.no_grad():
        for axis in axes(supernet):
            grouped = axis.readers[0].weight.unflatten(1, (axis.groups, -1))
            silent = [g for g in range(axis.groups) if g not in keep[axis.field]]
            grouped[:, silent] = 0


CUT = [(name, score) for name in ("llama", "qwen2", "qwen3", "bert", "vit") for score in ("activation", "weight")]


@pytest.mark.parametrize(("name", "score"), mostly_thorough(CUT, ("llama", "activation"), ("bert", "weight")))
def test_a_network_cut_to_its_important_part_keeps_its_outputs(name, score, tmp_path):
    """All but a few scattered groups are dead: after ordering, the prefix of that length is the network."""
    family, kind, config = CHECKPOINTS[name]
    save(kind, config, tmp_path)
    heads = {"kv_heads": [2]} if family == "llama" else {"heads": [1, 5]}
    alive = {"ffn": [3, 17, 40, 41, 60, 61, 62, 87], **heads}
    full = {"ffn": 88, "heads": 6, "kv_heads": 3}
    narrow = {f"layer*_{field}": [len(groups), full[field]] for field, groups in alive.items()}
    supernet = supernet_of(family, tmp_path, Adjustments(narrow))
    silence(supernet, alive)
    x = inputs(family)
    expected = logits(supernet, x)
    values = supernet.space.largest().values
    small = {n: (len(alive[n.split("_", 1)[1]]) if n.split("_", 1)[-1] in alive else v) for n, v in values.items()}
    cut = supernet.space.architecture(**small)
    assert (logits(supernet, x, cut) - expected).abs().max() > 1e-3, "the first groups matter by chance"
    order_by_importance(supernet, [x], score)
    assert (logits(supernet, x, cut) - expected).abs().max() <= 1e-5


def test_contribution_of_a_neuron_is_its_activation_times_its_weights(tmp_path):
    """By hand on the first layer of a ViT: mean |activation| * norm of the outgoing weights."""
    family, kind, config = CHECKPOINTS["vit"]
    model = save(kind, config, tmp_path)
    supernet, x = supernet_of(family, tmp_path), inputs(family)
    seen = []
    hook = model.vit.layers[0].mlp.fc2.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    with torch.no_grad():
        model(x)
    hook.remove()
    expected = seen[0].abs().mean((0, 1)) * model.vit.layers[0].mlp.fc2.weight.norm(dim=0)
    order = order_by_importance(supernet, [x])["layer1.ffn"]
    scores = expected[order]
    assert (scores[:-1] >= scores[1:] - 1e-6).all()


def test_activation_needs_data_and_a_score_needs_a_name(tmp_path):
    family, kind, config = CHECKPOINTS["bert"]
    save(kind, config, tmp_path)
    supernet = supernet_of(family, tmp_path)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    with pytest.raises(ValueError, match="needs at least one batch of inputs; give some, or score by weight"):
        order_by_importance(supernet, [])
    with pytest.raises(ValueError, match=r"No score 'magic'\. Known: activation, weight"):
        order_by_importance(supernet, [], "magic")
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_a_narrower_space_still_orders_all_of_the_checkpoint(tmp_path):
    """The weights stay at full size, so the best neurons are found wherever they are."""
    family, kind, config = CHECKPOINTS["llama"]
    save(kind, config, tmp_path)
    space = load_family(family, None, Adjustments({"layer*_ffn": [24], "layer*_kv_heads": [1]}), config_of(tmp_path))
    supernet = Supernet(space)
    load_pretrained(supernet, tmp_path)
    order = order_by_importance(supernet, [inputs(family)])["layer1.ffn"]
    assert len(order) == 88
    assert max(order[:24]) > 24


def test_padding_does_not_count(tmp_path):
    """The same texts, padded further with garbage that the mask hides, give the same order."""
    family, kind, config = CHECKPOINTS["bert"]
    save(kind, config, tmp_path)
    first, second, blind = (supernet_of(family, tmp_path) for _ in range(3))
    x = inputs(family)
    padded = torch.cat((x, torch.full((3, 40), 7)), dim=1)
    mask = torch.arange(57)[None].expand(3, -1) < 17
    expected = order_by_importance(first, [{"input": x, "mask": torch.ones_like(x, dtype=torch.bool)}])
    assert order_by_importance(second, [{"input": padded, "mask": mask}]) == expected
    assert order_by_importance(blind, [padded]) != expected
