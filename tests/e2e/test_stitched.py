"""Checkpoints stitched as a user asks for it: profiled, trained, searched and exported through the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import ViTConfig, ViTForImageClassification

from service.client import Client, ClientError
from tests.e2e.helpers import is_finished, wait_for
from tests.supernet.checkpoints import save

pytestmark = pytest.mark.e2e


def anchor(folder: Path, width: int, **more: Any) -> str:
    """A small ViT for digits that was never trained."""
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 2, "num_hidden_layers": 3}
    image = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 10}
    save(ViTForImageClassification, ViTConfig(**{**sizes, **image, **more}), folder)
    return str(folder)


def job(folders: list[str], **parts: Any) -> dict[str, Any]:
    return {
        "recipe": "sn_net",
        "supernet": {"family": "stitched", "pretrained": folders},
        "data": {"source": "digits"},
        "training": {"epochs": 2, "batch_size": 64, "learning_rate": 1e-3, "warmup_epochs": 0},
        "hardware": {"seconds": 0.02, "max_layers": 0, "networks": 10},
        **parts,
    }


@pytest.mark.thorough
def test_checkpoints_are_stitched_searched_whole_and_exported(client: Client, tmp_path: Path) -> None:
    folders = [anchor(tmp_path / "small", 16), anchor(tmp_path / "large", 32)]
    made = client.submit(job(folders))
    finished = wait_for(client, made["id"], is_finished)
    assert finished["state"] == "succeeded", finished["message"]
    front = client.front(made["id"])
    # Seven positions between three layers each, and the anchors.
    assert len(list(client.evaluations(made["id"]))) == 9
    assert front["reference"]["name"] == "checkpoint"
    through = [point for point in front["points"] if "-" in point["values"]["path"]]
    chosen = (through or front["points"])[0]
    export = client.export(made["id"], chosen["architecture_id"])
    assert {"safetensors", "onnx"} <= set(export["report"]["formats"])
    for found in export["report"]["formats"].values():
        assert found["against_front"]["kept"]


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"width": 32, "patch_size": 2}, "patches of 4 pixels, checkpoint 2 patches of 2 pixels"),
        ({"width": 32, "num_labels": 4}, "different classes: checkpoint 1 10, checkpoint 2 4"),
        ({"width": 16}, "have the same sizes"),
    ],
)
def test_what_cannot_be_stitched_is_refused_at_once(
    client: Client, tmp_path: Path, second: dict[str, Any], says: str
) -> None:
    folders = [anchor(tmp_path / "one", 16), anchor(tmp_path / "two", **second)]
    with pytest.raises(ClientError, match=says):
        client.submit(job(folders))
