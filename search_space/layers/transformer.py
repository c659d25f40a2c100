"""Layers of transformers: embeddings, encoder and decoder layers, heads.

Costs are for one sample of `tokens` positions. Heads of attention are elastic as whole heads (or whole
groups of query heads that share a key-value head), so a smaller layer's projections are leading rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from search_space.layers.base import (
    LayerSpec,
    Part,
    attention_part,
    conv_part,
    embedding_part,
    fits_untied,
    linear_part,
    norm_part,
)


@dataclass(frozen=True)
class PatchEmbeddingSpec(LayerSpec):
    """Cuts an image into patches and projects each; adds a class token and learned positions (ViT).

    Attributes:
        size: height and width of the image in pixels.
        patch: height and width of a patch in pixels.
    """

    kind: ClassVar[str] = "patch_embedding"
    fixed: ClassVar[frozenset[str]] = frozenset({"channels", "patch", "size"})
    free: ClassVar[frozenset[str]] = frozenset({"dropout"})
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout"})

    channels: int
    embed: int
    patch: int
    size: int
    dropout: float

    @property
    def tokens(self) -> int:
        """Positions, the class token's included."""
        return (self.size // self.patch) ** 2 + 1

    def parts(self) -> dict[str, Part]:
        grid = self.size // self.patch
        return {
            "patches": conv_part(self.channels, self.embed, self.patch, self.size, grid, bias=True, norm=False),
            "class_token": Part(self.embed, 0, 0, 2 * self.tokens * self.embed),
            "positions": Part(self.tokens * self.embed, 0, 0, 2 * self.tokens * self.embed),
        }


@dataclass(frozen=True)
class TextEmbeddingSpec(LayerSpec):
    """Token, position and segment embeddings, summed and normalised (BERT).

    Attributes:
        positions: most positions that a text may have.
        segments: segment ids; every token of a single text has segment 0.
    """

    kind: ClassVar[str] = "text_embedding"
    fixed: ClassVar[frozenset[str]] = frozenset({"vocab", "positions", "segments", "eps"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens", "dropout"})
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout"})

    vocab: int
    embed: int
    positions: int
    segments: int
    tokens: int
    eps: float
    dropout: float

    def parts(self) -> dict[str, Part]:
        live = 2 * self.tokens * self.embed
        return {
            "tokens": embedding_part(self.vocab, self.embed, live),
            "positions": Part(self.positions * self.embed, 0, 0, live),
            "segments": Part(self.segments * self.embed, 0, 0, live),
            "norm": norm_part(self.embed, tokens=self.tokens),
        }


@dataclass(frozen=True)
class TokenEmbeddingSpec(LayerSpec):
    """Token embedding alone: positions come in through rotation (Llama)."""

    kind: ClassVar[str] = "token_embedding"
    fixed: ClassVar[frozenset[str]] = frozenset({"vocab"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens"})

    vocab: int
    embed: int
    tokens: int

    def parts(self) -> dict[str, Part]:
        return {"tokens": embedding_part(self.vocab, self.embed, self.tokens * self.embed)}


@dataclass(frozen=True)
class EncoderLayerSpec(LayerSpec):
    """Self-attention over all positions and a feed-forward network, each with a shortcut (ViT, BERT).

    Attributes:
        head_dim: width of one head; queries, keys and values are `heads * head_dim` wide, whatever `embed`.
        norm_first: normalise before each half (ViT) or after its shortcut (BERT).
        activation: a class of `torch.nn`, or `GELUTanh`.
        relative: 0, or the largest vertical and horizontal distance of patches for which AutoFormer's
            relative positions have embeddings, on keys and on values.
    """

    kind: ClassVar[str] = "encoder_layer"
    fixed: ClassVar[frozenset[str]] = frozenset({"head_dim", "norm_first", "qkv_bias", "relative", "eps"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens", "dropout", "attention_dropout"})
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout", "attention_dropout"})

    embed: int
    heads: int
    head_dim: int
    ffn: int
    tokens: int
    norm_first: bool
    activation: str
    qkv_bias: bool
    relative: int
    eps: float
    dropout: float
    attention_dropout: float

    def branches(self) -> tuple[str, ...]:
        """Attention and feed-forward network."""
        return ("output", "ffn_out")

    def parts(self) -> dict[str, Part]:
        tokens, embed, width = self.tokens, self.embed, self.heads * self.head_dim
        held = tokens * embed
        parts = {
            "attention_norm": norm_part(embed, tokens=tokens),
            "query": linear_part(embed, width, self.qkv_bias, tokens, held),
            "key": linear_part(embed, width, self.qkv_bias, tokens, held + width * tokens),
            "value": linear_part(embed, width, self.qkv_bias, tokens, held + 2 * width * tokens),
            "attention": attention_part(self.heads, self.heads, self.head_dim, tokens, held),
        }
        if self.relative:
            rows = 4 * (2 * self.relative + 2) * self.head_dim
            parts["relative"] = Part(rows, 0, 2 * tokens * tokens * width, 4 * width * tokens + held)
        return parts | {
            "output": linear_part(width, embed, tokens=tokens, held=held),
            "ffn_norm": norm_part(embed, tokens=tokens),
            "ffn_in": linear_part(embed, self.ffn, tokens=tokens, held=held),
            "ffn_out": linear_part(self.ffn, embed, tokens=tokens, held=held),
        }


@dataclass(frozen=True)
class DecoderLayerSpec(LayerSpec):
    """A decoder layer of Llama, Mistral, Qwen2 or Qwen3, as transformers has it.

    Attributes:
        config: the checkpoint's configuration as JSON, reduced to what a layer needs; it names the model
            type, the activation, rotary scaling and the like.
        heads, kv_heads: query heads, and key-value heads that groups of them share. A smaller layer has
            fewer whole groups, so their ratio stays. 0: the layer has no attention, and no norm before it.
        ffn: width of the feed-forward network; 0: there is none, and no norm before it.
        window: positions that a query sees, itself included; 0 for all before it.
    """

    kind: ClassVar[str] = "decoder_layer"
    fixed: ClassVar[frozenset[str]] = frozenset({"embed", "head_dim", "qkv_bias", "output_bias", "ffn_bias", "qk_norm"})
    # How far a layer sees says nothing of its weights.
    free: ClassVar[frozenset[str]] = frozenset({"tokens", "window"})

    config: str
    embed: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    tokens: int
    window: int
    qkv_bias: bool
    output_bias: bool
    ffn_bias: bool
    qk_norm: bool

    def fits_in(self, other: LayerSpec) -> bool:
        """Whether this layer's weights are a slice of the other's: whole groups of heads."""
        if not isinstance(other, DecoderLayerSpec):
            return False
        # Dropout, which the configuration holds, says nothing about weights.
        if not LayerSpec.fits_in(self.without_dropout(), other.without_dropout()):
            return False
        return self.heads * other.kv_heads == other.heads * self.kv_heads

    def branches(self) -> tuple[str, ...]:
        """Attention and feed-forward network, as far as they are there."""
        return (*["layer.self_attn.o_proj"] * bool(self.heads), *["layer.mlp.down_proj"] * bool(self.ffn))

    def cached_elements(self, tokens: int) -> int:
        """Keys and values of every head, as far back as the window."""
        return 2 * self.kv_heads * self.head_dim * min(tokens, self.window or tokens)

    def without_dropout(self) -> DecoderLayerSpec:
        """The same layer without the dropout of attention that its configuration may have."""
        facts = json.loads(self.config)
        if not facts.get("attention_dropout"):
            return self
        return replace(self, config=json.dumps({**facts, "attention_dropout": 0.0}, sort_keys=True))

    def parts(self) -> dict[str, Part]:
        return (self._attention_parts() if self.heads else {}) | (self._ffn_parts() if self.ffn else {})

    def _attention_parts(self) -> dict[str, Part]:
        tokens, embed = self.tokens, self.embed
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        held = tokens * embed
        parts = {
            "attention_norm": norm_part(embed, bias=False, tokens=tokens),
            "query": linear_part(embed, query, self.qkv_bias, tokens, held),
            "key": linear_part(embed, key, self.qkv_bias, tokens, held + query * tokens),
            "value": linear_part(embed, key, self.qkv_bias, tokens, held + (query + key) * tokens),
        }
        if self.qk_norm:
            parts["query_norm"] = Part(0, self.head_dim, 0, (query + 2 * key) * tokens + held)
            parts["key_norm"] = Part(0, self.head_dim, 0, (query + 2 * key) * tokens + held)
        return parts | {
            "attention": attention_part(self.heads, self.kv_heads, self.head_dim, tokens, held),
            "output": linear_part(query, embed, self.output_bias, tokens, held),
        }

    def _ffn_parts(self) -> dict[str, Part]:
        tokens, embed = self.tokens, self.embed
        held = tokens * embed
        return {
            "ffn_norm": norm_part(embed, bias=False, tokens=tokens),
            "ffn_gate": linear_part(embed, self.ffn, self.ffn_bias, tokens, held),
            "ffn_in": linear_part(embed, self.ffn, self.ffn_bias, tokens, held + self.ffn * tokens),
            "ffn_out": linear_part(self.ffn, embed, self.ffn_bias, tokens, held),
        }


def without_a_half(layers: Iterable[DecoderLayerSpec]) -> str | None:
    """Whether a layer lacks attention or its feed-forward network, as a sentence for refusals; None: none does."""
    for number, layer in enumerate(layers, 1):
        if not layer.heads or not layer.ffn:
            return f"layer {number} of it has no {'feed-forward network' if layer.heads else 'attention'}"
    return None


@dataclass(frozen=True)
class PatchHeadSpec(LayerSpec):
    """Classifier of an image transformer: normalise, pool, linear layer.

    Attributes:
        pool: `class_token`, or `mean` over the patches.
    """

    kind: ClassVar[str] = "patch_head"
    fixed: ClassVar[frozenset[str]] = frozenset({"classes", "eps"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens"})

    embed: int
    classes: int
    tokens: int
    pool: str
    eps: float

    def parts(self) -> dict[str, Part]:
        return {
            "norm": norm_part(self.embed, tokens=self.tokens),
            "classifier": linear_part(self.embed, self.classes),
        }


@dataclass(frozen=True)
class TextHeadSpec(LayerSpec):
    """Classifier of a text encoder: dense layer and tanh on the first token, then a linear layer (BERT).

    Attributes:
        classes: 0 for the pooled vector itself, as a bare encoder gives it.
    """

    kind: ClassVar[str] = "text_head"
    fixed: ClassVar[frozenset[str]] = frozenset({"classes"})
    free: ClassVar[frozenset[str]] = frozenset({"dropout"})
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout"})

    embed: int
    classes: int
    dropout: float

    def parts(self) -> dict[str, Part]:
        parts = {"pooler": linear_part(self.embed, self.embed)}
        if self.classes:
            parts["classifier"] = linear_part(self.embed, self.classes)
        return parts


@dataclass(frozen=True)
class LanguageHeadSpec(LayerSpec):
    """Normalises and predicts the next token at every position (Llama).

    Attributes:
        tied_to: slot of the embedding whose weight this is as well; empty: a weight of its own.
    """

    kind: ClassVar[str] = "language_head"
    fixed: ClassVar[frozenset[str]] = frozenset({"vocab", "eps"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens"})

    embed: int
    vocab: int
    tokens: int
    eps: float
    tied_to: str

    def fits_in(self, other: LayerSpec) -> bool:
        """Whether this layer's weights are a slice of the other's; see `fits_untied`."""
        return fits_untied(self, other)

    def ties(self) -> dict[str, tuple[str, str]]:
        """The output weight is the embedding's, if tied."""
        return {"output.weight": (self.tied_to, "tokens.weight")} if self.tied_to else {}

    def parts(self) -> dict[str, Part]:
        output = linear_part(self.embed, self.vocab, False, self.tokens)
        tied = Part(0, 0, output.macs, output.live)
        return {
            "norm": norm_part(self.embed, bias=False, tokens=self.tokens),
            "output": tied if self.tied_to else output,
        }
