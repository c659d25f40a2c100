"""BEiT-3's image-text form from its released names: the same numbers as its definition, whole and sliced."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from export.formats.huggingface import options as huggingface
from job.checkpoint_spec import found_in
from job.formats import Subject
from predictors import cost
from search_space.checkpoint import CheckpointError, read_checkpoint
from search_space.companions import image_preprocessing
from search_space.inputs import PairInput
from search_space.plugins import check_checkpoint, family_of, load_family
from supernet.data.dataset import Batch
from supernet.importance import order_by_importance
from supernet.methods.alternating.method import Alternating
from supernet.methods.alternating.options import AlternatingOptions
from supernet.methods.bignas.method import BigNAS
from supernet.methods.bignas.options import BigNASOptions
from supernet.network import extract
from supernet.passes import Passes
from supernet.weights import pretrained_supernet
from tests.supernet.beit3 import (
    EMBED,
    END,
    FFN,
    HEADS,
    IMAGE,
    LAYERS,
    LENGTH,
    SIDE,
    TEXT,
    VOCAB,
    model,
    narrowed,
    pairs,
    saved,
    tensors,
)
from tests.supernet.towers import logits_of

UNUSED = 5 * EMBED  # a mask token, and two rows of positions of each half


@pytest.fixture(scope="module")
def supernet(tmp_path_factory):
    made, loaded = pretrained_supernet(saved(tmp_path_factory.mktemp("beit3")))
    assert (loaded.fresh, loaded.dropped) == ((), ("beit3.vision_embed.mask_token",))
    return made.eval()


def test_the_whole_network_gives_the_logits_of_the_definition(supernet):
    given = pairs()
    with torch.no_grad():
        ours, theirs = supernet(given, supernet.space.largest()), model()(**given)
        torch.testing.assert_close(logits_of(ours), theirs, atol=1e-5, rtol=1e-5)
    assert (
        cost.params(supernet.space, supernet.space.largest()) == sum(p.numel() for p in model().parameters()) - UNUSED
    )


def test_what_stands_behind_the_end_of_a_text_changes_nothing(supernet):
    given = pairs()
    ids = given["input_ids"]
    behind = torch.arange(LENGTH)[None] > (ids == END).int().argmax(1)[:, None]
    assert behind.any()
    other = {**given, "input_ids": torch.where(behind, torch.full_like(ids, 7), ids)}
    with torch.no_grad():
        torch.testing.assert_close(
            supernet(other, supernet.space.largest()), supernet(given, supernet.space.largest()), atol=1e-6, rtol=1e-6
        )


def test_parts_of_it_are_the_definition_with_norms_of_their_width(supernet):
    given, space, rng = pairs(), supernet.space, np.random.default_rng(0)
    for architecture in (space.smallest(), *(space.sample(rng) for _ in range(3))):
        values, cut = architecture.values, model()
        for tower, half in (("image", IMAGE), ("text", TEXT)):
            layers = range(1, int(values[f"{tower}_depth"]) + 1)
            narrowed(cut, half, [tuple(values[f"{tower}_layer{i}_{w}"] for w in ("heads", "ffn")) for i in layers])
        depths = tuple(int(values[f"{tower}_depth"]) for tower in ("image", "text"))
        with torch.no_grad():
            found = extract(supernet, architecture).eval()(*given.values())
            torch.testing.assert_close(logits_of(found), cut(**given, depths=depths), atol=1e-5, rtol=1e-5)
            assert torch.equal(found, supernet(given, architecture))
    specs = space.layers(space.smallest())
    assert specs["text_layer1"].norms_across == specs["image_layer1"].norms_across == {"heads", "kv_heads", "ffn"}


def test_ordering_goes_with_the_inner_norms_of_both_halves(tmp_path):
    made, _ = pretrained_supernet(saved(tmp_path))
    given = pairs()
    before = made.eval()(given, made.space.largest())
    orders = order_by_importance(made, [given])
    assert {"image_layer1.ffn", "text_layer1.ffn", "image_layer1.kv_heads", "text_layer2.kv_heads"} <= set(orders)
    assert any(order != sorted(order) for order in orders.values())
    torch.testing.assert_close(made(given, made.space.largest()), before, atol=1e-5, rtol=1e-5)


def test_it_learns_by_the_contrastive_loss(supernet):
    given = pairs()
    batch = Batch(given, torch.arange(5)[:, None].repeat(1, 2))
    passes = Passes(supernet)
    with torch.no_grad():
        loss = passes.task_loss(passes.run(batch, supernet.space.largest()), batch)
        logits = model()(**given)
    own = torch.arange(5)
    expected = (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)) / 2
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        BigNAS(BigNASOptions(num_random=1, label_smoothing=0.0)),
        Alternating(AlternatingOptions(alpha=0.5, gamma=0)),
    ],
    ids=["bignas", "alternating"],
)
def test_both_halves_learn_from_labels_and_from_the_largest_networks_similarities(method, tmp_path):
    made, _ = pretrained_supernet(saved(tmp_path))
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    batch, seen = Batch(pairs(), torch.arange(5)[:, None].repeat(1, 2)), []
    for step in range(12):
        optimizer.zero_grad()
        losses = method.step(Passes(made.train()), batch, np.random.default_rng(step))
        optimizer.step()
        seen.append(float(losses["loss_largest"]))
    assert seen[-1] < 0.5 * seen[0]
    reached = {name.split(".")[1] for name, parameter in made.named_parameters() if parameter.grad is not None}
    assert {"image_layer1", "text_layer1", "pair", "image_head", "text_head"} <= reached


def test_its_space_says_what_it_takes_and_what_is_elastic(supernet):
    space = supernet.space
    takes = space.takes
    assert isinstance(takes, PairInput)
    assert (takes.channels, takes.size, takes.vocab, takes.max_length) == (3, SIDE, VOCAB, LENGTH)
    assert (takes.loss, takes.whole, takes.end) == ("softmax", False, END)
    largest = space.largest().values
    for tower in ("image", "text"):
        assert (largest[f"{tower}_depth"], largest[f"{tower}_layer1_heads"], largest[f"{tower}_layer1_ffn"]) == (
            LAYERS,
            HEADS,
            FFN,
        )
    assert not any("embed" in choice.name for choice in space.choices)


def test_pictures_are_prepared_as_the_released_code_does(tmp_path):
    found = image_preprocessing(saved(tmp_path), SIDE, 3)
    assert found is not None
    assert (found.mean, found.std, found.edge, found.keeps_ratio, found.crop, found.resample) == (
        (0.5,) * 3,
        (0.5,) * 3,
        SIDE,
        False,
        None,
        "bicubic",
    )
    config = read_checkpoint(tmp_path)
    assert found_in(config, "two_tower", None).preprocessing is not None


def released(size, name, folder):
    """A folder that holds a released file's names and shapes, and no weights: zeros of one row."""
    embed, layers, _, side = size
    patches = (side // 16) ** 2 + 3
    shapes = {}
    for tensor, held in tensors().items():
        axes = [
            {EMBED: embed, FFN: 4 * embed, 4: 16, VOCAB: 64010, 19: patches, LENGTH + 2: 1024}.get(n, n)
            for n in held.shape
        ]
        for number in range(layers) if ".layers.0." in tensor else [None] * (".layers." not in tensor):
            shapes[tensor if number is None else tensor.replace(".layers.0.", f".layers.{number}.")] = axes
    (folder / "config.json").write_text(json.dumps({"architecture": name}))
    header, stop = {}, 0
    for tensor, axes in shapes.items():
        start, stop = stop, stop + 4 * int(np.prod(axes, dtype=np.int64))
        header[tensor] = {"dtype": "F32", "shape": axes, "data_offsets": [start, stop]}
    written = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(written).to_bytes(8, "little") + written)
        file.truncate(8 + len(written) + stop)  # sparse: no byte of it is on the disk
    return folder


