"""BEiT-3's form that answers questions from its released names: the numbers of its definition, whole and sliced."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from export.formats.huggingface import options as huggingface
from job.checkpoint_spec import found_in
from job.formats import Subject
from predictors import cost
from search_space.adjustments import Adjustments
from search_space.checkpoint import CheckpointError, read_checkpoint
from search_space.inputs import PairInput
from search_space.plugins import family_of, load_family
from supernet.data.dataset import Batch
from supernet.importance import order_by_importance
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.methods.single.method import Single
from supernet.network import Supernet, extract
from supernet.passes import Passes
from supernet.weights import load_pretrained, pretrained_supernet
from tests.supernet.beit3 import EMBED, END, FFN, HEADS, LAYERS, LENGTH, SIDE, VOCAB, pairs
from tests.supernet.beit3_vqa import CLASSES, model, narrowed, saved, tensors

LAST = f"beit3.encoder.layers.{LAYERS - 1}."
# The text's part of the last layer but what gives keys and values.
IDLE = {
    name
    for name in tensors()
    if name.startswith(LAST)
    and ".B." in name
    and not any(part in name for part in ("k_proj", "v_proj", "self_attn_layer_norm"))
}
UNUSED = 5 * EMBED  # a mask token, and two rows of positions of each half


@pytest.fixture(scope="module")
def supernet(tmp_path_factory):
    made, loaded = pretrained_supernet(saved(tmp_path_factory.mktemp("beit3")))
    assert loaded.fresh == ()
    assert set(loaded.dropped) == IDLE | {"beit3.vision_embed.mask_token"}
    return made.eval()


def sizes_of(architecture):
    values = architecture.values
    words = ("heads", "image_ffn", "text_ffn")
    return [tuple(int(values.get(f"layer{i}_{word}", 0)) for word in words) for i in range(1, values["depth"] + 1)]


def test_the_whole_network_gives_the_logits_of_the_definition(supernet):
    given, largest = pairs(), supernet.space.largest()
    with torch.no_grad():
        torch.testing.assert_close(supernet(given, largest), model()(**given), atol=1e-5, rtol=1e-5)
    own = sum(tensor.numel() for name, tensor in tensors().items() if name not in IDLE)
    assert cost.params(supernet.space, largest) == own - UNUSED


def test_what_is_left_out_of_the_last_layer_changes_no_logit():
    given = pairs()
    changed = model()
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if name in IDLE:
                parameter.add_(1.0)
        assert torch.equal(changed(**given), model()(**given))


def test_parts_of_it_are_the_definition_with_norms_of_their_width(supernet):
    given, space, rng = pairs(), supernet.space, np.random.default_rng(0)
    for architecture in (space.smallest(), *(space.sample(rng) for _ in range(4))):
        small = model()
        narrowed(small, sizes_of(architecture))
        with torch.no_grad():
            found = extract(supernet, architecture).eval()(*given.values())
            right = small(**given, depth=int(architecture.values["depth"]))
            torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-5)
            assert torch.equal(found, supernet(given, architecture))


def test_an_image_hears_of_its_text_and_not_of_what_stands_behind_it(supernet):
    given, largest = pairs(), supernet.space.largest()
    ids = given["input_ids"]
    behind = torch.arange(LENGTH)[None] > (ids == END).int().argmax(1)[:, None]
    assert behind.any()
    padded = {**given, "input_ids": torch.where(behind, torch.full_like(ids, 7), ids)}
    other = {**given, "input_ids": torch.where(ids == ids[0, 1], torch.full_like(ids, 7), ids)}
    with torch.no_grad():
        right = supernet(given, largest)
        torch.testing.assert_close(supernet(padded, largest), right, atol=1e-6, rtol=1e-6)
        assert (supernet(other, largest) - right)[0].abs().max() > 1e-3


def test_ordering_goes_with_the_inner_norms_and_has_one_order_of_heads(tmp_path):
    made, _ = pretrained_supernet(saved(tmp_path))
    given = pairs()
    before = made.eval()(given, made.space.largest())
    orders = order_by_importance(made, [given])
    assert {"layer1.heads", "layer1.image_ffn", "layer1.text_ffn", f"layer{LAYERS}.heads"} <= set(orders)
    assert f"layer{LAYERS}.text_ffn" not in orders
    assert any(order != sorted(order) for order in orders.values())
    torch.testing.assert_close(made(given, made.space.largest()), before, atol=1e-5, rtol=1e-5)


def test_it_learns_by_cross_entropy(supernet):
    given, labels = pairs(), torch.tensor([0, 1, 2, 1, 0])
    batch = Batch(given, labels)
    passes = Passes(supernet)
    with torch.no_grad():
        loss = passes.task_loss(passes.run(batch, supernet.space.largest()), batch)
        expected = torch.nn.functional.cross_entropy(model()(**given), labels)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(
    "method", [BigNAS(BigNASOptions(num_random=1, drop_connect=0.2)), Single()], ids=["bignas", "single"]
)
def test_both_halves_learn(method, tmp_path):
    made, _ = pretrained_supernet(saved(tmp_path))
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    batch, seen = Batch(pairs(), torch.tensor([0, 1, 2, 1, 0])), []
    for step in range(15):
        optimizer.zero_grad()
        losses = method.step(Passes(made.train()), batch, np.random.default_rng(step))
        optimizer.step()
        seen.append(float(next(iter(losses.values()))))
    assert seen[-1] < 0.5 * seen[0]
    assert not [name for name, parameter in made.named_parameters() if parameter.grad is None]


def test_its_space_says_what_it_takes_and_what_is_elastic(supernet):
    space = supernet.space
    assert space.takes == PairInput(3, SIDE, VOCAB, LENGTH, LENGTH, end=END, classes=CLASSES)
    largest = space.largest().values
    assert (largest["depth"], largest["layer1_heads"]) == (LAYERS, HEADS)
    assert largest["layer1_image_ffn"] == largest["layer1_text_ffn"] == FFN
    names = {choice.name for choice in space.choices}
    assert f"layer{LAYERS}_image_ffn" in names
    assert f"layer{LAYERS}_text_ffn" not in names


def test_the_last_layer_is_that_of_each_depth(supernet):
    space = supernet.space
    two = space.architecture(**{**space.largest().values, "depth": 2})
    active = dict(zip((choice.name for choice in space.choices), space.is_active(two), strict=True))
    assert active["layer1_text_ffn"]
    assert active["layer2_image_ffn"]
    assert not active["layer2_text_ffn"]
    layers = space.layers(two)
    assert layers["layer1"].text_ffn == FFN
    assert layers["layer2"].text_ffn == 0


def test_other_classes_begin_fresh_and_the_rest_is_kept(tmp_path):
    config = read_checkpoint(saved(tmp_path)).config
    made = Supernet(load_family("multiway", None, Adjustments(classes=7), config))
    assert load_pretrained(made, tmp_path, classes=7).fresh == ("head.3.bias", "head.3.weight")
    assert made.space.takes.classes == 7
    assert torch.equal(made.slot("head").block.wide.weight, tensors()["head.0.weight"])


def test_its_images_are_prepared_as_its_name_says(tmp_path):
    found = found_in(read_checkpoint(saved(tmp_path)), "multiway", None)
    assert found.preprocessing is not None
    assert found.preprocessing.mean == (0.5, 0.5, 0.5)
    assert found.preprocessing.edge == SIDE


def test_names_of_its_answers_are_those_that_the_configuration_has(tmp_path):
    names = {"0": "no", "1": "yes", "2": "two", "3": "red", "4": "a cat"}
    assert found_in(read_checkpoint(saved(tmp_path, id2label=names)), "multiway", None).labels == tuple(names.values())


@pytest.mark.parametrize(
    "name",
    ["beit3_base_patch16_480_vqa", "beit3_base_indomain_patch16_480_vqa", "beit3_large_patch16_480_vqav2"],
)
def test_released_names_are_known(name, tmp_path):
    assert family_of(read_checkpoint(saved(tmp_path, architecture=name)).config) == "multiway"


def test_transformers_has_no_class_of_it(supernet):
    space = supernet.space
    said = huggingface.refusal(Subject(space.name, space.layers(space.smallest())))
    assert said == "transformers has no class of such networks"


def without(*parts):
    return {name: None for name in tensors() if any(part in name for part in parts)}


@pytest.mark.parametrize(
    ("changes", "config", "said"),
    [
        (without("head.3"), {}, r"lacks 'head\.3\.weight'"),
        (without("head.1"), {}, r"lacks 2 tensors \('head\.1\.weight', 'head\.1\.bias'\)"),
        (without("pooler.dense"), {}, r"lacks 2 tensors \('pooler\.dense\.weight'"),
        (without("layers.1.ffn.B.fc1.weight"), {}, r"layers\.1\.ffn\.B\.fc1\.weight"),
        (without(f"{LAST}self_attn.k_proj.B"), {}, r"layers\.2\.self_attn\.k_proj\.B"),
        ({}, {"id2label": {"0": "a"}}, "names 1 classes in 'id2label', and head.3.weight has 5"),
        (without("layers.2") | {f"{LAST}self_attn.k_proj.A.weight": torch.zeros(1)}, {}, r"layers of 3 .* of 2"),
        ({"beit3.text_embed.weight": torch.zeros(VOCAB, 16)}, {"model_args": {"num_heads": 4, "img_size": SIDE}},
         "width of 32 and the text half of 16"),
        ({"beit3.encoder.layer_norm.A.weight": torch.zeros(EMBED)}, {}, "layer_norm.A.weight', which its config.json"),
        ({}, {"architecture": "beit3_base_patch16_224"}, "beit3_base_patch16_480_vqa"),
        ({}, {"model_args": {"num_heads": HEADS}}, "images of 480 pixels a side .* positions for 16 patches of 4"),
        ({}, {"model_args": {"num_heads": 5, "img_size": SIDE}}, "hidden size of 32 for 5 heads"),
        ({}, {"model_args": {"img_size": SIDE}}, "whose width is 768, and the image half has 32"),
    ],
)  # fmt: skip
def test_what_is_not_computed_is_refused(changes, config, said, tmp_path):
    with pytest.raises(CheckpointError, match=said):
        pretrained_supernet(saved(tmp_path, changes, **config))


def test_a_pickle_is_not_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "beit3_base_patch16_480_vqa"}))
    torch.save({"model": tensors()}, tmp_path / "beit3_base_patch16_480_vqa.pth")
    with pytest.raises(CheckpointError, match="safetensors"):
        read_checkpoint(tmp_path)
    save_file(tensors(), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"whose width is 768"):
        read_checkpoint(tmp_path)
