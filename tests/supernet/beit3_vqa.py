"""BEiT-3's form that answers questions as a plain module, written from its published definition, with its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.supernet.beit3 import (
    EMBED,
    FFN,
    HEADS,
    IMAGE,
    LAYERS,
    LENGTH,
    PAD,
    PATCH,
    SIDE,
    TEXT,
    VOCAB,
    Halves,
    Neurons,
    cut,
    cut_norm,
    linears,
    norms,
    shaken,
    tensors_of,
    written,
)

NAME, CLASSES = "beit3_base_patch16_480_vqa", 5
ARGUMENTS = {"num_heads": HEADS, "img_size": SIDE}
PATCHES = (SIDE // PATCH) ** 2


def routed(halves: nn.Module, x: Tensor, image: int) -> Tensor:
    """The first positions through A, the others through B."""
    return torch.cat((halves.get_submodule(IMAGE)(x[:, :image]), halves.get_submodule(TEXT)(x[:, image:])), 1)


class Layer(nn.Module):
    """x += out(LN(attention(LN(x)))); x += ffn(LN(x)), each module there twice; attention spans the whole sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.self_attn: Any = nn.Module()
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self.self_attn, name, linears(EMBED, EMBED))
        self.self_attn.inner_attn_ln = norms(EMBED)
        self.self_attn_layer_norm, self.final_layer_norm = norms(EMBED), norms(EMBED)
        self.ffn = Halves(Neurons(FFN), Neurons(FFN))

    def forward(self, x: Tensor, image: int, padding: Tensor) -> Tensor:
        normed = routed(self.self_attn_layer_norm, x, image)
        q, k, v = (
            routed(self.self_attn.get_submodule(f"{name}_proj"), normed, image)
            .unflatten(-1, (self.heads, -1))
            .transpose(1, 2)
            for name in "qkv"
        )
        scores = (q @ k.transpose(2, 3) / (EMBED // HEADS) ** 0.5).masked_fill(padding[:, None, None], float("-inf"))
        seen = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + routed(self.self_attn.out_proj, routed(self.self_attn.inner_attn_ln, seen, image), image)
        return x + routed(self.ffn, routed(self.final_layer_norm, x, image), image)


class Beit3(nn.Module):
    """Logits of the answers to a question about an image."""

    def __init__(self) -> None:
        super().__init__()
        self.beit3: Any = nn.Module()
        self.beit3.text_embed = nn.Embedding(VOCAB, EMBED)
        look = self.beit3.vision_embed = nn.Module()
        look.proj = nn.Conv2d(3, EMBED, PATCH, PATCH)
        look.cls_token = nn.Parameter(torch.zeros(1, 1, EMBED))
        look.mask_token = nn.Parameter(torch.zeros(1, 1, EMBED))
        encoder = self.beit3.encoder = nn.Module()
        encoder.embed_positions = Halves(nn.Embedding(PATCHES + 3, EMBED), nn.Embedding(LENGTH + 2, EMBED))
        encoder.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.pooler: Any = nn.Module()
        self.pooler.norm, self.pooler.dense = nn.LayerNorm(EMBED, 1e-5), nn.Linear(EMBED, EMBED)
        self.head = nn.Sequential(
            nn.Linear(EMBED, 2 * EMBED), nn.LayerNorm(2 * EMBED, 1e-5), nn.GELU(), nn.Linear(2 * EMBED, CLASSES)
        )

    def forward(self, pixel_values: Tensor, input_ids: Tensor, depth: int = LAYERS) -> Tensor:
        look, encoder = self.beit3.vision_embed, self.beit3.encoder
        seen = look.proj(pixel_values).flatten(2).transpose(1, 2)
        seen = torch.cat((look.cls_token.expand(len(seen), -1, -1), seen), 1)
        read = self.beit3.text_embed(input_ids)
        image = seen.shape[1]
        places = (getattr(encoder.embed_positions, half).weight[2:] for half in (IMAGE, TEXT))
        x = torch.cat([part + place[: part.shape[1]] for part, place in zip((seen, read), places, strict=True)], 1)
        padding = torch.cat((torch.zeros(len(seen), image, dtype=torch.bool), input_ids == PAD), 1)
        for layer in encoder.layers[:depth]:
            x = layer(x, image, padding)
        answers: Tensor = self.head(torch.tanh(self.pooler.dense(self.pooler.norm(x[:, 0]))))
        return answers


def model() -> Beit3:
    """With random weights, norms included, so that nothing equals anything by chance."""
    torch.manual_seed(0)
    return shaken(Beit3())


def narrowed(made: Beit3, sizes: list[tuple[int, int, int]]) -> None:
    """Cut the first layers to so many heads, neurons of the image and neurons of the text (0: as they are)."""
    for layer, (heads, *neurons) in zip(made.beit3.encoder.layers, sizes, strict=False):
        layer.heads = heads
        width, attention = heads * EMBED // HEADS, layer.self_attn
        for half, ffn in zip((IMAGE, TEXT), neurons, strict=True):
            for name in ("q_proj", "k_proj", "v_proj"):
                cut(attention.get_submodule(f"{name}.{half}"), width, None)
            cut(attention.out_proj.get_submodule(half), None, width)
            cut_norm(attention.inner_attn_ln.get_submodule(half), width)
            fed = layer.ffn.get_submodule(half)
            if ffn:
                cut(fed.fc1, ffn, None)
                cut(fed.fc2, None, ffn)
                cut_norm(fed.ffn_layernorm, ffn)


def tensors() -> dict[str, Tensor]:
    """What a released file holds under `model`."""
    return tensors_of(model())


def saved(folder: Path, changes: dict[str, Tensor | None] | None = None, **config: Any) -> Path:
    """The folder, with tensors changed or (None) left out."""
    return written(folder, tensors(), changes, {"architecture": NAME, "model_args": ARGUMENTS, **config})
