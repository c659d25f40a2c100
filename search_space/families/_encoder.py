"""What the families of transformer encoders share: the full-size shape, its choices and its layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from search_space.adjustments import Options, Rule
from search_space.architecture import Option
from search_space.checkpoint import CheckpointError, ConfigReader
from search_space.layers import EncoderLayerSpec, LayerSpec
from search_space.space import Choice

# transformers' words for activations -> ours.
ACTIVATIONS = {
    "gelu": "GELU",
    "gelu_new": "GELUTanh",
    "gelu_pytorch_tanh": "GELUTanh",
    "relu": "ReLU",
    "silu": "SiLU",
    "swish": "SiLU",
}


@dataclass(frozen=True, slots=True)
class Encoder:
    """The shape of a full-size stack of encoder layers."""

    embed: int
    layers: int
    heads: int
    head_dim: int
    ffn: int
    norm_first: bool
    activation: str
    qkv_bias: bool
    relative: int
    eps: float
    dropout: float
    attention_dropout: float

    @classmethod
    def read(cls, reader: ConfigReader, *, norm_first: bool, qkv_bias: bool, dropout: float) -> Encoder:
        """From a config.json; `dropout` is what transformers takes where the file has none.

        Raises:
            CheckpointError: a number is missing or impossible.
        """
        embed = reader.whole("hidden_size", 768)
        heads = reader.whole("num_attention_heads", 12)
        # transformers' ViT, which has no rule for its width of heads, reads the key; BERT does not.
        stated = reader.whole("head_dim") if norm_first and reader.config.get("head_dim") is not None else None
        if embed % heads and stated is None:
            raise CheckpointError(f"config.json has a hidden size of {embed} for {heads} heads: not a multiple.")
        return cls(
            embed=embed,
            layers=reader.whole("num_hidden_layers", 12),
            heads=heads,
            head_dim=stated or embed // heads,
            ffn=reader.whole("intermediate_size", 3072),
            norm_first=norm_first,
            activation=reader.one_of("hidden_act", ACTIVATIONS, "gelu"),
            qkv_bias=qkv_bias,
            relative=0,
            eps=reader.ratio("layer_norm_eps", 1e-12),
            dropout=reader.ratio("hidden_dropout_prob", dropout, most=1),
            attention_dropout=reader.ratio("attention_probs_dropout_prob", dropout, most=1),
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameters of one full-size layer."""
        width = self.heads * self.head_dim
        weights = {
            "query": (width, self.embed),
            "key": (width, self.embed),
            "value": (width, self.embed),
            "output": (self.embed, width),
            "ffn_in": (self.ffn, self.embed),
            "ffn_out": (self.embed, self.ffn),
            "attention_norm": (self.embed,),
            "ffn_norm": (self.embed,),
        }
        unbiased = () if self.qkv_bias else ("query", "key", "value")
        biases = {f"{name}.bias": shape[:1] for name, shape in weights.items() if name not in unbiased}
        return {f"{name}.weight": shape for name, shape in weights.items()} | biases


def config_of_layers(middle: Sequence[LayerSpec], *, norm_first: bool) -> tuple[EncoderLayerSpec, dict[str, Any]]:
    """The first of a stack of encoder layers, and what a config.json says of the stack: its widest sizes.

    Raises:
        CheckpointError: transformers has no such layers.
    """
    layers = [layer for layer in middle if isinstance(layer, EncoderLayerSpec)]
    if not layers or len(layers) < len(middle) or any(layer.norm_first != norm_first for layer in layers):
        raise CheckpointError("its layers are not those of such an encoder")
    first = layers[0]
    if first.relative:
        raise CheckpointError("its attention has relative positions (AutoFormer), which no model of transformers has")
    words = {ours: word for word, ours in reversed(ACTIVATIONS.items())} | {"GELUTanh": "gelu_pytorch_tanh"}
    if first.activation not in words:
        raise CheckpointError(f"its activation is {first.activation}; transformers' encoders have {', '.join(words)}")
    return first, {
        "hidden_size": first.embed,
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(layer.heads for layer in layers),
        "intermediate_size": max(layer.ffn for layer in layers),
        "hidden_act": words[first.activation],
        "layer_norm_eps": first.eps,
        "hidden_dropout_prob": first.dropout,
        "attention_probs_dropout_prob": first.attention_dropout,
    }


@lru_cache(maxsize=65536)
def encoder_layer(e: Encoder, embed: int, heads: int, ffn: int, tokens: int) -> EncoderLayerSpec:
    """One layer of these sizes; equal layers are one object, whose totals are computed once."""
    kind = (e.norm_first, e.activation, e.qkv_bias, e.relative, e.eps, e.dropout, e.attention_dropout)
    return EncoderLayerSpec(embed, heads, e.head_dim, ffn, tokens, *kind)


def encoder_choices(
    options: Options,
    depths: tuple[Option, ...],
    heads: tuple[tuple[Option, ...], Rule],
    ffns: tuple[str, tuple[Option, ...], Rule],
) -> Iterator[Choice]:
    """Depth, then heads and feed-forward width of every layer; layers beyond the depth are inactive.

    Args:
        heads: default options and what is allowed.
        ffns: the name of that choice (`ffn`, or `ratio` of the embedding), its options, what is allowed.
    """
    yield Choice("depth", depths)
    for i in range(1, int(depths[-1]) + 1):
        deep_enough = tuple(depth for depth in depths if int(depth) >= i)
        when = None if deep_enough == depths else ("depth", deep_enough)
        yield Choice(f"layer{i}_heads", options.of(f"layer{i}_heads", *heads), when)
        yield Choice(f"layer{i}_{ffns[0]}", options.of(f"layer{i}_{ffns[0]}", *ffns[1:]), when)
