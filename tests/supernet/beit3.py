"""BEiT-3's image-text form as a plain module, written from its published definition, with the names of its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
IMAGE, TEXT = "A", "B"
EMBED, LAYERS, HEADS, FFN, SIDE, PATCH, VOCAB, LENGTH = 32, 3, 4, 48, 16, 4, 99, 14
NAME = "beit3_base_patch16_384_coco_retrieval"
ARGUMENTS = {"num_heads": HEADS, "img_size": SIDE}
# XLM-R's tokens.
START, PAD, END = 0, 1, 2


class Halves(nn.Module):
    """A module for images and one for texts."""

    def __init__(self, image: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.A, self.B = image, text


def linears(inputs: int, outputs: int) -> Halves:
    return Halves(nn.Linear(inputs, outputs), nn.Linear(inputs, outputs))


def norms(width: int) -> Halves:
    return Halves(nn.LayerNorm(width, 1e-5), nn.LayerNorm(width, 1e-5))


class Neurons(nn.Module):
    """fc2(LN(GELU(fc1(x))))."""

    def __init__(self, ffn: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(EMBED, ffn), nn.Linear(ffn, EMBED)
        self.ffn_layernorm = nn.LayerNorm(ffn, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.fc2(self.ffn_layernorm(F.gelu(self.fc1(x))))
        return made


class Layer(nn.Module):
    """x += out(LN(attention(LN(x)))); x += ffn(LN(x)), with the weights of a half."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = {IMAGE: HEADS, TEXT: HEADS}
        self.self_attn: Any = nn.Module()
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self.self_attn, name, linears(EMBED, EMBED))
        self.self_attn.inner_attn_ln = norms(EMBED)
        self.self_attn_layer_norm, self.final_layer_norm = norms(EMBED), norms(EMBED)
        self.ffn = Halves(Neurons(FFN), Neurons(FFN))

    def forward(self, x: Tensor, half: str, padding: Tensor | None) -> Tensor:
        own: Any = {name: getattr(module, half) for name, module in self.self_attn.named_children()}
        normed = getattr(self.self_attn_layer_norm, half)(x)
        q, k, v = (
            own[name](normed).unflatten(-1, (self.heads[half], -1)).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        scores = q @ k.transpose(2, 3) / (EMBED // HEADS) ** 0.5
        if padding is not None:
            scores = scores.masked_fill(padding[:, None, None], float("-inf"))
        seen = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + own["out_proj"](own["inner_attn_ln"](seen))
        return x + getattr(self.ffn, half)(getattr(self.final_layer_norm, half)(x))


class Beit3(nn.Module):
    """Logits of every image with every text."""

    def __init__(self) -> None:
        super().__init__()
        self.beit3: Any = nn.Module()
        self.beit3.text_embed = nn.Embedding(VOCAB, EMBED)
        look = self.beit3.vision_embed = nn.Module()
        look.proj = nn.Conv2d(3, EMBED, PATCH, PATCH)
        look.cls_token = nn.Parameter(torch.zeros(1, 1, EMBED))
        look.mask_token = nn.Parameter(torch.zeros(1, 1, EMBED))
        encoder = self.beit3.encoder = nn.Module()
        encoder.embed_positions = Halves(nn.Embedding((SIDE // PATCH) ** 2 + 3, EMBED), nn.Embedding(LENGTH + 2, EMBED))
        encoder.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        encoder.layer_norm = norms(EMBED)
        self.vision_head = nn.Linear(EMBED, EMBED, bias=False)
        self.language_head = nn.Linear(EMBED, EMBED, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def encoded(self, x: Tensor, half: str, layers: int, padding: Tensor | None = None) -> Tensor:
        encoder = self.beit3.encoder
        x = x + getattr(encoder.embed_positions, half).weight[2 : x.shape[1] + 2]
        for layer in encoder.layers[:layers]:
            x = layer(x, half, padding)
        whole: Tensor = getattr(encoder.layer_norm, half)(x)
        return whole[:, 0]

    def vectors(self, pixel_values: Tensor, input_ids: Tensor, depths: tuple[int, int]) -> tuple[Tensor, Tensor]:
        look = self.beit3.vision_embed
        patches = look.proj(pixel_values).flatten(2).transpose(1, 2)
        patches = torch.cat((look.cls_token.expand(len(patches), -1, -1), patches), 1)
        image = self.vision_head(self.encoded(patches, IMAGE, depths[0]))
        words = self.beit3.text_embed(input_ids)
        text = self.language_head(self.encoded(words, TEXT, depths[1], input_ids == PAD))
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1)

    def forward(self, pixel_values: Tensor, input_ids: Tensor, depths: tuple[int, int] = (LAYERS, LAYERS)) -> Tensor:
        image, text = self.vectors(pixel_values, input_ids, depths)
        return self.logit_scale.exp() * image @ text.T


def model() -> Beit3:
    """With random weights, norms included, so that nothing equals anything by chance."""
    torch.manual_seed(0)
    return shaken(Beit3())


def shaken(made: Module) -> Module:
    """The module with noise in every parameter."""
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made.eval()


def narrowed(made: Beit3, half: str, sizes: list[tuple[int, int]]) -> None:
    """Cut the first layers of a half to so many heads and neurons, inner norms included."""
    for layer, (heads, ffn) in zip(made.beit3.encoder.layers, sizes, strict=False):
        layer.heads[half] = heads
        width = heads * EMBED // HEADS
        attention, fed = layer.self_attn, getattr(layer.ffn, half)
        for name in ("q_proj", "k_proj", "v_proj"):
            cut(getattr(getattr(attention, name), half), width, None)
        cut(attention.out_proj.get_submodule(half), None, width)
        cut_norm(attention.inner_attn_ln.get_submodule(half), width)
        cut(fed.fc1, ffn, None)
        cut(fed.fc2, None, ffn)
        cut_norm(fed.ffn_layernorm, ffn)


def cut(linear: nn.Module, rows: int | None, columns: int | None) -> None:
    """Keep the leading rows and columns."""
    assert isinstance(linear, nn.Linear)
    linear.weight.data, linear.bias.data = linear.weight.data[:rows, :columns].clone(), linear.bias.data[:rows].clone()


def cut_norm(norm: nn.Module, width: int) -> None:
    """Keep the leading features."""
    assert isinstance(norm, nn.LayerNorm)
    norm.weight.data, norm.bias.data = norm.weight.data[:width].clone(), norm.bias.data[:width].clone()
    norm.normalized_shape = (width,)


def tensors() -> dict[str, Tensor]:
    """What a released file holds under `model`."""
    return tensors_of(model())


def tensors_of(made: nn.Module) -> dict[str, Tensor]:
    """The same of a module."""
    return {name: tensor.clone().contiguous() for name, tensor in made.state_dict().items()}


def saved(folder: Path, changes: dict[str, Tensor | None] | None = None, **config: Any) -> Path:
    """The folder, with tensors changed or (None) left out."""
    return written(folder, tensors(), changes, {"architecture": NAME, "model_args": ARGUMENTS, **config})


def written(
    folder: Path, held: dict[str, Tensor], changes: dict[str, Tensor | None] | None, said: dict[str, Any]
) -> Path:
    """A folder of these tensors and this config.json, with what is changed to None left out of both."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: tensor for name, tensor in {**held, **(changes or {})}.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({key: value for key, value in said.items() if value is not None}))
    return folder


def with_tokenizer(folder: Path) -> Path:
    """The folder, with a tokenizer of words that has XLM-R's special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["a", "red", "green", "blue", "picture", "photo", "number", "is", ",", *map(str, range(30))]
    known = ["<s>", "<pad>", "</s>", "<unk>", *words]
    known += [f"word{number}" for number in range(VOCAB - len(known))]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<s>", START), ("</s>", END)]
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    return folder


def pairs(count: int = 5) -> dict[str, Tensor]:
    """Images, and texts of different lengths between the tokens of beginning and end."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, VOCAB, (count, LENGTH), generator=generator)
    ids[:, 0] = START
    for row in range(count):
        end = LENGTH - 1 - 2 * row if row < LENGTH // 2 else 3
        ids[row, end], ids[row, end + 1 :] = END, PAD
    return {"pixel_values": torch.randn(count, 3, SIDE, SIDE, generator=generator), "input_ids": ids}
