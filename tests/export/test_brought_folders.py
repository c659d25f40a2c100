"""Folders of the model types that people bring: cut, written, loaded by transformers and by Winnow again."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.contents import BundleContents
from export.formats.huggingface import format as huggingface
from job.formats import Subject, refusal
from quantization.quantizable import fold
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.checkpoint import IMAGE_SIDE, read_checkpoint
from search_space.plugins import FAMILIES, load_family
from search_space.sentences import POOLING
from search_space.space import SearchSpace
from supernet.inputs import named
from supernet.network import extract
from supernet.weights import pretrained_supernet
from tests.export.random_networks import answers, checkpoint_of, random_contents, reloaded
from tests.supernet.brought import BROUGHT
from tests.supernet.checkpoints import CHECKPOINTS, inputs
from tests.supernet.published_cnns import written
from tests.tiers import mostly_thorough

NAMES = list(BROUGHT)
# One checkpoint of each type on every run; the others prove the same code again.
FIRST = {
    next(name for name in NAMES if BROUGHT[name][2].model_type == kind)
    for kind in dict.fromkeys(config.model_type for _, _, config in BROUGHT.values())
}
# Cut and padded in their own ways: grouped heads, fused weights, experts, encoders, images, convolutions.
SOME = ("gemma2", "gpt2", "mixtral", "modernbert", "beit", "convnext", "efficientnet")


def config_of(name: str) -> dict:
    _, kind, config = BROUGHT[name]
    return {**json.loads(config.to_json_string()), "architectures": [kind.__name__]}


def space_of(name: str, **changes) -> SearchSpace:
    return load_family(BROUGHT[name][0], None, Adjustments(changes) if changes else None, config_of(name))


def samples_of(name: str, space: SearchSpace) -> torch.Tensor:
    return inputs(BROUGHT[name][0], getattr(space.takes, "size", 32))


def contents_of(name: str, seed: int = 3, space: SearchSpace | None = None, **values) -> BundleContents:
    """A random network of a checkpoint's space: its largest but for these values."""
    space = space or space_of(name)
    architecture = space.architecture(**{**space.largest().values, **values})
    return random_contents(space, seed, architecture=architecture, checkpoint=config_of(name))


def refused(contents: BundleContents) -> str | None:
    facts = {"checkpoint": contents.facts["checkpoint"]}
    return refusal("huggingface", Subject(contents.facts["space"], contents.layers, facts=facts))


def check(contents: BundleContents, x: torch.Tensor, folder: Path, monkeypatch) -> dict:
    """transformers and Winnow answer as the network does; what the writer told."""
    assert refused(contents) is None
    told = huggingface.write_contents(contents, x, folder)
    right = answers(contents.network, x)
    allowed = 1e-5 * max(1, np.abs(right).max())
    assert np.abs(reloaded("huggingface", folder, monkeypatch)(x.numpy()) - right).max() <= allowed
    supernet, loaded = pretrained_supernet(folder)
    assert loaded.fresh == ()
    with torch.no_grad():
        again = supernet.eval()(x, supernet.space.largest()).numpy()
    assert np.abs(again - right).max() <= allowed
    return told


@pytest.mark.parametrize("name", mostly_thorough(NAMES, *FIRST))
def test_the_whole_network_comes_back_number_for_number(name: str, tmp_path: Path, monkeypatch) -> None:
    contents = contents_of(name)
    told = check(contents, samples_of(name, space_of(name)), tmp_path, monkeypatch)
    assert told["padding_bytes"] == 0


def sampled(name: str) -> tuple[SearchSpace, Architecture]:
    """A random network that transformers has: of those whose layers must be alike in something, layers that are."""
    space, rng = space_of(name), np.random.default_rng(len(name))
    whole = {key: value for key, value in space.largest().values.items() if name == "convnextv2" and "hidden" in key}
    for _ in range(200):
        values = space.sample(rng).values
        architecture = space.architecture(**{**values, **{key: whole[key] for key in values if key in whole}})
        facts = {"checkpoint": config_of(name)}
        if refusal("huggingface", Subject(space.name, space.layers(architecture), facts=facts)) is None:
            return space, architecture
    raise AssertionError("none of 200 networks can be written")


