"""Exports of networks of an image and a text in one sequence: one file with both inputs, whole and quantized."""

import numpy as np
import pytest
import torch

from export.bundle import write_bundle
from export.contents import BundleContents
from export.formats.safetensors.format import network_source, packages, write_contents
from job.formats import Subject, possible, refusal
from quantization.calibration import with_stated_policy
from quantization.quantized_space import Quantization, QuantizedSpace
from supernet.network import extract
from supernet.weights import pretrained_supernet
from tests.export.random_networks import reloaded
from tests.supernet.beit3 import pairs
from tests.supernet.beit3_vqa import CLASSES, saved

FACTS = {"space": "multiway/checkpoint", "dtype": "float32", "preprocessing": {"mean": [0.0] * 3, "std": [1.0] * 3}}


@pytest.fixture(scope="module")
def supernet(tmp_path_factory):
    made, _ = pretrained_supernet(saved(tmp_path_factory.mktemp("beit3")))
    return made.eval()


@pytest.mark.filterwarnings("ignore")  # `reload` leaves the file of facts to the process that ends
def test_plain_torch_loads_it_with_its_masks(supernet, tmp_path, monkeypatch):
    space, given = supernet.space, pairs()
    network = extract(supernet, space.smallest()).eval()
    write_contents(BundleContents(network, space.layers(space.smallest()), FACTS, "# A\n"), given, tmp_path)
    blocks = [type(block) for block in network.children()]
    assert packages(blocks) == ["torch", "safetensors"]
    assert "class MultiwayLayer" in network_source(blocks)
    found = reloaded("safetensors", tmp_path, monkeypatch)(*(tensor.numpy() for tensor in given.values()))
    with torch.no_grad():
        np.testing.assert_array_equal(found, network(*given.values()).numpy())


@pytest.mark.thorough
def test_a_quantized_network_comes_back(supernet, tmp_path):
    import onnx

    given = pairs(16)
    space = QuantizedSpace(supernet.space, Quantization((8, 32)))
    layers = space.layers(space.quantized(supernet.space.largest(), 8))
    network = with_stated_policy(extract(supernet, supernet.space.largest()).eval(), layers, given)
    contents = BundleContents(network, layers, FACTS, "# Answers\n", formats=("onnx", "winnow"))
    bundle = write_bundle(contents, given, torch.arange(16) % CLASSES, tmp_path / "export")
    assert {found["metric"] for found in bundle.report["formats"].values()} == {"accuracy"}
    graph = onnx.load(bundle.folder / "onnx" / "model.onnx").graph
    assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in graph.initializer)
    assert sorted(path.name for path in (bundle.folder / "onnx").glob("*.onnx")) == ["model.onnx"]


def test_formats_that_cannot_hold_it_say_so(supernet):
    subject = Subject(supernet.space.name, supernet.space.layers(supernet.space.largest()))
    assert {"executorch", "onnx", "openvino", "safetensors", "torch_export", "torchao", "winnow"} <= set(
        possible(subject)
    )
    assert refusal("huggingface", subject) == "transformers has no class of such networks"
    assert "an image and a text are not converted; take onnx" in str(refusal("litert", subject))
    for language in ("gguf", "block_configs"):
        assert refusal(language, subject) is not None
