"""CLIP and SigLIP: the same numbers as transformers', whole and sliced."""

import json

import numpy as np
import pytest
import torch

from search_space.checkpoint import CheckpointError, read_checkpoint
from search_space.inputs import PairInput
from search_space.plugins import family_of, load_family
from supernet.data.dataset import Batch
from supernet.importance import order_by_importance
from supernet.network import Supernet, arguments, build_network, extract
from supernet.prefixes import Prefixes
from supernet.weights import load_pretrained, pretrained_supernet
from tests.supernet.towers import KINDS, logits_of, model_of, narrowed, pairs, saved
from tests.tiers import mostly_thorough


@pytest.fixture(scope="module", params=mostly_thorough(KINDS, "clip", "siglip"))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return saved(kind, tmp_path_factory.mktemp("towers") / kind)


@pytest.fixture(scope="module")
def supernet(folder):
    made, loaded = pretrained_supernet(folder)
    assert loaded.fresh == ()
    assert set(loaded.dropped) == set()
    return made.eval()


def test_the_whole_network_gives_the_logits_of_transformers(kind, supernet):
    given = pairs()
    with torch.no_grad():
        theirs = model_of(kind)(**given)
        ours = supernet(given, supernet.space.largest())
    torch.testing.assert_close(logits_of(ours), theirs.logits_per_image, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours[:, 1, : theirs.text_embeds.shape[1]], theirs.text_embeds, atol=1e-5, rtol=1e-5)


def test_parts_of_it_give_what_transformers_model_gives_cut_to_them(kind, supernet):
    given, space = pairs(), supernet.space
    rng = np.random.default_rng(0)
    for architecture in (space.smallest(), *(space.sample(rng) for _ in range(3))):
        values, model = architecture.values, model_of(kind)
        for ours, theirs in (("image", "vision_model"), ("text", "text_model")):
            layers = range(1, int(values[f"{ours}_depth"]) + 1)
            narrowed(model, theirs, [tuple(values[f"{ours}_layer{i}_{w}"] for w in ("heads", "ffn")) for i in layers])
        with torch.no_grad():
            expected = model(**given).logits_per_image
            found = extract(supernet, architecture).eval()(*given.values())
            assert torch.equal(found, supernet(given, architecture))
        torch.testing.assert_close(logits_of(found), expected, atol=1e-5, rtol=1e-5)


def test_every_parameter_is_counted(kind, supernet):
    layers = supernet.space.layers(supernet.space.largest())
    assert sum(spec.params() for spec in layers.values()) == sum(p.numel() for p in model_of(kind).parameters())


def test_neurons_and_heads_of_both_towers_are_ordered_and_nothing_changes(kind, folder):
    supernet, _ = pretrained_supernet(folder)
    given = pairs()
    before = supernet.eval()(given, supernet.space.largest())
    orders = order_by_importance(supernet, [given])
    assert {"image_layer1.ffn", "text_layer1.ffn", "image_layer1.kv_heads", "text_layer2.kv_heads"} <= set(orders)
    assert any(order != sorted(order) for order in orders.values())
    torch.testing.assert_close(supernet(given, supernet.space.largest()), before, atol=1e-5, rtol=1e-5)


def test_networks_that_share_a_tower_are_computed_once_and_answer_alike(supernet):
    space, rng = supernet.space, np.random.default_rng(1)
    first = space.largest()
    other = space.architecture(**{**first.values, "text_layer1_ffn": space.smallest().values["text_layer1_ffn"]})
    networks = [first, other, space.sample(rng)]
    prefixes = Prefixes(supernet, networks)
    assert prefixes.num_computed <= prefixes.num_layers - len(space.layers(first)) // 2
    for index, answers in prefixes.answers(Batch(pairs(), torch.zeros(5, dtype=torch.int64))):
        assert torch.equal(answers, extract(supernet, networks[index]).eval()(*pairs().values()))


