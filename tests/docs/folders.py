"""Folders that the documentation names as a reader's own: checkpoints, images, texts."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Checkpoints by the last part of the path that a page names: their shape is the real one's, and their weights are a
# file without content, which takes no room on the disk.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet50": ("ResNetForImageClassification", {"model_type": "resnet", "num_labels": 1000}),
    "TinyLlama-1.1B": (
        "LlamaForCausalLM",
        {
            "model_type": "llama",
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "vocab_size": 32000,
            "max_position_embeddings": 2048,
        },
    ),
    "Qwen3-0.6B": (
        "Qwen3ForCausalLM",
        {
            "model_type": "qwen3",
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "max_position_embeddings": 40960,
            "tie_word_embeddings": True,
        },
    ),
    **{
        f"deit-{size}": (
            "DeiTForImageClassification",
            {
                "model_type": "deit",
                "hidden_size": width,
                "intermediate_size": 4 * width,
                "num_hidden_layers": 12,
                "num_attention_heads": width // 64,
                "image_size": 224,
                "patch_size": 16,
                "num_labels": 1000,
            },
        )
        for size, width in (("tiny", 192), ("small", 384), ("base", 768))
    },
}


@contextmanager
def readers_folders(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A text whose `/models/NAME` and `/data/NAME` are paths below a folder, where such checkpoints are."""
    monkeypatch.setenv("WINNOW_DATA_ROOTS", str(folder))
    for name in SHAPES:
        if f"/models/{name}" in text:
            write_hollow(folder / "models" / name, name)
    yield text.replace("/models/", f"{folder}/models/").replace("/data/", f"{folder}/data/")


def write_hollow(folder: Path, name: str) -> None:
    """A checkpoint's configuration, and a file of weights that has its names and sizes, and no content."""
    import torch
    import transformers

    architecture, shape = SHAPES[name]
    config = transformers.AutoConfig.for_model(**shape)
    with torch.device("meta"):
        tensors = getattr(transformers, architecture)(config).state_dict()
    if shape.get("tie_word_embeddings"):
        tensors.pop("lm_head.weight")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "architectures": [architecture]}))
    header, place = {}, 0
    for key, tensor in tensors.items():
        size = 2 * tensor.numel()
        header[key] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [place, place + size]}
        place += size
    words = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(words)) + words)
        os.truncate(file.fileno(), 8 + len(words) + place)
