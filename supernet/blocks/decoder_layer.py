"""Decoder layer of Llama, Mistral, Qwen2 and Qwen3: transformers' own class, at the sizes of a spec."""

import importlib
import inspect
import json
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING

# Modules of the two halves.
ATTENTION = ("input_layernorm", "self_attn")
FEED_FORWARD = ("post_attention_layernorm", "mlp")


def layer_config(config: str) -> Any:
    """transformers' configuration from its JSON."""
    facts = json.loads(config)
    made = CONFIG_MAPPING[facts["model_type"]].from_dict(facts)
    made._attn_implementation = "sdpa"
    return made


def model_class(config: Any, name: str) -> Any:
    """A class of the model's own file in transformers, such as its `DecoderLayer`."""
    module = importlib.import_module(type(config).__module__.replace(".configuration_", ".modeling_"))
    return getattr(module, type(config).__name__.removesuffix("Config") + name)


@lru_cache(maxsize=16)
def rotation(config: str, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, each of shape (1, length, head_dim).

    All layers of a network share them, and so do all networks of a checkpoint.
    """
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        made = layer_config(config)
        rotary = model_class(made, "RotaryEmbedding")(made)
        cos, sin = rotary(torch.zeros(1, dtype=dtype), torch.arange(length)[None])
    return cos.to(device), sin.to(device)


class DecoderLayer(nn.Module):
    """`hidden_NTD` to `hidden_NTD`; a position sees itself and those before it, as far as the window.

    Without heads it has no attention, and without a width no feed-forward network; what goes past either stays.
    """

    # The spec's parts that are not attributes of their name.
    part_modules = {  # noqa: RUF012 - constant
        "query": "layer.self_attn.q_proj",
        "key": "layer.self_attn.k_proj",
        "value": "layer.self_attn.v_proj",
        "output": "layer.self_attn.o_proj",
        "ffn_gate": "layer.mlp.gate_proj",
        "ffn_in": "layer.mlp.up_proj",
        "ffn_out": "layer.mlp.down_proj",
    }
    # Axes that may be permuted without changing what the layer computes: the spec's field that counts the
    # groups, the module that reads them, and every tensor that has them, with the dimension.
    axes: tuple[tuple[str, str, tuple[tuple[str, int], ...]], ...] = (
        (
            "ffn",
            "layer.mlp.down_proj",
            (
                ("layer.mlp.gate_proj.weight", 0),
                ("layer.mlp.gate_proj.bias", 0),
                ("layer.mlp.up_proj.weight", 0),
                ("layer.mlp.up_proj.bias", 0),
                ("layer.mlp.down_proj.weight", 1),
            ),
        ),
        (
            "kv_heads",
            "layer.self_attn.o_proj",
            (
                ("layer.self_attn.q_proj.weight", 0),
                ("layer.self_attn.q_proj.bias", 0),
                ("layer.self_attn.k_proj.weight", 0),
                ("layer.self_attn.k_proj.bias", 0),
                ("layer.self_attn.v_proj.weight", 0),
                ("layer.self_attn.v_proj.bias", 0),
                ("layer.self_attn.o_proj.weight", 1),
            ),
        ),
    )

    def __init__(
        self,
        config: str,
        embed: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        ffn: int,
        tokens: int,
        window: int,
        qkv_bias: bool,
        output_bias: bool,
        ffn_bias: bool,
        qk_norm: bool,
    ) -> None:
        super().__init__()
        self.config, self.window = config, window
        made = layer_config(config)
        # Set after construction: transformers would refuse numbers of heads that do not divide the hidden
        # size, but a layer with fewer heads keeps their width.
        made.num_attention_heads, made.num_key_value_heads, made.head_dim = heads or 1, kv_heads or 1, head_dim
        made.intermediate_size = ffn or 1
        self.layer = model_class(made, "DecoderLayer")(made, 0)
        self.has_attention, self.has_ffn = heads > 0, ffn > 0
        # Modules of transformers' layer that are not there, for those who go by its names.
        self.left_out: tuple[str, ...] = ()
        for half, has in ((ATTENTION, self.has_attention), (FEED_FORWARD, self.has_ffn)):
            for name in () if has else half:
                delattr(self.layer, name)
                self.left_out += (f"layer.{name}",)
        there = {"kv_heads": self.has_attention, "ffn": self.has_ffn}
        self.axes = tuple(axis for axis in type(self).axes if there[axis[0]])
        for module in self.layer.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=made.initializer_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        if not self.has_attention:
            return self._after_attention(hidden_NTD)
        length = hidden_NTD.shape[1]
        turns = rotation(self.config, length, hidden_NTD.device, hidden_NTD.dtype)
        mask, window = None, self.window or length
        # Without a mask torch's own causal attention runs. ONNX's exporter does not know that one for heads in
        # groups, so an exported layer spells the mask out, and transformers then repeats the shared heads.
        if length > window or torch.onnx.is_in_onnx_export():
            place_T = torch.arange(length, device=hidden_NTD.device)
            back_TT = place_T[:, None] - place_T[None, :]
            mask = ((back_TT >= 0) & (back_TT < window))[None, None]
        return self._attended(hidden_NTD, attention_mask=mask, position_embeddings=turns)

    def step(self, hidden_NTD: Tensor, start: int, room: Any, place: int) -> Tensor:
        """The same for positions from `start` on, with keys and values of those before them in `room`.

        Args:
            room: whose `update` takes new keys and values of layer `place`, and gives all up to their end.
        """
        if not self.has_attention:
            return self._after_attention(hidden_NTD)
        end, mask = start + hidden_NTD.shape[1], None
        if self.window and end > self.window:
            place_T = torch.arange(end, device=hidden_NTD.device)
            back_TT = place_T[start:, None] - place_T[None, :]
            mask = ((back_TT >= 0) & (back_TT < self.window))[None, None]
        cos, sin = rotation(self.config, end, hidden_NTD.device, hidden_NTD.dtype)
        self.layer.self_attn.layer_idx = place
        takes = inspect.signature(type(self.layer).forward).parameters
        cache = {"cache" if "cache" in takes else "past_key_values": room}
        turns = cos[:, start:end], sin[:, start:end]
        return self._attended(hidden_NTD, attention_mask=mask, position_embeddings=turns, use_cache=True, **cache)

    def _attended(self, hidden_NTD: Tensor, **given: Any) -> Tensor:
        """What transformers' layer gives; where it lacks its feed-forward network, its first half."""
        if self.has_ffn:
            whole_NTD: Tensor = self.layer(hidden_NTD, **given)
            return whole_NTD
        out_NTD: Tensor = self.layer.self_attn(hidden_states=self.layer.input_layernorm(hidden_NTD), **given)[0]
        return hidden_NTD + out_NTD

    def _after_attention(self, hidden_NTD: Tensor) -> Tensor:
        """Its second half."""
        out_NTD: Tensor = self.layer.mlp(self.layer.post_attention_layernorm(hidden_NTD))
        return hidden_NTD + out_NTD


BLOCK = DecoderLayer