@pytest.mark.parametrize("name", mostly_thorough(NAMES, *SOME))
def test_a_part_of_it_comes_back_with_zeros(name: str, tmp_path: Path, monkeypatch) -> None:
    space, architecture = sampled(name)
    contents = random_contents(space, 3, architecture=architecture, checkpoint=config_of(name))
    check(contents, samples_of(name, space), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gemma", {"layer*_kv_heads": 2, "layer*_ffn": 24}),
        ("olmo2", {"layer*_kv_heads": 2}),
        ("mixtral", {"layer*_experts": 2, "layer*_top_k": 1, "layer*_ffn": 24}),
        ("qwen3_moe-mixed", {"layer*_kv_heads": 2, "layer2_ffn": 24}),
        ("gemma2", {"layer2_keep": 0}),
        ("smollm3-window", {"layer2_keep": 0}),
        ("modernbert", {"depth": 2}),
        ("gpt_neox", {"layer*_ffn": 24}),
        ("roberta", {"layer*_ffn": 24}),
        ("convnext", {"stage1_depth": 1, "stage2_depth": 2}),
        ("efficientnet-odd", {"stage2_depth": 2}),
    ],
)
def test_layers_that_are_alike_need_no_zeros(name: str, values: dict, tmp_path: Path, monkeypatch) -> None:
    """Narrower everywhere, or with layers left out: the folder says so, and keeps what each layer is."""
    wanted = {key: (value,) for key, value in values.items()}
    if name == "mixtral":
        wanted["layer*_experts"] = (2,)
    space = space_of(name, **wanted)
    contents = random_contents(space, 3, architecture=space.largest(), checkpoint=config_of(name))
    assert check(contents, samples_of(name, space), tmp_path, monkeypatch)["padding_bytes"] == 0


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("olmo2", {"layer1_kv_heads": 2}, "layer 1 of those kept has heads 4 where transformers' model would have 6"),
        ("mixtral", {"layer2_experts": 2}, "layer 2 of those kept has experts 2 where .* would have 4, and a norm"),
        ("qwen3_moe", {"layer3_top_k": 1}, "layer 3 of those kept has top_k 1 where .* would have 2"),
        ("convnextv2", {"stage1_block1_hidden": 24}, "stage1_block1 has hidden 24 where .* would have 48"),
        ("gpt2-odd", {"layer2_keep": 0}, "layer 2 of those kept has scale 0.1.*, and .* would have 0.1"),
    ],
)
def test_what_zeros_would_change_is_refused_with_the_reason(name: str, values: dict, says: str) -> None:
    reason = refused(contents_of(name, **values))
    assert reason is not None
    assert re.search(says, reason)


def test_without_its_checkpoint_such_a_network_is_refused() -> None:
    space = space_of("phi3")
    reason = refusal("huggingface", Subject(space.name, space.layers(space.largest())))
    assert reason is not None
    assert "transformers describes such layers" in reason


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("roberta-model", "RobertaForSequenceClassification"),
        ("distilbert-model", "DistilBertForSequenceClassification"),
        ("modernbert-model", "ModernBertForSequenceClassification"),
        ("dinov2-model", "Dinov2ForImageClassification"),
        ("beit-model", "BeitForImageClassification"),
        ("convnext-model", "ConvNextForImageClassification"),
        ("deit-teacher", "DeiTForImageClassificationWithTeacher"),
    ],
)
def test_new_classes_go_along(name: str, architecture: str, tmp_path: Path, monkeypatch) -> None:
    space = load_family(BROUGHT[name][0], None, Adjustments(classes=4), config_of(name))
    labels = ["ant", "bee", "cat", "dog"]
    contents = random_contents(
        space, 3, architecture=space.smallest(), checkpoint=config_of(name), preprocessing={"labels": labels}
    )
    check(contents, samples_of(name, space), tmp_path, monkeypatch)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["architectures"] == [architecture]
    assert list(written["id2label"].values()) == labels