# Published by the released code; less a mask token and two rows of positions of each half, which nothing uses.
@pytest.mark.parametrize(
    ("size", "name", "params"),
    [
        ((768, 12, 12, 384), "beit3_base_patch16_384_coco_retrieval", 222_458_881),
        ((768, 12, 12, 224), "beit3_base_itc_patch16_224", 222_167_041),
        ((1024, 24, 16, 384), "beit3_large_patch16_384_f30k_retrieval", 675_188_737),
    ],
)
def test_released_files_are_counted_to_the_unit_without_their_weights(size, name, params, tmp_path):
    checkpoint = read_checkpoint(released(size, name, tmp_path))
    space = load_family(family_of(checkpoint.config), None, None, checkpoint.config)
    assert cost.params(space, space.largest()) == params - 5 * size[0]
    assert check_checkpoint("two_tower", checkpoint).fresh == ()
    first = space.layers(space.largest())["image_layer1"]
    assert (first.heads, first.head_dim) == (size[2], 64)


def test_a_preset_is_the_released_form():
    space = load_family("two_tower", "beit3_base_patch16_384")
    assert cost.params(space, space.largest()) == 222_458_881 - 5 * 768
    largest = space.largest()
    layers = space.layers(largest)
    image = sum(spec.macs() for slot, spec in layers.items() if slot.startswith("image_"))
    text = sum(spec.macs() for slot, spec in layers.items() if slot.startswith("text_"))
    # By hand: 577 tokens of 12 layers of 12 x 768^2, the two products of attention, patches and projection; 64 tokens.
    assert image == 12 * (577 * 12 * 768**2 + 2 * 577**2 * 768) + 576 * 768**2 + 768**2
    assert text == 12 * (64 * 12 * 768**2 + 2 * 64**2 * 768) + 768**2