def test_inputs_have_names_and_their_number_is_checked(supernet):
    network = extract(supernet, supernet.space.smallest()).eval()
    assert network.names == ("pixel_values", "input_ids")
    with pytest.raises(ValueError, match="takes pixel_values, input_ids; got 1 inputs"):
        network(pairs()["pixel_values"])
    assert [tuple(x.shape) for x in arguments(network, pairs())] == [(5, 3, 16, 16), (5, 12)]
    swapped = dict(reversed(pairs().items()))
    assert [tuple(x.shape) for x in arguments(network, swapped)] == [(5, 3, 16, 16), (5, 12)]
    with pytest.raises(ValueError, match="takes pixel_values, input_ids; got input"):
        arguments(network, pairs()["input_ids"])


def test_a_pair_answers_alone_what_it_answers_in_company(supernet):
    network, given = extract(supernet, supernet.space.largest()).eval(), pairs()
    with torch.no_grad():
        whole = network(*given.values())
        alone = torch.cat([network(*(x[n : n + 1] for x in given.values())) for n in range(5)])
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=1e-5)


def test_a_space_says_what_its_networks_take(kind, supernet):
    takes = supernet.space.takes
    assert isinstance(takes, PairInput)
    assert (takes.channels, takes.size, takes.vocab, takes.length, takes.max_length) == (3, 16, 99, 12, 12)
    assert takes.loss == ("sigmoid" if kind == "siglip" else "softmax")
    assert takes.whole == (kind == "siglip")
    assert takes.end == (98 if kind == "clip" else None)


# --- bad input ---------------------------------------------------------------------------------------------------


def bent(kind, tmp_path, **changes):
    folder = saved(kind, tmp_path / "bent")
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        part, _, name = key.partition("__")
        (config[part] if name else config)[name or part] = value
    (folder / "config.json").write_text(json.dumps(config))
    return read_checkpoint(folder).config


@pytest.mark.parametrize(
    ("kind_", "changes", "said"),
    [
        ("siglip", {"text_config__projection_size": 16}, "vectors of 32 numbers and texts of 16: they cannot be comp"),
        ("siglip", {"vision_config__vision_use_head": False}, "images would have no vector"),
        ("clip", {"text_config__eos_token_id": 1000}, "eos_token_id as one of its 99 ids; got 1000"),
        ("clip", {"architectures": ["CLIPForImageClassification"]}, "is a CLIPForImageClassification"),
        ("clip", {"vision_config__num_attention_heads": 5}, "hidden size of 32 for 5 heads"),
        ("clip", {"vision_config__rotary_scale": 2.5}, "rotary_scale 2.5"),
        ("clip", {"text_config": 3}, "'text_config' as a mapping"),
    ],
)
def test_what_is_not_computed_is_refused(kind_, changes, said, tmp_path):
    config = bent(kind_, tmp_path, **changes)
    with pytest.raises(CheckpointError, match=said):
        load_family(family_of(config), None, None, config)


def test_classes_are_refused(folder):
    from search_space.adjustments import Adjustments

    config = read_checkpoint(folder).config
    with pytest.raises(CheckpointError, match="has no classes"):
        load_family("two_tower", None, Adjustments(classes=10), config)


def test_a_folder_that_lacks_a_tower_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = saved("clip", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if not n.startswith("text_model")}, folder / "model.safetensors")
    config = read_checkpoint(folder).config
    with pytest.raises(CheckpointError, match="lacks"):
        load_pretrained(Supernet(load_family("two_tower", None, None, config)), folder)


def test_a_preset_starts_at_the_temperature_of_its_paper():
    space = load_family("two_tower", "cifar")
    torch.manual_seed(0)
    network = build_network(space.layers(space.smallest())).eval()
    answers = network(torch.randn(4, 3, 32, 32), torch.randint(0, 256, (4, 64))).detach()
    assert answers.shape == (4, 2, 129)
    assert answers[:, 0, :-1].norm(dim=1) == pytest.approx(10.0, rel=1e-4)
    assert (answers[:, 0, -1] == -10).all()
