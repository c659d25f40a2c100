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
from tests.supernet import beit3

pytestmark = pytest.mark.e2e

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def checkpoint(kind: str, folder: Path) -> tuple[Path, int]:
    """A SigLIP that was never trained, whose texts are bytes, or a BEiT-3 with a tokenizer; and its texts' length."""
    from transformers import SiglipConfig, SiglipModel

    if kind == "beit3":
        return beit3.with_tokenizer(beit3.saved(folder)), beit3.LENGTH
    image = {**SIZES, "image_size": 16, "patch_size": 4}
    SiglipModel(
        SiglipConfig(vision_config=image, text_config={**SIZES, "vocab_size": 256, "max_position_embeddings": 32})
    ).save_pretrained(folder)
    return folder, 32


def job(folder: Path, kind: str = "siglip", **parts: Any) -> dict[str, Any]:
    (folder / "data").mkdir(exist_ok=True)
    pretrained, length = checkpoint(kind, folder / "ck")
    return {
        "recipe": "simq_nas",
        "supernet": {"family": "two_tower", "pretrained": str(pretrained), "importance": "activation"},
        "data": {"source": "pairs", **example.write(folder / "data"), "length": length},
        "training": {"epochs": 2, "batch_size": 8, "options": {"num_random": 1, "label_smoothing": 0.0}},
        "objectives": [{"metric": "recall_at_1"}, {"metric": "size_bytes"}],
        "quantization": {"bits": [8, 32], "tie": "block", "calibration_examples": 16, "baseline_evaluations": 2},
        "search": {"algorithm": "random", "evaluations": 6, "options": {"batch": 3}},
        "hardware": {"seconds": 0.02, "max_layers": 0, "networks": 10},
        **parts,
    }


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "length", "width"), [("siglip", 32, 17), ("beit3", beit3.LENGTH, beit3.EMBED + 1)])
def test_towers_are_trained_searched_with_bits_and_exported(
    kind: str, length: int, width: int, client: Client, tmp_path: Path
) -> None:
    made = client.submit(job(tmp_path, kind))
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
    given = {"pixel_values": np.zeros((3, 3, 16, 16), np.float32), "input_ids": np.ones((3, length), np.int64)}
    assert session.run(None, given)[0].shape == (3, 2, width)


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
