"""Exports of networks of two towers: the pair and each tower, in every format that holds them."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
import transformers

from export.bundle import BundleContents, write_bundle
from job.formats import Subject, possible, refusal
from quantization.calibration import with_stated_policy
from quantization.quantized_space import Quantization, QuantizedSpace
from supernet.network import extract
from supernet.weights import pretrained_supernet
from tests.supernet import beit3
from tests.supernet.towers import KINDS, logits_of, pairs, saved
from tests.tiers import mostly_thorough

# Types that transformers has a class for, and all.
THEIRS = [kind for kind in KINDS if kind != "clip_old"]
EVERY = [*THEIRS, "beit3"]

FACTS = {"space": "two_tower/checkpoint", "dtype": "float32", "preprocessing": {"mean": [0.0] * 3, "std": [1.0] * 3}}


def narrow(space):
    """Layers that differ in width, and fewer of them."""
    values = space.largest().values | {"image_layer1_heads": 2, "image_layer2_ffn": 24, "text_layer1_heads": 2}
    values |= {"image_depth": 2}
    return space.architecture(**values)


@pytest.fixture(scope="module", params=mostly_thorough(EVERY, "clip", "beit3"))
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    towers = beit3 if request.param == "beit3" else None
    supernet, _ = pretrained_supernet(towers.saved(folder / "ck") if towers else saved(request.param, folder / "ck"))
    given = towers.pairs() if towers else pairs()
    space = supernet.space
    architecture = narrow(space)
    network, layers = extract(supernet, architecture).eval(), space.layers(architecture)
    formats = ("onnx", "winnow") if towers else ("huggingface", "onnx", "winnow")
    contents = BundleContents(network, layers, FACTS, "# Pair\n", formats=formats)
    labels = torch.arange(5)[:, None].repeat(1, 2)
    return network, write_bundle(contents, given, labels, folder / "export"), given, formats


@pytest.mark.thorough
def test_the_pair_and_each_tower_are_verified(made):
    _, bundle, _, formats = made
    found = bundle.report["formats"]
    with_towers = {f"{name} towers" for name in formats if name != "winnow"}
    assert {*formats, *with_towers} <= set(found)
    for name, entry in found.items():
        assert entry["metric"] == "recall_at_1", name
        assert entry["recall_at_1"] == found["winnow"]["recall_at_1"] or name == "onnx fp16"
        assert entry["max_abs_difference"] <= (entry["tolerance"] or 0) * 40, name
    assert found["winnow"]["max_abs_difference"] == 0
    assert bundle.report["inputs"] == ["pixel_values", "input_ids"]


@pytest.mark.thorough
@pytest.mark.parametrize("made", mostly_thorough(THEIRS, "clip"), indirect=True)
def test_transformers_classes_open_the_towers(made):
    network, bundle, given, _ = made
    home = bundle.folder / "huggingface"
    pair = transformers.AutoModel.from_pretrained(home)
    with torch.no_grad():
        expected, found = logits_of(network(*given.values())), pair(**given).logits_per_image
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    config = json.loads((home / "vision_model" / "config.json").read_text())
    tower = getattr(transformers, config["architectures"][0]).from_pretrained(home / "vision_model")
    with torch.no_grad():
        answer = tower(pixel_values=given["pixel_values"])
    vector = answer.image_embeds if hasattr(answer, "image_embeds") else answer.pooler_output
    vector = torch.nn.functional.normalize(vector, dim=-1) * pair.logit_scale.exp()
    torch.testing.assert_close(vector, network(*given.values())[:, 0, :-1].detach(), atol=1e-4, rtol=1e-4)
    processor = json.loads((home / "preprocessor_config.json").read_text())
    assert processor["size"] == {"height": 16, "width": 16}


@pytest.mark.thorough
def test_onnx_towers_give_unit_vectors_of_any_batch(made):
    network, bundle, given, _ = made
    given = {name: x[:3] for name, x in given.items()}
    files = [bundle.folder / "onnx" / f"{name}.onnx" for name in ("vision_model", "text_model")]
    sessions = [onnxruntime.InferenceSession(file) for file in files]
    assert [[one.name for one in s.get_outputs()] for s in sessions] == [["image_embeds"], ["text_embeds"]]
    image, text = (s.run(None, {name: x.numpy()})[0] for s, (name, x) in zip(sessions, given.items(), strict=True))
    np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1, rtol=1e-5)
    facts = sessions[0].get_modelmeta().custom_metadata_map
    logits = float(facts["logit_scale"]) * image @ text.T + float(facts["logit_bias"])
    with torch.no_grad():
        np.testing.assert_allclose(logits, logits_of(network(*given.values())), atol=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("towers", [None, beit3], ids=["siglip", "beit3"])
def test_a_quantized_pair_has_quantized_towers(towers, tmp_path):
    supernet, _ = pretrained_supernet(towers.saved(tmp_path / "ck") if towers else saved("siglip", tmp_path / "ck"))
    given = towers.pairs(16) if towers else pairs(16)
    space = QuantizedSpace(supernet.space, Quantization((8, 32)))
    chosen = space.quantized(supernet.space.largest(), 8)
    layers = space.layers(chosen)
    network = with_stated_policy(extract(supernet, supernet.space.largest()).eval(), layers, given)
    contents = BundleContents(network, layers, FACTS, "# Pair\n", formats=("onnx", "winnow"))
    bundle = write_bundle(contents, given, torch.arange(16)[:, None].repeat(1, 2), tmp_path / "export")
    for name in ("model", "vision_model", "text_model"):
        import onnx

        graph = onnx.load(bundle.folder / "onnx" / f"{name}.onnx").graph
        assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in graph.initializer), name


def test_formats_that_cannot_hold_two_towers_say_so(tmp_path):
    supernet, _ = pretrained_supernet(saved("clip", tmp_path / "ck"))
    subject = Subject(supernet.space.name, supernet.space.layers(supernet.space.largest()))
    assert {"huggingface", "onnx", "winnow", "safetensors"} <= set(possible(subject))
    assert "two towers are not lowered" in str(refusal("executorch", subject))
    assert refusal("gguf", subject) is not None
    assert refusal("block_configs", subject) is not None
