"""An image and a text in one sequence as a user asks for it: trained, searched, quantized, exported, and refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.client import Client, ClientError
from supernet.data.sources.labelled_pairs import example
from tests.e2e.helpers import is_finished, wait_for
from tests.supernet import beit3, beit3_vqa

pytestmark = pytest.mark.e2e


def job(folder: Path, **parts: Any) -> dict[str, Any]:
    (folder / "data").mkdir(exist_ok=True)
    pretrained = beit3.with_tokenizer(beit3_vqa.saved(folder / "ck"))
    return {
        "recipe": "simq_nas",
        "supernet": {"family": "multiway", "pretrained": str(pretrained), "importance": "activation"},
        "data": {"source": "labelled_pairs", **example.write(folder / "data"), "length": beit3.LENGTH},
        "training": {"epochs": 2, "batch_size": 8, "options": {"num_random": 1}},
        "objectives": [{"metric": "accuracy"}, {"metric": "size_bytes"}],
        "quantization": {"bits": [8, 32], "tie": "block", "calibration_examples": 16, "baseline_evaluations": 2},
        "search": {"algorithm": "nsga2", "evaluations": 8, "options": {"population": 4}},
        "hardware": {"seconds": 0.02, "max_layers": 0, "networks": 10},
        **parts,
    }


@pytest.mark.thorough
def test_questions_are_trained_searched_with_bits_and_exported(client: Client, tmp_path: Path) -> None:
    made = client.submit(job(tmp_path))
    finished = wait_for(client, made["id"], is_finished)
    assert finished["state"] == "succeeded", finished["message"]
    front = client.front(made["id"])
    full, quantized, _ = front["baselines"]
    assert quantized["metrics"]["size_bytes"] < full["metrics"]["size_bytes"]
    assert "test_accuracy" in full["metrics"]
    chosen = next(point for point in front["points"] if 8 in point["values"].values())
    export = client.export(made["id"], chosen["architecture_id"])
    assert {"safetensors", "onnx"} <= set(export["report"]["formats"])
    for found in export["report"]["formats"].values():
        assert found["metric"] == "accuracy"
        assert found["against_front"]["kept"]
    with tarfile.open(client.download(export, tmp_path)) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (model,) = (tmp_path / "unpacked").rglob("model.onnx")
    (said,) = (tmp_path / "unpacked").rglob("architecture.json")
    assert sorted(json.loads(said.read_text())["preprocessing"]["labels"]) == ["blue", "green", "no", "red", "yes"]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model))
    assert [one.name for one in session.get_inputs()] == ["pixel_values", "input_ids"]
    given = {"pixel_values": np.zeros((3, 3, 16, 16), np.float32), "input_ids": np.full((3, beit3.LENGTH), 2, np.int64)}
    assert session.run(None, given)[0].shape == (3, beit3_vqa.CLASSES)


@pytest.mark.thorough
def test_one_network_is_trained_without_a_checkpoint(client: Client, tmp_path: Path) -> None:
    small = {"family": "multiway", "preset": "tiny", "classes": 5, "choices": {"depth": [2], "layer*_heads": [1, 2]}}
    (tmp_path / "data").mkdir()
    made = client.submit(
        job(
            tmp_path,
            recipe="bignas",
            supernet=small,
            data={"source": "labelled_pairs", **example.write(tmp_path / "data"), "size": 32},
            training={"method": "single", "epochs": 1, "batch_size": 8},
            quantization=None,
            search={"algorithm": "nsga2", "evaluations": 4, "options": {"population": 2}},
            objectives=[{"metric": "accuracy"}, {"metric": "params"}],
        )
    )
    finished = wait_for(client, made["id"], is_finished)
    assert finished["state"] == "succeeded", finished["message"]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"objectives": [{"metric": "recall_at_1"}, {"metric": "params"}]}, "no recall_at_1; ask for accuracy"),
        ({"data": {"source": "digits"}}, "other kind"),
        ({"data": {"size": 224}}, "data.size is 224, and its networks do not resize; choose 16"),
        ({"data": {"channels": 1}}, "data.channels is 1; choose 3"),
        ({"data": {"length": 99}}, f"data.length is 99; choose at most {beit3.LENGTH}"),
        ({"supernet": {"choices": {"layer1_heads": [5]}}}, "layer1_heads"),
        ({"supernet": {"choices": {"layer3_text_ffn": [8]}}}, "no choice 'layer3_text_ffn'"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(client: Client, tmp_path: Path, parts: dict[str, Any], says: str) -> None:
    whole = job(tmp_path)
    for name, part in parts.items():
        merges = isinstance(part, dict) and "source" not in part
        whole[name] = {**whole[name], **part} if merges else part
    with pytest.raises(ClientError, match=says):
        client.submit(whole)
