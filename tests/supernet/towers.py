"""Small random checkpoints of two towers, as transformers writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
IMAGE = {**SIZES, "image_size": 16, "patch_size": 4}
TEXT = {**SIZES, "num_hidden_layers": 2, "vocab_size": 99, "max_position_embeddings": 12}
KINDS = ("clip", "clip_old", "siglip")


def model_of(kind: str) -> Any:
    """A model with random weights, norms included, so that nothing equals anything by chance."""
    torch.manual_seed(0)
    if kind == "siglip":
        model: Any = SiglipModel(SiglipConfig(vision_config=IMAGE, text_config=TEXT))
    else:
        text = {**TEXT, "hidden_size": 24, "num_attention_heads": 3, "eos_token_id": 2 if kind == "clip_old" else 98}
        model = CLIPModel(CLIPConfig(vision_config=IMAGE, text_config=text, projection_dim=20))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def saved(kind: str, folder: Path) -> Path:
    """The model's folder."""
    model_of(kind).save_pretrained(folder)
    return folder


def pairs(count: int = 5, length: int = 12) -> dict[str, Tensor]:
    """Images and texts that end with token 98, the largest, which is then followed by others."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 98, (count, length), generator=generator)
    ids[torch.arange(count), torch.arange(count) % 5 + length - 5] = 98
    return {"pixel_values": torch.randn(count, 3, 16, 16, generator=generator), "input_ids": ids}


def logits_of(answers_N2W: Tensor) -> Tensor:
    """Logits of every image with every text."""
    return answers_N2W[:, 0] @ answers_N2W[:, 1].T


def narrowed(model: Any, tower: str, sizes: list[tuple[int, int]]) -> None:
    """Cut the first layers of a tower of transformers' model to so many heads and neurons."""
    encoder = getattr(model, tower).encoder
    encoder.layers = encoder.layers[: len(sizes)]
    for layer, (heads, ffn) in zip(encoder.layers, sizes, strict=True):
        attention = layer.self_attn
        width = heads * attention.head_dim
        attention.num_heads = heads
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(attention, name, _cut(getattr(attention, name), width, None))
        attention.out_proj = _cut(attention.out_proj, None, width)
        layer.mlp.fc1, layer.mlp.fc2 = _cut(layer.mlp.fc1, ffn, None), _cut(layer.mlp.fc2, None, ffn)


def _cut(linear: nn.Linear, rows: int | None, columns: int | None) -> nn.Linear:
    weight = linear.weight.data[:rows, :columns]
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight.data, made.bias.data = weight.clone(), linear.bias.data[:rows].clone()
    return made
