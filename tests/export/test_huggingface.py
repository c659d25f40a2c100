"""The format `huggingface`: what transformers loads computes what the network computes, whatever its layers."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForCausalLM

from export.formats.huggingface import format as huggingface
from export.generation import continuation
from job.formats import FormatRefused, possible, wanted
from search_space.adjustments import Adjustments
from search_space.checkpoint import read_checkpoint
from search_space.plugins import family_of, load_family
from supernet.network import Supernet
from supernet.weights import pretrained_supernet
from tests.export.random_networks import (
    answers,
    checkpoint_of,
    random_contents,
    reloaded,
    samples_of,
    space_of,
    subject_of,
)
from tests.supernet.checkpoints import CHECKPOINTS
from tests.tiers import mostly_thorough

PRESETS = ("llama/tiny", "bert/tiny", "vit/cifar", "resnet/resnet50")
NETWORKS = [*CHECKPOINTS, *PRESETS]


@pytest.mark.parametrize("name", mostly_thorough(NETWORKS, "llama", "qwen2", "bert", "vit", PRESETS[-1]))
def test_a_random_network_comes_back(name: str, tmp_path, monkeypatch) -> None:
    space = space_of(name)
    contents, inputs = random_contents(space, seed=len(name)), samples_of(space)
    told = huggingface.write_contents(contents, inputs, tmp_path)
    assert told["bytes"] > told["padding_bytes"] >= 0
    assert ("measured" in told) == (told["padding_bytes"] > 0)
    got, right = reloaded("huggingface", tmp_path, monkeypatch)(inputs.numpy()), answers(contents.network, inputs)
    assert np.abs(got - right).max() <= 1e-5 * max(1, np.abs(right).max())


@pytest.mark.parametrize("name", mostly_thorough(["llama", "mistral-window", "qwen2-window", "qwen3"], "qwen2-window"))
def test_it_generates_the_same_tokens_with_a_cache(name: str, tmp_path, monkeypatch) -> None:
    space = space_of(name)
    contents, inputs = random_contents(space, seed=3), samples_of(space)
    huggingface.write_contents(contents, inputs, tmp_path)
    right = continuation(contents.network, inputs)
    assert right is not None
    found = reloaded("huggingface", tmp_path, monkeypatch).generate(right.prompts, right.count)
    assert right.compared(found, 1e-5)["parted_at"] is None


AGAIN = ["llama-biases", "qwen3", "bert", "vit", "resnet/resnet50", "resnet", "resnet-basic"]


@pytest.mark.parametrize("name", mostly_thorough(AGAIN, "llama-biases", "resnet-basic"))
def test_winnow_starts_from_it_again(name: str, tmp_path) -> None:
    space = space_of(name)
    inputs = samples_of(space)
    contents = random_contents(space, seed=5, checkpoint=checkpoint_of(name))
    huggingface.write_contents(contents, inputs, tmp_path)
    supernet, loaded = pretrained_supernet(tmp_path)
    assert loaded.fresh == ()
    assert all(name.endswith("num_batches_tracked") for name in loaded.dropped)
    with torch.no_grad():
        again = supernet.eval()(inputs, supernet.space.largest()).numpy()
    assert np.abs(again - answers(contents.network, inputs)).max() <= 1e-5
    assert isinstance(supernet, Supernet)
    assert family_of(read_checkpoint(tmp_path).config) == space.name.split("/")[0]


def test_layers_that_are_alike_are_not_padded(tmp_path) -> None:
    space = space_of("llama")
    contents = random_contents(space)
    largest = space.largest()
    whole = random_contents(load_family("llama", "tiny", Adjustments({"layer*_ffn": (88,), "layer*_kv_heads": (2,)})))
    told = huggingface.write_contents(whole, samples_of(space), tmp_path)
    assert (told["padding_bytes"], "measured" in told) == (0, False)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]) == (4, 2, 16)
    assert contents.layers.keys() <= space.layers(largest).keys()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_keep_their_type(dtype: torch.dtype, tmp_path) -> None:
    space = space_of("llama")
    contents = random_contents(space, dtype=dtype)
    huggingface.write_contents(contents, samples_of(space), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_names_of_classes_and_the_image_processor_go_along(tmp_path) -> None:
    space = space_of("vit")
    labels = [f"animal {number}" for number in range(7)]
    said = {"labels": labels, "mean": [100.0, 110.0, 120.0], "std": [50.0, 55.0, 60.0], "full_scale": 255.0}
    huggingface.write_contents(random_contents(space, preprocessing=said), samples_of(space), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"]["3"] == "animal 3"
    assert config["label2id"]["animal 6"] == 6
    processor = AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    (given,) = processor(picture, return_tensors="np")["pixel_values"]
    right = (picture.transpose(2, 0, 1) - np.array(said["mean"])[:, None, None]) / np.array(said["std"])[:, None, None]
    assert np.abs(given - right).max() < 1e-5


def test_large_weights_are_cut_into_files(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(huggingface, "SHARD_BYTES", 100_000)
    space = space_of("llama")
    contents, inputs = random_contents(space), samples_of(space)
    huggingface.write_contents(contents, inputs, tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    got = reloaded("huggingface", tmp_path, monkeypatch)(inputs.numpy())
    assert np.abs(got - answers(contents.network, inputs)).max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mobilenet/digits", "transformers has no class of such networks"),
        ("resnet/cifar", "begins with a 7x7 convolution"),
        ("vit/autoformer_tiny", "relative positions"),
    ],
)
def test_what_transformers_has_no_class_for_is_refused_with_what_there_is(name: str, says: str) -> None:
    family, preset = name.split("/")
    space = load_family(family, preset)
    contents = random_contents(load_family(family, preset)) if "autoformer" not in name else None
    from job.formats import Subject

    subject = Subject(space.name, space.layers(space.smallest())) if contents is None else subject_of(contents)
    with pytest.raises(FormatRefused, match=says) as raised:
        wanted(["onnx", "huggingface"], subject)
    assert str(raised.value).endswith(f"It can have: {', '.join(possible(subject))}.")
    assert "onnx" in possible(subject)
