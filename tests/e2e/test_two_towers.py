"""A network of two towers as a user asks for it: trained, searched with bits, quantized and exported."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.client import Client, ClientError
from supernet.data.sources.pairs import example
from tests.e2e.helpers import is_finished, wait_for

pytestmark = pytest.mark.e2e

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def checkpoint(folder: Path) -> Path:
    """A SigLIP that was never trained, whose texts are bytes."""
    from transformers import SiglipConfig, SiglipModel

    image = {**SIZES, "image_size": 16, "patch_size": 4}
    SiglipModel(
        SiglipConfig(vision_config=image, text_config={**SIZES, "vocab_size": 256, "max_position_embeddings": 32})
    ).save_pretrained(folder)
    return folder


def job(folder: Path, **parts: Any) -> dict[str, Any]:
    (folder / "data").mkdir(exist_ok=True)
    return {
        "recipe": "simq_nas",
        "supernet": {"family": "two_tower", "pretrained": str(checkpoint(folder / "ck")), "importance": "activation"},
        "data": {"source": "pairs", **example.write(folder / "data")},
        "training": {"epochs": 2, "batch_size": 8, "options": {"num_random": 1, "label_smoothing": 0.0}},
        "objectives": [{"metric": "recall_at_1"}, {"metric": "size_bytes"}],
        "quantization": {"bits": [8, 32], "tie": "block", "calibration_examples": 16, "baseline_evaluations": 2},
        "search": {"algorithm": "random", "evaluations": 6, "options": {"batch": 3}},
        "hardware": {"seconds": 0.02, "max_layers": 0, "networks": 10},
        **parts,
    }


@pytest.mark.thorough
def test_towers_are_trained_searched_with_bits_and_exported(client: Client, tmp_path: Path) -> None:
    made = client.submit(job(tmp_path))
    finished = wait_for(client, made["id"], is_finished)
    assert finished["state"] == "succeeded", finished["message"]
    front = client.front(made["id"])
    full, quantized, _ = front["baselines"]
    assert quantized["metrics"]["size_bytes"] < full["metrics"]["size_bytes"]
    assert {"test_recall_at_1", "test_text_recall_at_5", "test_image_recall_at_10"} <= set(full["metrics"])
    chosen = next(point for point in front["points"] if 8 in point["values"].values())
    export = client.export(made["id"], chosen["architecture_id"])
    assert {"safetensors", "onnx"} <= set(export["report"]["formats"])
    for found in export["report"]["formats"].values():
        assert found["metric"] == "recall_at_1"
        assert found["against_front"]["kept"]
    with tarfile.open(client.download(export, tmp_path)) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (model,) = (tmp_path / "unpacked").rglob("model.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model))
    assert [one.name for one in session.get_inputs()] == ["pixel_values", "input_ids"]
    given = {"pixel_values": np.zeros((3, 3, 16, 16), np.float32), "input_ids": np.ones((3, 32), np.int64)}
    assert session.run(None, given)[0].shape == (3, 2, 17)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"objectives": [{"metric": "accuracy"}, {"metric": "params"}]}, "no accuracy; ask for recall_at_1"),
        ({"data": {"source": "digits"}, "objectives": [{"metric": "accuracy"}, {"metric": "macs"}]}, "other kind"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(client: Client, tmp_path: Path, parts: dict[str, Any], says: str) -> None:
    with pytest.raises(ClientError, match=says):
        client.submit(job(tmp_path, **parts))
