"""An int8_dynamic file is scored at batch one, and its report says what batches do to it."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from export.bundle import BundleContents, write_bundle
from quantization.quantized_space import Quantization, QuantizedSpace
from search_space.plugins import load_family
from tests.quantization.networks import inputs_for, quantizable


@pytest.mark.thorough
def test_a_dynamic_file_is_scored_alone_and_in_company(tmp_path):
    asked = {"bits": (8, 32), "schemes": {8: "int8_dynamic"}}
    space = QuantizedSpace(load_family("bert", "tiny"), Quantization(**asked))
    architecture = space.quantized(space.base.smallest(), 8)
    network = quantizable(space, architecture).with_policy(space.policy(architecture))
    texts = inputs_for(space, 40, seed=2)
    with torch.no_grad():
        labels = torch.cat([network(text[None]).argmax(-1) for text in texts])
    subject = BundleContents(network, space.layers(architecture), {"format": "test"}, "# card\n")
    bundle = write_bundle(subject, texts, labels, tmp_path / "one")
    session = onnxruntime.InferenceSession(str(bundle.folder / "model.onnx"))
    mask = np.ones_like(texts.numpy(), dtype=bool)

    def answers(size: int) -> np.ndarray:
        parts = [slice(at, at + size) for at in range(0, 40, size)]
        return np.concatenate([session.run(None, {"input": texts.numpy()[p], "mask": mask[p]})[0] for p in parts])

    alone, together = answers(1), answers(32)
    report = bundle.report
    found = report["formats"]["onnx"]
    assert (report["batch"], found["in_batches"]["batch"]) == (1, 32)
    assert found["accuracy"] == (alone.argmax(-1) == labels.numpy()).mean()
    assert found["in_batches"]["accuracy"] == (together.argmax(-1) == labels.numpy()).mean()
    assert found["in_batches"]["max_abs_difference"] == float(np.abs(alone - together).max()) > 1e-4
    assert report["formats"]["safetensors"]["in_batches"]["max_abs_difference"] < 1e-4
    card = (bundle.folder / "README.md").read_text()
    assert "Scored at batch one" in card
    assert "in batches answers change" in card
    assert "onnx, in batches of 32" in card
