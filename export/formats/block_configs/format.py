"""`config.json` with `block_configs`, and weights under Llama's names: every layer has its own groups and width.

Engines want the same number of query heads in every layer, feed-forward widths that are multiples of 256, and attention
in the first layer; elsewhere a layer may do without attention or a feed-forward network (`no_op`). So query heads that
a layer lacks are zeros whose outputs nothing reads, and widths are filled up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.contents import BundleContents
from export.formats.huggingface.folder import generation_config
from export.formats.huggingface.format import described, write_weights
from export.generation import in_float32
from export.streamed import Made
from search_space.layers import DecoderLayerSpec
from supernet.inputs import Inputs

TOLERANCE = 1e-5
SCALED = True
GENERATES = True

PACKAGES = ("torch", "transformers", "safetensors")

REFERENCE = in_float32

# Feed-forward widths are counted in these.
STEP = 256

RELOAD = Path(__file__).with_name("reading.py").read_text(encoding="utf-8")

# What engines read by attribute, and a JSON object does not have.
CONFIGURATION = '''\
"""Configuration of a llama whose layers differ."""
from types import SimpleNamespace

from transformers import PretrainedConfig


class DeciLMConfig(PretrainedConfig):
    """`block_configs` with attributes, as engines read them."""

    model_type = "nemotron-nas"

    def __init__(self, block_configs=(), **given):
        self.block_configs = [
            SimpleNamespace(attention=SimpleNamespace(**one["attention"]), ffn=SimpleNamespace(**one["ffn"]))
            for one in block_configs
        ]
        super().__init__(**given)

    def to_dict(self):
        made = super().to_dict()
        made["block_configs"] = [
            {"attention": vars(one.attention), "ffn": vars(one.ffn)} for one in self.block_configs
        ]
        return made
'''


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Not enough to know: see `write_contents`.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("block_configs needs a network's layers; use write_contents.")


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> dict[str, Any]:
    """Write the folder."""
    config, places = described(contents)
    layers = [layer for layer in contents.layers.values() if isinstance(layer, DecoderLayerSpec)]
    heads = layers[0].embed // layers[0].head_dim
    kept = {"model_type", "intermediate_size", "num_key_value_heads", "head_dim", "sliding_window", "architectures"}
    made = {key: value for key, value in config.items() if key not in kept} | {
        "model_type": "nemotron-nas",
        "architectures": ["DeciLMForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_decilm.DeciLMConfig"},
        "num_attention_heads": heads,
        "num_key_value_heads": None,
        "intermediate_size": None,
        "torch_dtype": config["dtype"],
        "attention_bias": layers[0].qkv_bias,
        "mlp_bias": layers[0].ffn_bias,
        "block_configs": [_block(layer, heads) for layer in layers],
    }
    tensors, own = {}, 0
    for name, place in places.items():
        block, (module, _, _) = contents.network.get_submodule(place.slot), place.parameter.rpartition(".")
        if module.startswith(getattr(block, "left_out", ())):
            continue
        held = block.get_parameter(place.parameter).detach().cpu()
        own += held.numel()
        number = int(name.split(".")[2]) if name.startswith("model.layers.") else None
        tensors[name] = held.contiguous() if number is None else _fitted(name, held, layers[number], heads)
    (folder / "config.json").write_text(json.dumps(made, indent=2, sort_keys=True) + "\n")
    (folder / "configuration_decilm.py").write_text(CONFIGURATION)
    if (generation := generation_config(config, contents)) is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=2, sort_keys=True) + "\n")
    write_weights({name: Made.of(tensor) for name, tensor in tensors.items()}, folder)
    written = sum(tensor.numel() for tensor in tensors.values())
    width = next(iter(tensors.values())).element_size()
    note = (
        f"{(written - own) * width:,} bytes of zeros stand for query heads and steps of {STEP} that layers do not fill."
    )
    return {"bytes": written * width, "padding_bytes": (written - own) * width, "notes": [note]}


def groups_of(layer: DecoderLayerSpec, heads: int) -> int:
    """Key-value heads of a layer: its own, or the next number that divides all query heads into groups as large."""
    ratio = layer.heads // layer.kv_heads
    return next(n for n in range(layer.kv_heads, heads + 1) if heads % n == 0 and heads // n >= ratio)


def _block(layer: DecoderLayerSpec, heads: int) -> dict[str, Any]:
    width = -(-layer.ffn // STEP) * STEP
    return {
        "attention": {
            "no_op": not layer.heads,
            "replace_with_linear": False,
            "n_heads_in_group": heads // groups_of(layer, heads) if layer.heads else None,
            "sparsify": None,
            "window_length": None,
            "num_sink_tokens": None,
            "use_prefill_window_in_sink_attention": False,
            "unshifted_sink": False,
        },
        "ffn": {
            "no_op": not layer.ffn,
            "replace_with_linear": False,
            "ffn_mult": multiplier(width, layer.embed) if layer.ffn else None,
            "sparsify": None,
        },
    }


def multiplier(width: int, hidden: int) -> float:
    """The number that gives a width: engines round `2 * multiplier * hidden / 3` up to a multiple of 256."""
    for digits in range(6, 16):
        value = round(3 * width / (2 * hidden), digits)
        if -(-int(2 * value * hidden / 3) // STEP) * STEP == width:
            return value
    raise AssertionError(f"no multiplier gives {width} at {hidden}")


def _fitted(name: str, held: Tensor, layer: DecoderLayerSpec, heads: int) -> Tensor:
    """A layer's tensor in the sizes that its block says."""
    if ".mlp." in name:
        ffn = -(-layer.ffn // STEP) * STEP
        axis = 1 if name.endswith("down_proj.weight") else 0
        return held.contiguous() if name.endswith("down_proj.bias") else _filled(held, axis, ffn)
    if ".self_attn." not in name:
        return held.contiguous()
    groups, ratio, width = groups_of(layer, heads), layer.heads // layer.kv_heads, layer.head_dim
    if ".k_proj." in name or ".v_proj." in name:
        return _filled(held, 0, groups * width)
    if ".q_proj." in name or name.endswith("o_proj.weight"):
        axis = 1 if name.endswith("o_proj.weight") else 0
        split = held.unflatten(axis, (layer.kv_heads, ratio, width))
        spread = _filled(_filled(split, axis + 1, heads // groups), axis, groups)
        return spread.flatten(axis, axis + 2).contiguous()
    return held.contiguous()


def _filled(tensor: Tensor, axis: int, size: int) -> Tensor:
    """With zeros behind, up to a size of one axis."""
    missing = list(tensor.shape)
    missing[axis] = size - tensor.shape[axis]
    return torch.cat([tensor, tensor.new_zeros(missing)], axis).contiguous()
