"""ResNets and mobile networks from weights as torchvision and timm name them: the same numbers, whole and cut."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from export.formats.huggingface import options as huggingface
from job.formats import Subject
from predictors import cost
from search_space.adjustments import Adjustments
from search_space.checkpoint import CheckpointError, read_checkpoint
from search_space.companions import image_preprocessing
from search_space.plugins import family_of, load_family
from supernet.importance import order_by_importance
from supernet.network import extract
from supernet.weights import pretrained_supernet
from tests.supernet.published_cnns import CLASSES, WRITTEN, written
from tests.tiers import mostly_thorough

SOME = (("torchvision", "resnet18"), ("torchvision", "mobilenet_v3_small"), ("timm", "mobilenetv3_small_100"))
# Unique parameters with 1000 classes, as torchvision's and timm's tables have them.
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b7": 66_347_960,
    "mobilenetv3_large_100": 5_483_032,
    "mnasnet_100": 4_383_312,
}


def answers(network, x, *more):
    with torch.no_grad():
        return network(x, *more)


@pytest.mark.parametrize(("whose", "architecture"), mostly_thorough(list(WRITTEN), *SOME))
def test_the_largest_network_is_theirs(whose, architecture, tmp_path):
    model = written(whose, architecture, tmp_path)
    supernet, loaded = pretrained_supernet(tmp_path)
    space, x = supernet.eval().space, torch.randn(2, 3, 64, 64)
    assert (loaded.fresh, space.name.split("/")[0]) == ((), "resnet" if "resnet" in architecture else "mobilenet")
    assert all(name.endswith("num_batches_tracked") for name in loaded.dropped)
    expected = answers(model, x)
    assert expected.std() > 0.05, "the random network says nothing"
    before = answers(supernet, x, space.largest())
    assert (before - expected).abs().max() <= 1e-5
    assert cost.params(space, space.largest()) == sum(p.numel() for p in model.parameters())
    order = order_by_importance(supernet, [x])
    assert any(each != sorted(each) for each in order.values())
    assert (answers(supernet, x, space.largest()) - expected).abs().max() <= 1e-5
    for architecture in (space.smallest(), space.sample(np.random.default_rng(0))):
        network = extract(supernet, architecture)
        assert torch.equal(answers(network, x), answers(supernet, x, architecture))
        assert cost.params(space, architecture) == sum(p.numel() for p in network.parameters())


def test_fewer_mixed_outputs_are_those_that_the_classifier_reads(tmp_path):
    model = written("torchvision", "mobilenet_v3_small", tmp_path)
    supernet, _ = pretrained_supernet(tmp_path)
    space, x = supernet.eval().space, torch.randn(2, 3, 64, 64)
    options = next(choice.options for choice in space.choices if choice.name == "head_hidden")
    assert options == (512, 768, 1024)
    with torch.no_grad():
        model.classifier[3].weight[:, 512:] = 0
    narrow = space.architecture(**{**space.largest().values, "head_hidden": 512})
    assert (answers(supernet, x, narrow) - answers(model, x)).abs().max() <= 1e-5


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_are_counted_to_the_unit(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    config = read_checkpoint(tmp_path).config
    space = load_family(family_of(config), None, None, config)
    assert cost.params(space, space.largest()) == PUBLISHED[name]
    macs = {"resnet50": 4_089_184_256, "mobilenet_v2": 300_774_272}
    if name in macs:
        assert cost.macs(space, space.largest()) == macs[name]


def test_images_and_classes_are_those_of_the_folder(tmp_path):
    written("timm", "mobilenetv3_small_100", tmp_path)
    config = read_checkpoint(tmp_path).config
    space = load_family(family_of(config), None, None, config)
    assert (space.takes.size, space.takes.channels, space.takes.classes) == (64, 3, CLASSES)
    found = image_preprocessing(tmp_path, 64, 3)
    assert (found.mean, found.std, found.edge, found.crop) == ((0.5,) * 3, (0.25,) * 3, 128, 64)
    other = load_family("mobilenet", None, Adjustments(classes=3), config)
    assert other.takes.classes == 3
    supernet, loaded = pretrained_supernet(tmp_path, None, Adjustments(classes=3))
    assert loaded.fresh == ("classifier.bias", "classifier.weight")
    assert answers(supernet.eval(), torch.randn(1, 3, 64, 64), supernet.space.largest()).shape == (1, 3)


def test_a_resnet_goes_to_transformers_and_a_mobilenet_v3_does_not(tmp_path):
    for folder, name, said in (("a", "resnet18", None), ("b", "mobilenet_v3_small", "no class of mobilenet_v3_small")):
        written("torchvision", name, tmp_path / folder)
        config = read_checkpoint(tmp_path / folder).config
        space = load_family(family_of(config), None, None, config)
        subject = Subject(space.name, space.layers(space.smallest()), facts={"checkpoint": config})
        refusal = huggingface.refusal(subject)
        assert refusal is None if said is None else said in str(refusal)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "resnext50_32x4d"}, "architecture 'resnext50_32x4d'; supported of timm's .* are resnet18,"),
        ({"global_pool": "max"}, "global_pool 'max'; mobilenetv3_small_100 averages its pixels"),
        ({"model_args": {"act_layer": "relu"}}, "model_args 'act_layer', which is not read; in_chans"),
        ({"pretrained_cfg": {"input_size": [3, 64, 32]}}, r"input_size as channels and a square; got \[3, 64, 32\]"),
        ({"num_classes": 3}, r"'classifier.bias' of .* has shape \(7,\); its config.json asks for \(3,\)"),
        ({"num_classes": "many"}, "'num_labels' as a whole number of at least 1; got 'many'"),
        ({"architecture": "mobilenetv3_large_100"}, r"lacks \d+ tensors \('blocks"),
    ],
)
def test_what_is_not_computed_is_refused(changes, said, tmp_path):
    written("timm", "mobilenetv3_small_100", tmp_path, **changes)
    with pytest.raises(CheckpointError, match=said):
        pretrained_supernet(tmp_path)


def test_weights_without_a_configuration_say_which_one_they_need(tmp_path):
    written("torchvision", "resnet18", tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r'of timm or torchvision write \{"architecture": "resnet50"\}'):
        read_checkpoint(tmp_path)


def test_a_tensor_that_lacks_is_named(tmp_path):
    written("torchvision", "resnet18", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["layer2.0.downsample.1.running_var"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks the tensor 'layer2\.0\.downsample\.1\.running_var'"):
        pretrained_supernet(tmp_path)


def test_a_family_refuses_the_checkpoints_of_another(tmp_path):
    written("torchvision", "resnet18", tmp_path)
    config = read_checkpoint(tmp_path).config
    with pytest.raises(CheckpointError, match="is 'resnet'; family 'mobilenet' supports mobilenet_v2, efficientnet"):
        load_family("mobilenet", None, None, config)


def test_jobs_of_before_find_mobile_networks_where_they_were():
    config = {"model_type": "mobilenet_v2", "architectures": ["MobileNetV2ForImageClassification"], "num_labels": 7}
    old, new = (load_family(family, None, None, config) for family in ("convnext", "mobilenet"))
    assert family_of(config) == "mobilenet"
    assert old.layers(old.largest()) == new.layers(new.largest())
    # Stored in databases.
    assert old.name == "convnext/checkpoint-72a97ff0"


WIDTHS = {
    # A stage that a shortcut ties to the stem has the stem's width.
    "resnet18": ["stem", "stage2", "stage3", "stage4"],
    "mobilenet_v3_small": ["stem", *(f"stage{stage}" for stage in range(1, 6)), "top"],
}


@pytest.mark.parametrize("name", WIDTHS)
def test_widths_of_stages_are_choices_where_a_job_asks(name, tmp_path):
    written("torchvision", name, tmp_path)
    plain, _ = pretrained_supernet(tmp_path)
    assert not [choice.name for choice in plain.space.choices if choice.name.endswith("_width")]
    asked = {f"{width}_width": [8] for width in WIDTHS[name]}
    supernet, _ = pretrained_supernet(tmp_path, None, Adjustments(asked))
    space, x = supernet.eval().space, torch.randn(2, 3, 64, 64)
    narrow = space.smallest()
    assert {n for n, _ in narrow.values.items() if n.endswith("_width")} == set(asked)
    expected = answers(plain.eval(), x, plain.space.largest())
    orders = order_by_importance(supernet, [x])
    assert len([key for key in orders if key.endswith(".out_channels")]) == len(WIDTHS[name])
    everything = extract(supernet, narrow)
    assert torch.equal(answers(everything, x), answers(supernet, x, narrow))
    assert cost.params(space, narrow) == sum(p.numel() for p in everything.parameters())
    # The weights are all there, in another order.
    for width in WIDTHS[name]:
        assert any(key.startswith(width) and order != sorted(order) for key, order in orders.items())
    untouched, _ = pretrained_supernet(tmp_path)
    for slot in supernet.slots:
        untouched.slot(slot).block.load_state_dict(supernet.slot(slot).block.state_dict())
    assert (answers(untouched.eval(), x, untouched.space.largest()) - expected).abs().max() <= 1e-5


def test_a_width_that_is_no_choice_is_refused_with_those_that_are(tmp_path):
    written("torchvision", "resnet18", tmp_path)
    for choices, said in (
        ({"stage1_width": [32]}, "no choice 'stage1_width'. Its choices: .* stem_width, stage2_width, stage3_width"),
        ({"stem_width": [65]}, "Option 65 of choice 'stem_width' .* must be a whole number from 1 to 64"),
    ):
        with pytest.raises(ValueError, match=said):
            pretrained_supernet(tmp_path, None, Adjustments(choices))