@pytest.mark.parametrize("name", ["mobilenet_v2-odd", "efficientnet"])
def test_norms_that_were_folded_away_are_written_as_norms(name: str, tmp_path: Path, monkeypatch) -> None:
    contents = contents_of(name)
    x = samples_of(name, space_of(name))
    folded = fold(contents.network, contents.layers, named(x)).network
    check(replace(contents, network=folded), x, tmp_path, monkeypatch)


def test_positions_are_written_for_the_images_they_were_resized_to(tmp_path: Path, monkeypatch) -> None:
    config = {**config_of("dinov2"), IMAGE_SIDE: 24}
    space = load_family("vit", None, None, config)
    contents = random_contents(space, 3, architecture=space.largest(), checkpoint=config)
    check(contents, inputs("vit", 24), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("name", "mode", "unit"),
    [
        ("bert-model", "mean", True),
        ("roberta-model", "first", False),
        ("distilbert-model", "max", True),
        ("modernbert-model", "last", True),
    ],
)
def test_an_encoder_of_sentences_takes_its_pooling_along(
    name: str, mode: str, unit: bool, tmp_path, monkeypatch
) -> None:
    config = {**checkpoint_of(name), POOLING: {"mode": mode, "unit": unit}}
    space = load_family("bert", None, None, config)
    contents = random_contents(space, 3, architecture=space.smallest(), checkpoint=config)
    x = samples_of(name if name in BROUGHT else "roberta", space)
    check(contents, x, tmp_path, monkeypatch)
    assert read_checkpoint(tmp_path).config[POOLING] == {"mode": mode, "unit": unit}
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[0, 5:] = False
    with torch.no_grad():
        right = contents.network(x, mask).numpy()
    got = reloaded("huggingface", tmp_path, monkeypatch)(x.numpy(), mask.numpy())
    assert np.abs(got - right).max() <= 1e-5
    classified = load_family("bert", None, Adjustments(classes=3), config)
    layers = classified.layers(classified.smallest())
    assert "without classes" in str(refusal("huggingface", Subject(space.name, layers, facts={"checkpoint": config})))


def test_every_type_that_is_loaded_has_a_folder_here() -> None:
    own = {config.model_type for _, _, config in CHECKPOINTS.values()}
    known = {kind for family in FAMILIES.names() for kind in getattr(FAMILIES.load(family), "MODEL_TYPES", ())}
    own |= {config.model_type for _, _, config in BROUGHT.values()}
    # Towers have tests of their own, and transformers has no class of BEiT-3, nor of several networks in one.
    assert known == own | {"clip", "siglip", "beit3", "beit3_retrieval", "beit3_vqa", "mobilenet", "stitched"}


@pytest.mark.thorough
@pytest.mark.parametrize("whole", [True, False])
def test_a_resnet_of_torchvision_becomes_one_of_transformers(whole: bool, tmp_path: Path, monkeypatch) -> None:
    model = written("torchvision", "resnet18", tmp_path / "theirs")
    supernet, _ = pretrained_supernet(tmp_path / "theirs")
    space, config = supernet.eval().space, read_checkpoint(tmp_path / "theirs").config
    changes = {} if whole else {"stage2_depth": 1, "stage3_block1_hidden": 128}
    architecture = space.architecture(**{**space.largest().values, **changes})
    contents = random_contents(space, 0, architecture=architecture, checkpoint=config)
    contents = replace(contents, network=extract(supernet, architecture).eval())
    x = torch.randn(2, 3, 64, 64)
    check(contents, x, tmp_path / "ours", monkeypatch)
    if whole:
        with torch.no_grad():
            right = model(x).numpy()
        assert np.abs(reloaded("huggingface", tmp_path / "ours", monkeypatch)(x.numpy()) - right).max() <= 1e-5
    stored = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert (stored["model_type"], "architecture" in stored) == ("resnet", False)
