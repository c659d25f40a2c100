"""Layers of the transformers that people bring: one layer whose facts a model type's table gives, and its ends.

What differs from type to type are facts (`LayerForm`), not code: norms and where they stand, biases, gates, positions,
windows, caps. Costs are for one sample of `tokens` positions. Every part is a module or parameter of its block.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
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

Shape = tuple[int, ...]
# Kinds of normalisation that have a shift.
SHIFTED = ("layer",)


@dataclass(frozen=True, slots=True)
class LayerForm:
    """What a layer is besides its sizes.

    Attributes:
        causal: whether a position sees only those before it and itself.
        norm: `layer`, `unbiased` (a layer norm without shift), `rms`, or `rms_plus_one` (its weight counts from 1).
        eps: epsilon of all norms.
        placing: placing of the norms: `before` each half, `after` it and before the shortcut (OLMo 2), `around` (both,
            Gemma 2), or `parallel`: before, and both halves read the layer's input (GPT-NeoX).
        first_norm: whether attention has its norm before; the first layer of ModernBERT has none.
        qk_norm: norm of queries and keys: empty, `head` (over each head) or `all` (over all heads at once, OLMo 2).
        gated: whether the feed-forward network multiplies two projections, one of them activated.
        activation: transformers' word for it.
        rotary: transformers' configuration of rotary positions, as JSON; empty: none.
        grid: side of the grid of patches for which each head has a learned bias (BEiT); 0: none.
        scale: factor of the products of queries and keys.
        softcap: c of `c * tanh(score / c)`; 0: none.
        residual: factor of what each half adds.
        layer_scale: whether it is also multiplied by a learned vector.
        norm_experts: whether the weights of the chosen experts are made to sum to 1.
        inner_norms: whether what attention gives is normalised before its output, and the activated neurons before
            theirs (BEiT-3).
    """

    causal: bool = True
    norm: str = "rms"
    eps: float = 1e-6
    placing: str = "before"
    first_norm: bool = True
    qk_norm: str = ""
    qkv_bias: bool = False
    key_bias: bool = False
    output_bias: bool = False
    ffn_bias: bool = False
    gated: bool = True
    activation: str = "silu"
    rotary: str = ""
    grid: int = 0
    scale: float = 1.0
    softcap: float = 0.0
    residual: float = 1.0
    layer_scale: bool = False
    norm_experts: bool = False
    inner_norms: bool = False

    def written(self) -> str:
        """As JSON, the same for equal forms."""
        facts = asdict(self)
        if not self.inner_norms:  # forms that stood before it are stored without it
            del facts["inner_norms"]
        return json.dumps(facts, sort_keys=True)


@lru_cache(maxsize=4096)
def form_of(written: str) -> LayerForm:
    """The form that was written."""
    return LayerForm(**json.loads(written))


def norm_shapes(name: str, kind: str, features: int) -> dict[str, Shape]:
    """Parameters of a normalisation."""
    shapes: dict[str, Shape] = {f"{name}.weight": (features,)}
    return shapes | {f"{name}.bias": (features,)} if kind in SHIFTED else shapes


@dataclass(frozen=True)
class TransformerLayerSpec(LayerSpec):
    """Attention and a feed-forward network, each with a shortcut, as `form` says.

    Attributes:
        form: `LayerForm.written()`.
        heads, kv_heads: query heads, and key-value heads that groups of them share; their ratio stays.
        ffn: width of the feed-forward network, or of each expert.
        window: positions that a query sees, itself included (causal), or how far it sees to each side; 0: all.
        experts, top_k: feed-forward networks, of which each position uses `top_k`; 0: a single one.
    """

    kind: ClassVar[str] = "transformer_layer"
    fixed: ClassVar[frozenset[str]] = frozenset({"embed", "head_dim", "window"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens", "top_k", "dropout", "attention_dropout"})
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout", "attention_dropout"})

    form: str
    embed: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    tokens: int
    window: int = 0
    experts: int = 0
    top_k: int = 0
    dropout: float = 0.0
    attention_dropout: float = 0.0

    def branches(self) -> tuple[str, ...]:
        """Attention and feed-forward network: what each adds goes through this."""
        return ("dropout",)

    def cached_elements(self, tokens: int) -> int:
        """Keys and values of every head, as far back as the window, of layers that see only what came before."""
        return 2 * self.kv_heads * self.head_dim * min(tokens, self.window or tokens) if self.facts.causal else 0

    @cached_property
    def facts(self) -> LayerForm:
        """Its form."""
        return form_of(self.form)

    def fits_in(self, other: LayerSpec) -> bool:
        """Whether this layer's weights are a slice of the other's: whole groups of heads."""
        if not super().fits_in(other):
            return False
        assert isinstance(other, TransformerLayerSpec)
        return self.heads * other.kv_heads == other.heads * self.kv_heads

    @property
    def norms_across(self) -> frozenset[str]:
        """Fields along which a norm spans: the layer with zeros in place of what is cut off is another network.

        A router shares out a sum of 1 among its experts.
        """
        inner = self.facts.inner_norms
        normed = {"heads", "kv_heads"} if inner or self.facts.qk_norm == "all" else set()
        normed |= {"ffn"} if inner else set()
        return frozenset(normed | ({"experts", "top_k"} if self.experts else set()))

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        f, embed = self.facts, self.embed
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes: dict[str, Shape] = {}
        for name in self._norms():
            shapes |= norm_shapes(name, f.norm, embed)
        if f.qk_norm:
            whole = f.qk_norm == "all"
            shapes |= norm_shapes("query_norm", f.norm, query if whole else self.head_dim)
            shapes |= norm_shapes("key_norm", f.norm, key if whole else self.head_dim)
        if f.inner_norms:
            shapes |= norm_shapes("attention_inner_norm", f.norm, query)
            shapes |= norm_shapes("ffn_inner_norm", f.norm, self.ffn)
        linears = {
            "query": ((query, embed), f.qkv_bias),
            "key": ((key, embed), f.key_bias),
            "value": ((key, embed), f.qkv_bias),
            "output": ((embed, query), f.output_bias),
        }
        for prefix in [f"experts.{e}." for e in range(self.experts)] or [""]:
            linears |= {f"{prefix}ffn_in": ((self.ffn, embed), f.ffn_bias)}
            linears |= {f"{prefix}ffn_gate": ((self.ffn, embed), f.ffn_bias)} if f.gated else {}
            linears |= {f"{prefix}ffn_out": ((embed, self.ffn), f.ffn_bias)}
        if self.experts:
            linears["router"] = ((self.experts, embed), False)
        for name, (shape, biased) in linears.items():
            shapes[f"{name}.weight"] = shape
            if biased:
                shapes[f"{name}.bias"] = shape[:1]
        if f.grid:
            shapes["bias_table"] = (self._distances, self.heads)
        if f.layer_scale:
            shapes |= {"attention_scale": (embed,), "ffn_scale": (embed,)}
        return shapes

    @property
    def _distances(self) -> int:
        return (2 * self.facts.grid - 1) ** 2 + 3

    def _norms(self) -> tuple[str, ...]:
        before = ("attention_norm", "ffn_norm") if self.facts.first_norm else ("ffn_norm",)
        after = ("attention_out_norm", "ffn_out_norm")
        return {"after": after, "around": before + after}.get(self.facts.placing, before)

    def parts(self) -> dict[str, Part]:
        f, tokens, embed = self.facts, self.tokens, self.embed
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        held = tokens * embed

        def normed(name: str) -> dict[str, Part]:
            return {name: norm_part(embed, f.norm in SHIFTED, tokens)} if name in self._norms() else {}

        parts = normed("attention_norm") | {
            "query": linear_part(embed, query, f.qkv_bias, tokens, held),
            "key": linear_part(embed, key, f.key_bias, tokens, held + query * tokens),
            "value": linear_part(embed, key, f.qkv_bias, tokens, held + (query + key) * tokens),
        }
        if f.qk_norm:
            live, shift = (query + 2 * key) * tokens + held, 2 if f.norm in SHIFTED else 1
            widths = (query, key) if f.qk_norm == "all" else (self.head_dim, self.head_dim)
            parts["query_norm"] = Part(0, shift * widths[0], 0, live)
            parts["key_norm"] = Part(0, shift * widths[1], 0, live)
        if f.grid:
            parts["bias_table"] = Part(self._distances * self.heads, 0, 0, self.heads * tokens * tokens + held)
        parts["attention"] = attention_part(self.heads, self.kv_heads, self.head_dim, tokens, held)
        if f.inner_norms:
            parts["attention_inner_norm"] = norm_part(query, f.norm in SHIFTED, tokens, held)
        parts["output"] = linear_part(query, embed, f.output_bias, tokens, held)
        parts |= normed("attention_out_norm")
        if f.layer_scale:
            parts["attention_scale"] = Part(0, embed, 0, 2 * held)
        parts |= normed("ffn_norm") | (self._routed() if self.experts else self._fed()) | normed("ffn_out_norm")
        if f.layer_scale:
            parts["ffn_scale"] = Part(0, embed, 0, 2 * held)
        return parts

    def _fed(self) -> dict[str, Part]:
        f, tokens, held = self.facts, self.tokens, self.tokens * self.embed
        gate = {"ffn_gate": linear_part(self.embed, self.ffn, f.ffn_bias, tokens, held)} if f.gated else {}
        inner = self.ffn * tokens if f.gated else 0
        normed = {"ffn_inner_norm": norm_part(self.ffn, f.norm in SHIFTED, tokens, held)} if f.inner_norms else {}
        return gate | {
            "ffn_in": linear_part(self.embed, self.ffn, f.ffn_bias, tokens, held + inner),
            **normed,
            "ffn_out": linear_part(self.ffn, self.embed, f.ffn_bias, tokens, held),
        }

    def _routed(self) -> dict[str, Part]:
        """A router, which is small and decides, so it stays in full precision, and the experts.

        All experts together work `top_k` times for every position; which does how often, only data tell.
        """
        f, tokens, embed, held = self.facts, self.tokens, self.embed, self.tokens * self.embed
        weights = embed * self.experts
        parts = {"router": Part(weights, 0, weights * tokens, (embed + self.experts) * tokens + held)}
        uses = [tokens * self.top_k * (e + 1) // self.experts for e in range(self.experts)]
        for e in range(self.experts):
            share = uses[e] - (uses[e - 1] if e else 0)
            if f.gated:
                parts[f"expert{e}_gate"] = linear_part(embed, self.ffn, f.ffn_bias, share, held)
            parts[f"expert{e}_in"] = linear_part(embed, self.ffn, f.ffn_bias, share, held + self.ffn * share)
            parts[f"expert{e}_out"] = linear_part(self.ffn, embed, f.ffn_bias, share, held)
        return parts


@dataclass(frozen=True)
class WordEmbeddingSpec(LayerSpec):
    """Tokens, and perhaps positions and segments, summed, perhaps normalised and widened.

    Attributes:
        width: width of the tables; where it is not `embed`, a linear layer follows (ELECTRA).
        positions: learned ones; 0: none.
        pad: token whose place is not counted, behind which positions begin (RoBERTa); -1: positions count from 0.
        segments: segment ids, of which single texts use the first; 0: none.
        norm: as in `LayerForm`; empty: none.
        scale: factor of the tokens (Gemma).
    """

    kind: ClassVar[str] = "word_embedding"
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout"})
    fixed: ClassVar[frozenset[str]] = frozenset(
        {"vocab", "embed", "width", "positions", "pad", "segments", "eps", "scale"}
    )
    free: ClassVar[frozenset[str]] = frozenset({"tokens", "dropout"})

    vocab: int
    embed: int
    width: int
    positions: int
    pad: int
    segments: int
    norm: str
    eps: float
    scale: float
    tokens: int
    dropout: float

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        rows = {"tokens": self.vocab, "positions": self.positions, "segments": self.segments}
        shapes: dict[str, Shape] = {f"{name}.weight": (number, self.width) for name, number in rows.items() if number}
        if self.norm:
            shapes |= norm_shapes("norm", self.norm, self.width)
        if self.width != self.embed:
            shapes |= {"projection.weight": (self.embed, self.width), "projection.bias": (self.embed,)}
        return shapes

    def parts(self) -> dict[str, Part]:
        live = 2 * self.tokens * self.width
        rows = {"tokens": self.vocab, "positions": self.positions, "segments": self.segments}
        parts = {name: Part(number * self.width, 0, 0, live) for name, number in rows.items() if number}
        parts["tokens"] = embedding_part(self.vocab, self.width, live)
        if self.norm:
            parts["norm"] = norm_part(self.width, self.norm in SHIFTED, self.tokens)
        if self.width != self.embed:
            parts["projection"] = linear_part(self.width, self.embed, tokens=self.tokens)
        return parts


@dataclass(frozen=True)
class VocabularyHeadSpec(LayerSpec):
    """Normalises and predicts the next token at every position.

    Attributes:
        divisor: divisor of the logits.
        softcap: c of `c * tanh(logit / c)`; 0: none.
        tied_to: slot of the embedding whose weight this is as well; empty: a weight of its own.
    """

    kind: ClassVar[str] = "vocabulary_head"
    fixed: ClassVar[frozenset[str]] = frozenset({"embed", "vocab", "eps", "bias", "divisor", "softcap"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens"})

    embed: int
    vocab: int
    tokens: int
    norm: str
    eps: float
    bias: bool
    divisor: float
    softcap: float
    tied_to: str

    def fits_in(self, other: LayerSpec) -> bool:
        """Whether this layer's weights are a slice of the other's; see `fits_untied`."""
        return fits_untied(self, other)

    def ties(self) -> dict[str, tuple[str, str]]:
        """The output weight is the embedding's, if tied."""
        return {"output.weight": (self.tied_to, "tokens.weight")} if self.tied_to else {}

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block that are its own."""
        shapes = norm_shapes("norm", self.norm, self.embed)
        if not self.tied_to:
            shapes["output.weight"] = (self.vocab, self.embed)
        return shapes | {"output.bias": (self.vocab,)} if self.bias else shapes

    def parts(self) -> dict[str, Part]:
        output = linear_part(self.embed, self.vocab, self.bias, self.tokens)
        tied = Part(0, output.extras, output.macs, output.live)
        return {
            "norm": norm_part(self.embed, self.norm in SHIFTED, self.tokens),
            "output": tied if self.tied_to else output,
        }


@dataclass(frozen=True)
class PooledHeadSpec(LayerSpec):
    """Makes one vector of a text, and perhaps classifies it.

    Attributes:
        classes: 0 for the vector itself.
        pool: `first` token, `mean` or `max` over the tokens, or `last` token.
        first_norm: before pooling, as in `LayerForm`; empty: none.
        dense: whether a linear layer and an activation follow.
        dense_norm: after those; empty: none.
        unit: whether the vector is divided by its length.
    """

    kind: ClassVar[str] = "pooled_head"
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout"})
    fixed: ClassVar[frozenset[str]] = frozenset({"embed", "classes", "dense", "dense_bias", "eps", "unit"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens", "dropout"})

    embed: int
    classes: int
    tokens: int
    pool: str
    first_norm: str
    dense: bool
    dense_bias: bool
    activation: str
    dense_norm: str
    eps: float
    unit: bool
    dropout: float

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        embed = self.embed
        shapes: dict[str, Shape] = {}
        if self.first_norm:
            shapes |= norm_shapes("first_norm", self.first_norm, embed)
        if self.dense:
            shapes["dense.weight"] = (embed, embed)
        if self.dense and self.dense_bias:
            shapes["dense.bias"] = (embed,)
        if self.dense_norm:
            shapes |= norm_shapes("dense_norm", self.dense_norm, embed)
        if self.classes:
            shapes |= {"classifier.weight": (self.classes, embed), "classifier.bias": (self.classes,)}
        return shapes

    def parts(self) -> dict[str, Part]:
        parts: dict[str, Part] = {}
        if self.first_norm:
            parts["first_norm"] = norm_part(self.embed, self.first_norm in SHIFTED, self.tokens)
        if self.dense:
            parts["dense"] = linear_part(self.embed, self.embed, self.dense_bias)
        if self.dense_norm:
            parts["dense_norm"] = norm_part(self.embed, self.dense_norm in SHIFTED)
        if self.classes:
            parts["classifier"] = linear_part(self.embed, self.classes)
        return parts


@dataclass(frozen=True)
class ImageEmbeddingSpec(LayerSpec):
    """Patches of an image with tokens before them, and perhaps learned positions.

    Attributes:
        extra: tokens behind the class token: DeiT's for distillation, DINOv2's registers.
        placed: what has a position: empty (nothing), `patches` (they and the class token), or `all`.
        mask_token: whether there is one, for pretraining; it is kept and takes no part.
    """

    kind: ClassVar[str] = "image_embedding"
    dropouts: ClassVar[frozenset[str]] = frozenset({"dropout"})
    fixed: ClassVar[frozenset[str]] = frozenset({"channels", "embed", "patch", "size", "extra", "mask_token"})
    free: ClassVar[frozenset[str]] = frozenset({"dropout"})

    channels: int
    embed: int
    patch: int
    size: int
    extra: int
    placed: str
    mask_token: bool
    dropout: float

    @property
    def tokens(self) -> int:
        """Positions, those of all tokens included."""
        return (self.size // self.patch) ** 2 + 1 + self.extra

    @property
    def placed_tokens(self) -> int:
        """Tokens that have a position."""
        return {"": 0, "patches": self.tokens - self.extra, "all": self.tokens}[self.placed]

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        embed = self.embed
        shapes: dict[str, Shape] = {
            "patches.weight": (embed, self.channels, self.patch, self.patch),
            "patches.bias": (embed,),
            "class_token": (embed,),
        }
        rows = {"extra_tokens": self.extra, "positions": self.placed_tokens, "mask_token": int(self.mask_token)}
        return shapes | {name: (number, embed) for name, number in rows.items() if number}

    def parts(self) -> dict[str, Part]:
        grid, live = self.size // self.patch, 2 * self.tokens * self.embed
        parts = {
            "patches": conv_part(self.channels, self.embed, self.patch, self.size, grid, bias=True, norm=False),
            "class_token": Part(self.embed, 0, 0, live),
        }
        rows = {"extra_tokens": self.extra, "positions": self.placed_tokens, "mask_token": int(self.mask_token)}
        return parts | {name: Part(number * self.embed, 0, 0, live) for name, number in rows.items() if number}


@dataclass(frozen=True)
class ImageHeadSpec(LayerSpec):
    """Makes one vector of an image, and perhaps classifies it.

    Attributes:
        classes: 0 for the vector itself.
        tokens: positions of the image, others included.
        extra: tokens before the patches, the class token not among them.
        pool: `class_token`, `mean` of the patches, `both` side by side, or `two`: the mean of what two classifiers make
            of the first two tokens (DeiT).
        norm_first: whether the norm stands before the pooling, or after it.
    """

    kind: ClassVar[str] = "image_head"
    fixed: ClassVar[frozenset[str]] = frozenset({"embed", "classes", "extra", "norm_first", "eps"})
    free: ClassVar[frozenset[str]] = frozenset({"tokens"})

    embed: int
    classes: int
    tokens: int
    extra: int
    pool: str
    norm_first: bool
    eps: float

    @property
    def features(self) -> int:
        """Numbers that the classifier reads."""
        return 2 * self.embed if self.pool == "both" else self.embed

    def _classifiers(self) -> tuple[str, ...]:
        if not self.classes:
            return ()
        return ("classifier", "second") if self.pool == "two" else ("classifier",)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Parameters of its block."""
        shapes = norm_shapes("norm", "layer", self.embed)
        for name in self._classifiers():
            shapes |= {f"{name}.weight": (self.classes, self.features), f"{name}.bias": (self.classes,)}
        return shapes

    def parts(self) -> dict[str, Part]:
        parts = {"norm": norm_part(self.embed, tokens=self.tokens if self.norm_first else 1)}
        return parts | {name: linear_part(self.features, self.classes) for name in self._classifiers()}