def test_a_folder_for_transformers_is_refused(supernet):
    space = supernet.space
    subject = Subject(space.name, space.layers(space.smallest()))
    assert "no class of BEiT-3's two towers" in str(huggingface.refusal(subject))


# --- bad input ---------------------------------------------------------------------------------------------------


def without(*parts):
    return {name: None for name in tensors() if any(part in name for part in parts)}


HEADLESS = without("vision_head", "language_head", "logit_scale")


@pytest.mark.parametrize(
    ("changes", "config", "said"),
    [
        ({"language_head.weight": torch.zeros(24, EMBED)}, {}, "vectors of 32 numbers and language_head of 24"),
        (without(".B."), {}, r"lacks 'beit3\.encoder\.embed_positions\.B\.weight'"),
        ({n: t for n, t in without(".B.").items() if "layers" in n}, {}, r"lacks BEiT-3's text half.*'\.B\.'"),
        ({n: t for n, t in without(".A.").items() if "layers" in n}, {}, r"lacks BEiT-3's image half.*'\.A\.'"),
        (without("beit3.text_embed"), {}, r"lacks 'beit3\.text_embed\.weight'"),
        (without("logit_scale"), {}, "lacks 'logit_scale'"),
        (HEADLESS, {}, "pretrained and not tuned for retrieval: it reads image and text as one sequence"),
        ({**HEADLESS, "pooler.norm.weight": torch.zeros(3)}, {}, r"lacks 'head\.3\.weight', which BEiT-3's image-text"),
        ({**HEADLESS, "head.dense1.weight": torch.zeros(3)}, {}, "two images and a sentence .NLVR2., for which it"),
        ({**HEADLESS, "mlm_head.weight": torch.zeros(3)}, {}, "writes captions or fills in words, for which it"),
        ({**HEADLESS, "fc_norm.weight": torch.zeros(3)}, {}, "classify images; take timm's safetensors"),
        ({"pooler.norm.weight": torch.zeros(3)}, {}, "holds the tensor 'pooler.norm.weight', which its config.json"),
        (without("layers.1.ffn.B.ffn_layernorm.weight"), {}, r"layers\.1\.ffn\.B\.ffn_layernorm\.weight"),
        ({}, {"architecture": None}, "no architecture, which does not say how many heads"),
        ({}, {"architecture": "beit3_base_patch16_224"}, "'beit3_base_patch16_224', which does not say how many heads"),
        ({}, {"model_args": {"img_size": SIDE}}, "whose width is 768, and the image half has 32"),
        ({}, {"model_args": {"num_heads": HEADS}}, "images of 384 pixels a side .* positions for 16 patches of 4"),
        ({}, {"model_args": {"num_heads": 5, "img_size": SIDE}}, "hidden size of 32 for 5 heads"),
        ({}, {"model_args": {"depth": 2}}, "model_args 'depth', which is not read"),
        ({}, {"model_args": {"num_heads": True}}, "'num_heads' as a whole number"),
        ({}, {"model_args": [4]}, "'model_args' as a mapping"),
        (dict.fromkeys(tensors()) | {"x": torch.zeros(1)}, {}, "whose layers are tensors such as 'beit3.encoder"),
    ],
)
def test_what_is_not_computed_is_refused(changes, config, said, tmp_path):
    with pytest.raises(CheckpointError, match=said):
        pretrained_supernet(saved(tmp_path, changes, **config))


def test_timms_names_stay_timms(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "beit3_base_patch16_224", "num_classes": 7}))
    save_file({"blocks.0.norm1.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert family_of(read_checkpoint(tmp_path).config) == "vit"
