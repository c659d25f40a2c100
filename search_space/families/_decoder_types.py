"""Decoders of language by model type: facts and names. To add one is to add a row.

What transformers 5.24 computes for each configuration is computed here; what is not computed is refused by the name of
its key. Types of `llama.py` have rows of their own there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from search_space.checkpoint import CheckpointError, ConfigReader
from search_space.config_reader import check_rotary
from search_space.families._names import Names, Table
from search_space.families._network import FullNetwork, written
from search_space.families._written import of_checkpoint
from search_space.layers import LayerForm, LayerSpec, TransformerLayerSpec, VocabularyHeadSpec, WordEmbeddingSpec
from search_space.spellings import LEGACY, Spelling

# What transformers has a class for (`ACT2FN`), but for those that take arguments of their own.
ACTIVATIONS = (
    "gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh", "gelu_pytorch_tanh",
    "hardswish", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu",
    "sqrtsoftplus", "swish", "tanh",
)  # fmt: skip

FULL, SLIDING = "full_attention", "sliding_attention"
# Keys of a configuration that decide rotary positions, whatever the type.
ROTARY_KEYS = (
    "model_type",
    "hidden_size",
    "head_dim",
    "num_attention_heads",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "rope_local_base_freq",
    "rotary_pct",
    "rotary_emb_base",
    "global_rope_theta",
    "local_rope_theta",
)

# --- names on the disk -----------------------------------------------------------------------------------

_ATTENTION: Table = {
    "self_attn.q_proj": ("query",),
    "self_attn.k_proj": ("key",),
    "self_attn.v_proj": ("value",),
    "self_attn.o_proj": ("output",),
    "self_attn.q_norm": ("query_norm",),
    "self_attn.k_norm": ("key_norm",),
}
_GATED: Table = {"mlp.gate_proj": ("ffn_gate",), "mlp.up_proj": ("ffn_in",), "mlp.down_proj": ("ffn_out",)}
_BEFORE: Table = {"input_layernorm": ("attention_norm",), "post_attention_layernorm": ("ffn_norm",)}
_AROUND: Table = {
    "input_layernorm": ("attention_norm",),
    "post_attention_layernorm": ("attention_out_norm",),
    "pre_feedforward_layernorm": ("ffn_norm",),
    "post_feedforward_layernorm": ("ffn_out_norm",),
}
_AFTER: Table = {
    "post_attention_layernorm": ("attention_out_norm",),
    "post_feedforward_layernorm": ("ffn_out_norm",),
}


def _named(parts: Table) -> Names:
    """As Llama's, which most have."""
    return Names(
        layer="layers.{i}.",
        embedding={"embed_tokens": ("tokens",)},
        parts=parts,
        head={"norm": ("norm",), "lm_head": ("output",)},
        beside=frozenset({"output"}),
    )


@dataclass(frozen=True, slots=True)
class Experts:
    """How a type keeps its experts.

    Attributes:
        module: on the disk, with `{e}` for the expert's number.
        words: its gate, input and output matrices.
        router: module that chooses.
        count, ffn: keys of their number (the first that a file has) and their width.
        summed: key that says whether the weights of those chosen sum to 1; empty: they do.
    """

    module: str
    words: tuple[str, str, str]
    router: str
    count: tuple[str, ...]
    ffn: str
    summed: str = ""

    def rows(self, count: int) -> Table:
        """The table's rows of so many experts."""
        own = ("ffn_gate", "ffn_in", "ffn_out")
        rows = {
            f"{self.module.format(e=e)}.{word}": (f"experts.{e}.{name}",)
            for e in range(count)
            for word, name in zip(self.words, own, strict=True)
        }
        return {**rows, self.router: ("router",)}


# --- facts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DecoderType:
    """What a model type is.

    Attributes:
        task: its class that continues text.
        names, base: names of its tensors; prefix of the base model.
        form: facts of its layers that no configuration changes.
        keys: our word -> the configuration's, where they differ.
        defaults: what transformers takes for a key that a file leaves out; a type's own numbers.
        tied: whether the head is the embedding unless the file says otherwise.
        biased: keys that give biases to: queries, keys and values; the output; the feed-forward network. Words
            `always` and empty (never) are none.
        positions: `rotary`, `learned`, or `rotary by type` (each type of layer has its own frequencies).
        partial: share of a head that is turned; None: all, and no other share is supported.
        scaled: whether tokens are multiplied by the square root of the width.
        windows: per layer, positions that a query sees; 0: all.
        experts: where its layers have several feed-forward networks.
        refused: key -> (values that mean nothing, what the others would do).
        ignored: keys of its files that transformers does not read.
        droppable: patterns of tensors that may be there and are not used.
        listed: keys with one value a layer -> what a layer's is, where the file must say it.
        renames: transformers' own rules for its names.
    """

    task: str
    names: Names
    base: str = "model."
    form: LayerForm = field(default_factory=LayerForm)
    keys: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    tied: bool = False
    biased: tuple[str, str, str] = ("attention_bias", "attention_bias", "")
    positions: str = "rotary"
    partial: float | None = None
    scaled: bool = False
    windows: Callable[[ConfigReader, int], list[int]] = lambda reader, layers: [0] * layers
    experts: Experts | None = None
    refused: Mapping[str, tuple[tuple[Any, ...], str]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    droppable: tuple[str, ...] = ("*rotary_emb.inv_freq",)
    listed: Mapping[str, Callable[[TransformerLayerSpec], Any]] = field(default_factory=dict)
    renames: tuple[tuple[str, str], ...] = LEGACY


def layer_type(layer: TransformerLayerSpec) -> str:
    """transformers' word for what a layer sees."""
    said = json.loads(layer.facts.rotary or "{}").get("layer_type")
    return said or (SLIDING if layer.window else FULL)


_BY_TYPE = {"layer_types": layer_type}
_BIDIRECTIONAL = {"use_bidirectional_attention": ((False,), "each token would see those behind it")}


def _layer_types(reader: ConfigReader, layers: int, default: Callable[[int], bool]) -> list[str]:
    """Type of each layer; `default` says which slide where the file does not."""
    given = reader.value("layer_types")
    if given is None:
        return [SLIDING if default(i) else FULL for i in range(layers)]
    if not isinstance(given, list) or len(given) != layers or not set(given) <= {FULL, SLIDING}:
        raise CheckpointError(
            f"config.json must give 'layer_types' for each of its {layers} layers, each {FULL} or {SLIDING}; got "
            f"{given!r}."
        )
    return given


def _pattern(default: int) -> Callable[[ConfigReader, int], list[int]]:
    """Each n-th layer sees everything, the others slide (Gemma 2: 2, Gemma 3: 6)."""

    def windows(reader: ConfigReader, layers: int) -> list[int]:
        every = reader.whole("sliding_window_pattern", default) if default != 2 else default
        reader.read.add("_sliding_window_pattern")  # what transformers writes beside the types of layers
        types = _layer_types(reader, layers, lambda i: bool((i + 1) % every))
        window = reader.whole("sliding_window", 4096) if SLIDING in types else 0
        reader.read.add("sliding_window")
        return [window if kind == SLIDING else 0 for kind in types]

    return windows


def _one_window(switch: str = "", default: int = 0) -> Callable[[ConfigReader, int], list[int]]:
    """All layers slide if there is a window, and a switch for it is on."""

    def windows(reader: ConfigReader, layers: int) -> list[int]:
        given = reader.value("sliding_window")
        on = reader.switch(switch, False) if switch else given is not None
        return [reader.whole("sliding_window", default or None) if on else 0] * layers

    return windows


def _smollm3_windows(reader: ConfigReader, layers: int) -> list[int]:
    window = reader.value("sliding_window")
    used = reader.switch("use_sliding_window", False) and window is not None
    turned = smollm3_turned(reader, layers)
    types = _layer_types(reader, layers, lambda i: used and not turned[i])
    return [reader.whole("sliding_window") if used and kind == SLIDING else 0 for kind in types]


def smollm3_turned(reader: ConfigReader, layers: int) -> list[bool]:
    """Which layers have rotary positions (SmolLM 3 leaves every fourth without any)."""
    given = reader.value("no_rope_layers")
    every = reader.whole("no_rope_layer_interval", 4)
    if given is None:
        return [(i + 1) % every != 0 for i in range(layers)]
    if not isinstance(given, list) or len(given) < layers or not set(given) <= {0, 1}:
        raise CheckpointError(f"config.json must give 'no_rope_layers' as {layers} zeros and ones; got {given!r}.")
    return [bool(one) for one in given[:layers]]


_GEMMA = LayerForm(norm="rms_plus_one", activation="gelu_pytorch_tanh")
_GEMMA_NUMBERS = {"num_key_value_heads": 4, "head_dim": 256, "num_attention_heads": 8, "max_position_embeddings": 8192}

TYPES: dict[str, DecoderType] = {
    "gemma": DecoderType(
        task="GemmaForCausalLM",
        names=_named({**_ATTENTION, **_GATED, **_BEFORE}),
        form=_GEMMA,
        defaults={"num_key_value_heads": 16, "head_dim": 256, "max_position_embeddings": 8192},
        tied=True,
        scaled=True,
        ignored=("hidden_activation",),
        refused=_BIDIRECTIONAL,
    ),
    "gemma2": DecoderType(
        task="Gemma2ForCausalLM",
        names=_named({**_ATTENTION, **_GATED, **_AROUND}),
        form=LayerForm(norm="rms_plus_one", activation="gelu_pytorch_tanh", placing="around"),
        keys={"hidden_act": "hidden_activation"},
        defaults={**_GEMMA_NUMBERS, "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0,
                  "final_logit_softcapping": 30.0},
        tied=True,
        scaled=True,
        windows=_pattern(2),
        listed=_BY_TYPE,
        ignored=("hidden_act",),
        refused=_BIDIRECTIONAL,
    ),
    "gemma3_text": DecoderType(
        task="Gemma3ForCausalLM",
        names=_named({**_ATTENTION, **_GATED, **_AROUND}),
        form=LayerForm(norm="rms_plus_one", activation="gelu_pytorch_tanh", placing="around", qk_norm="head"),
        keys={"hidden_act": "hidden_activation"},
        defaults={**_GEMMA_NUMBERS, "max_position_embeddings": 131072, "query_pre_attn_scalar": 256},
        tied=True,
        positions="rotary by type",
        scaled=True,
        windows=_pattern(6),
        listed=_BY_TYPE,
        ignored=("hidden_act",),
        # transformers' attention of Gemma 3 takes no cap, whatever the file says; weights trained with one need it.
        refused={**_BIDIRECTIONAL, "attn_logit_softcapping": ((), "scores of attention would be capped")},
    ),
    "phi3": DecoderType(
        task="Phi3ForCausalLM",
        names=_named({
            "self_attn.qkv_proj": ("query", "key", "value"), "self_attn.o_proj": ("output",),
            "mlp.gate_up_proj": ("ffn_gate", "ffn_in"), "mlp.down_proj": ("ffn_out",), **_BEFORE,
        }),
        keys={"dropout": "resid_pdrop", "embedding_dropout": "embd_pdrop"},
        defaults={"rms_norm_eps": 1e-5, "max_position_embeddings": 4096},
        biased=("", "", ""),
        partial=1.0,
        windows=_one_window(),
        refused={"attention_bias": ((False,), "projections would have biases")},
    ),
    "smollm3": DecoderType(
        task="SmolLM3ForCausalLM",
        names=_named({**_ATTENTION, **_GATED, **_BEFORE}),
        defaults={"num_key_value_heads": 4, "max_position_embeddings": 32768},
        tied=True,
        biased=("attention_bias", "attention_bias", "mlp_bias"),
        windows=_smollm3_windows,
        listed={**_BY_TYPE, "no_rope_layers": lambda layer: int(bool(layer.facts.rotary))},
    ),
    "olmo2": DecoderType(
        task="Olmo2ForCausalLM",
        names=_named({**_ATTENTION, **_GATED, **_AFTER}),
        form=LayerForm(placing="after", qk_norm="all"),
        defaults={"rms_norm_eps": 1e-5, "max_position_embeddings": 2048},
    ),
    "granite": DecoderType(
        task="GraniteForCausalLM",
        names=_named({**_ATTENTION, **_GATED, **_BEFORE}),
        defaults={"max_position_embeddings": 2048, "attention_multiplier": 1.0},
        biased=("attention_bias", "attention_bias", "mlp_bias"),
    ),
    "gpt2": DecoderType(
        task="GPT2LMHeadModel",
        names=Names(
            layer="h.{i}.",
            embedding={"wte": ("tokens",), "wpe": ("positions",)},
            parts={
                "ln_1": ("attention_norm",), "attn.c_attn": ("query", "key", "value"), "attn.c_proj": ("output",),
                "ln_2": ("ffn_norm",), "mlp.c_fc": ("ffn_in",), "mlp.c_proj": ("ffn_out",),
            },
            head={"ln_f": ("norm",), "lm_head": ("output",)},
            transposed=True,
            beside=frozenset({"output"}),
        ),
        base="transformer.",
        form=LayerForm(norm="layer", gated=False, activation="gelu_new"),
        keys={"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head",
              "intermediate_size": "n_inner", "max_position_embeddings": "n_positions",
              "hidden_act": "activation_function", "rms_norm_eps": "layer_norm_epsilon", "dropout": "resid_pdrop",
              "embedding_dropout": "embd_pdrop", "attention_dropout": "attn_pdrop"},
        defaults={"vocab_size": 50257, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
                  "rms_norm_eps": 1e-5, "max_position_embeddings": 1024, "dropout": 0.1, "embedding_dropout": 0.1,
                  "attention_dropout": 0.1},
        tied=True,
        biased=("always", "always", "always"),
        positions="learned",
        refused={"add_cross_attention": ((False,), "layers would read another network's output")},
        ignored=("reorder_and_upcast_attn",),  # the same numbers in another order
        droppable=("*.attn.bias", "*.attn.masked_bias"),
    ),
    "gpt_neox": DecoderType(
        task="GPTNeoXForCausalLM",
        names=Names(
            layer="layers.{i}.",
            embedding={"embed_in": ("tokens",)},
            parts={
                "input_layernorm": ("attention_norm",), "attention.query_key_value": ("query", "key", "value"),
                "attention.dense": ("output",), "post_attention_layernorm": ("ffn_norm",),
                "mlp.dense_h_to_4h": ("ffn_in",), "mlp.dense_4h_to_h": ("ffn_out",),
            },
            head={"final_layer_norm": ("norm",), "embed_out": ("output",)},
            beside=frozenset({"output"}),
            by_head=frozenset({"attention.query_key_value"}),
        ),
        base="gpt_neox.",
        form=LayerForm(norm="layer", gated=False, activation="gelu"),
        keys={"rms_norm_eps": "layer_norm_eps", "dropout": "hidden_dropout", "embedding_dropout": "hidden_dropout"},
        defaults={"vocab_size": 50432, "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64,
                  "intermediate_size": 24576, "rms_norm_eps": 1e-5, "max_position_embeddings": 2048,
                  "attention_bias": True},
        biased=("attention_bias", "attention_bias", "always"),
        partial=0.25,
        droppable=("*rotary_emb.inv_freq", "*.attention.bias", "*.attention.masked_bias"),
        renames=(*LEGACY, (r"^embed_out\.", "lm_head.")),
    ),
    "mixtral": DecoderType(
        task="MixtralForCausalLM",
        names=_named({**_ATTENTION, **_BEFORE}),
        form=LayerForm(norm_experts=True),
        defaults={"num_key_value_heads": 8, "rms_norm_eps": 1e-5, "max_position_embeddings": 131072,
                  "num_local_experts": 8, "num_experts_per_tok": 2},
        biased=("", "", ""),
        windows=_one_window(),
        experts=Experts("block_sparse_moe.experts.{e}", ("w1", "w3", "w2"), "block_sparse_moe.gate",
                        ("num_local_experts", "num_experts"), "intermediate_size"),
        renames=(*LEGACY, (r"\.block_sparse_moe\.", ".mlp.")),
    ),
    "qwen3_moe": DecoderType(
        task="Qwen3MoeForCausalLM",
        names=_named({**_ATTENTION, **_GATED, **_BEFORE}),
        form=LayerForm(qk_norm="head"),
        defaults={"num_key_value_heads": 4, "max_position_embeddings": 32768, "num_local_experts": 128,
                  "moe_intermediate_size": 768, "num_experts_per_tok": 8},
        windows=_one_window("use_sliding_window", 4096),
        experts=Experts("mlp.experts.{e}", ("gate_proj", "up_proj", "down_proj"), "mlp.gate",
                        ("num_local_experts", "num_experts"), "moe_intermediate_size",
                        "norm_topk_prob"),
    ),
}  # fmt: skip


# --- reading ---------------------------------------------------------------------------------------------


class _Decoder:
    """Reads a configuration with the words of its type."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.reader = ConfigReader(config, tuple(TYPES))
        self.type = TYPES[self.reader.model_type]
        self.reader.task((self.type.task,))
        self.embed, self.count = self.whole("hidden_size"), self.whole("num_hidden_layers")
        self.heads = self.whole("num_attention_heads")
        self.kv_heads = self.whole("num_key_value_heads", self.heads)
        if self.heads % self.kv_heads:
            raise CheckpointError(
                f"config.json has {self.heads} query heads for {self.kv_heads} key-value heads: not a multiple."
            )
        own = self.type.positions != "learned" and self.reader.model_type != "gpt_neox"
        # Whether heads have a width of their own, and whether their number must divide the network's all the same.
        self.own_width, self.divides = own, not own or self.reader.model_type in ("gemma2", "gemma3_text")
        divided = config.get("head_dim") is None and "head_dim" not in self.type.defaults
        if (divided or self.divides) and self.embed % self.heads:
            raise CheckpointError(
                f"config.json has a hidden size of {self.embed} for {self.heads} heads: not a multiple."
            )
        self.head_dim = self.whole("head_dim", self.embed // self.heads) if own else self.embed // self.heads
        if not own:
            self.reader.only("head_dim", (self.head_dim,), "heads would not share the width among them")
        self.eps = self.ratio("rms_norm_eps", 1e-6)

    def key(self, word: str) -> str:
        """The configuration's key for a word of ours."""
        return self.type.keys.get(word, word)

    def whole(self, word: str, default: int | None = None) -> int:
        """A whole number, or the type's own."""
        return self.reader.whole(self.key(word), self.type.defaults.get(word, default))

    def ratio(self, word: str, default: float, most: float = math.inf) -> float:
        """A number of at least 0, or the type's own."""
        return self.reader.ratio(self.key(word), self.type.defaults.get(word, default), most)

    def biased(self, which: int) -> bool:
        """Whether projections have biases: those of queries, keys and values; the output; the feed-forward network."""
        key = self.type.biased[which]
        return key == "always" or (bool(key) and self.reader.switch(key, bool(self.type.defaults.get(key, False))))

    # --- layers ---------------------------------------------------------------------------------

    def layers(self) -> tuple[TransformerLayerSpec, ...]:
        """All layers at full size."""
        windows = self.type.windows(self.reader, self.count)
        typed = self.type.positions == "rotary by type"
        kinds = self.reader.value("layer_types") or [SLIDING if window else FULL for window in windows]
        turns = smollm3_turned(self.reader, self.count) if self.reader.model_type == "smollm3" else [True] * self.count
        sparse = self._sparse()
        form = self._form()
        dropout = self.ratio("dropout", 0.0, 1) if "dropout" in self.type.keys else 0.0
        attention_dropout = self.ratio("attention_dropout", 0.0, 1)
        made = []
        for i in range(self.count):
            rotary = self._rotary(kinds[i] if typed else "") if turns[i] and self.type.positions != "learned" else ""
            scale = form.scale / (i + 1) if self._by_number() else form.scale
            own = replace(form, rotary=rotary, scale=scale)
            layer = self._layer(own, windows[i], sparse[i])
            made.append(replace(layer, dropout=dropout, attention_dropout=attention_dropout))
        return tuple(made)

    def _layer(self, form: LayerForm, window: int, sparse: bool) -> TransformerLayerSpec:
        experts = self.type.experts
        sizes = (self.embed, self.heads, self.kv_heads, self.head_dim)
        if experts is None or not sparse:
            ffn = self.whole("intermediate_size", 4 * self.embed if self.reader.model_type == "gpt2" else None)
            return TransformerLayerSpec(form.written(), *sizes, ffn, 1, window)
        count, used = self.whole(self._expert_key() or experts.count[0]), self.whole("num_experts_per_tok")
        if used > count:
            raise CheckpointError(f"config.json has {count} experts, of which each token would use {used}.")
        ffn = self.whole(experts.ffn)
        return TransformerLayerSpec(form.written(), *sizes, ffn, 1, window, count, used)

    def _sparse(self) -> list[bool]:
        """Which layers have experts."""
        if self.type.experts is None:
            return [False] * self.count
        every = self.reader.whole("decoder_sparse_step", 1)
        dense = self.reader.value("mlp_only_layers", [])
        if not isinstance(dense, list) or not all(isinstance(i, int) and 0 <= i < self.count for i in dense):
            raise CheckpointError(f"config.json must give 'mlp_only_layers' as numbers of layers; got {dense!r}.")
        if self._expert_key() and self.reader.config[self._expert_key()] == 0:
            return [False] * self.count
        return [i not in dense and (i + 1) % every == 0 for i in range(self.count)]

    def _expert_key(self) -> str:
        """The key with the number of experts that the file has; empty: none."""
        experts = self.type.experts
        known = experts.count if experts else ()
        if experts:
            self.reader.read.update((*known, experts.ffn, experts.summed, "num_experts_per_tok"))
        return next((key for key in known if self.reader.config.get(key) is not None), "")

    def _by_number(self) -> bool:
        return self.reader.model_type == "gpt2" and self.reader.switch("scale_attn_by_inverse_layer_idx", False)

    def _form(self) -> LayerForm:
        """What all layers have."""
        kind, reader, form = self.reader.model_type, self.reader, self.type.form
        parallel = kind == "gpt_neox" and reader.switch("use_parallel_residual", True)
        experts = self.type.experts
        summed = experts is not None and bool(experts.summed) and reader.switch(experts.summed, False)
        activation = reader.one_of(self.key("hidden_act"), {name: name for name in ACTIVATIONS}, form.activation)
        if kind == "gemma" and activation == "gelu":
            activation = "gelu_pytorch_tanh"  # as transformers reads its old files
        qkv = self.biased(0)
        return replace(
            form,
            eps=self.eps,
            placing="parallel" if parallel else form.placing,
            qkv_bias=qkv,
            key_bias=qkv,
            output_bias=self.biased(1),
            ffn_bias=self.biased(2),
            activation=activation,
            scale=self._scale(),
            softcap=self._cap("attn_logit_softcapping") if "attn_logit_softcapping" in self.type.defaults else 0.0,
            residual=reader.ratio("residual_multiplier", 1.0) if kind == "granite" else 1.0,
            norm_experts=form.norm_experts or summed,
        )

    def _scale(self) -> float:
        """Factor of the scores of attention."""
        if "query_pre_attn_scalar" in self.type.defaults:
            return float(self.whole("query_pre_attn_scalar") ** -0.5)
        if "attention_multiplier" in self.type.defaults:
            return self.ratio("attention_multiplier", 1.0)
        if self.reader.model_type == "gpt2" and not self.reader.switch("scale_attn_weights", True):
            return 1.0
        return float(self.head_dim**-0.5)

    def _cap(self, key: str) -> float:
        """The cap that the file or its type gives; 0: none. A null in the file is none."""
        self.reader.read.add(key)
        if key in self.reader.config and self.reader.config[key] is None:
            return 0.0
        return self.ratio(key, 0.0)

    def _rotary(self, layer_type: str) -> str:
        """What transformers' class of rotary positions needs, as JSON."""
        config = self.reader.config
        kept = {key: config[key] for key in ROTARY_KEYS if config.get(key) is not None}
        self.reader.read.update(ROTARY_KEYS)
        kept |= {"num_attention_heads": self.heads, "hidden_size": self.embed}
        if not layer_type:
            self._check_rotary(config)
            return json.dumps(kept, sort_keys=True)
        given = config.get("rope_parameters")
        for one in given.values() if isinstance(given, Mapping) else ():
            self._check_rotary({**config, "rope_parameters": one, "rope_scaling": None})
        # One layer of the type is enough to know its frequencies.
        kept |= {"layer_types": [layer_type], "num_hidden_layers": 1, "layer_type": layer_type}
        return json.dumps(kept, sort_keys=True)

    def _check_rotary(self, config: Mapping[str, Any]) -> None:
        share = self.type.partial
        if share is not None:
            own = config.get("rotary_pct")
            share = share if own is None else own
            config = self._named_as_ours(config)
        check_rotary(config, self.head_dim, share)

    def _named_as_ours(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Phi 3's old words for kinds of scaling, as its configuration class takes them."""
        given = config.get("rope_scaling") or config.get("rope_parameters")
        if self.reader.model_type != "phi3" or not isinstance(given, Mapping):
            return config
        kind = given.get("rope_type", given.get("type"))
        if kind not in ("su", "yarn"):
            return config
        return {**config, "rope_parameters": {**given, "rope_type": "longrope"}, "rope_scaling": None}

    # --- the ends -------------------------------------------------------------------------------

    def network(self) -> FullNetwork:
        """The whole network."""
        t, reader = self.type, self.reader
        layers = self.layers()
        tied = reader.switch("tie_word_embeddings", t.tied)
        vocab, longest = self.whole("vocab_size"), self.whole("max_position_embeddings")
        scale = self.embed**0.5 if t.scaled else 1.0
        if reader.model_type == "granite":
            scale = reader.ratio("embedding_multiplier", 1.0)
        capped = "final_logit_softcapping" in t.defaults or reader.model_type == "gemma3_text"
        embedding = WordEmbeddingSpec(
            vocab=vocab,
            embed=self.embed,
            width=self.embed,
            positions=longest if t.positions == "learned" else 0,
            pad=-1,
            segments=0,
            norm="",
            eps=0.0,
            scale=scale,
            tokens=1,
            dropout=self.ratio("embedding_dropout", 0.0, 1) if "embedding_dropout" in t.keys else 0.0,
        )
        head = VocabularyHeadSpec(
            embed=self.embed,
            vocab=vocab,
            tokens=1,
            norm=t.form.norm,
            eps=self.eps,
            bias=False,
            divisor=reader.ratio("logits_scaling", 1.0) if reader.model_type == "granite" else 1.0,
            softcap=self._cap("final_logit_softcapping") if capped else 0.0,
            tied_to="embedding" if tied else "",
        )
        for key, (neutral, reason) in t.refused.items():
            reader.only(key, neutral, reason)
        reader.read.update(t.ignored)
        reader.refuse_unread()
        return FullNetwork(
            embedding,
            layers,
            head,
            longest,
            self._names(layers),
            t.base,
            droppable=(*t.droppable, *self._tied_head(tied)),
            spelling=Spelling(t.base.removesuffix("."), t.renames),
            stand_ins=self._stand_ins(tied),
        )

    def _names(self, layers: tuple[TransformerLayerSpec, ...]) -> Names:
        most = max(layer.experts for layer in layers)
        names, experts = self.type.names, self.type.experts
        return replace(names, parts={**names.parts, **experts.rows(most)}) if experts and most else names

    def _disk(self, table: Table, own: str) -> str:
        return next(f"{disk}.weight" for disk, names in table.items() if own in names)

    def _tied_head(self, tied: bool) -> tuple[str, ...]:
        """A tied head may be stored a second time."""
        return (self._disk(self.type.names.head, "output"),) if tied else ()

    def _stand_ins(self, tied: bool) -> dict[str, str]:
        """The tied head, which is loaded as the embedding where that is not stored."""
        names, base = self.type.names, self.type.base
        return {base + self._disk(names.embedding, "tokens"): self._disk(names.head, "output")} if tied else {}


def read(config: Mapping[str, Any]) -> FullNetwork:
    """The network that a config.json of one of these types describes.

    Raises:
        CheckpointError: another type or task, a number that is missing or impossible, or what is not computed here.
    """
    return _Decoder(config).network()


# --- writing ---------------------------------------------------------------------------------------------


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config.json of a part of a checkpoint's network: the widest of its layers everywhere.

    Raises:
        CheckpointError: transformers has no such network, also not with zeros.
    """
    config = of_checkpoint(layers, checkpoint)
    body = [layer for layer in layers.values() if isinstance(layer, TransformerLayerSpec)]
    full = _Decoder(config)
    t, experts = full.type, full.type.experts
    dense, sparse = [one for one in body if not one.experts], [one for one in body if one.experts]
    groups = max(layer.kv_heads for layer in body)
    ratio = full.heads // full.kv_heads
    while groups < full.kv_heads and (not full.own_width or (full.divides and full.embed % (groups * ratio))):
        groups += 1
    config[full.key("num_hidden_layers")] = len(body)
    if groups < full.kv_heads or "num_key_value_heads" in config:
        config |= {full.key("num_attention_heads"): groups * ratio, "num_key_value_heads": groups}
    if full.own_width and groups * ratio * full.head_dim != full.embed:
        config["head_dim"] = full.head_dim
    if dense:
        config[full.key("intermediate_size")] = max(layer.ffn for layer in dense)
    if experts is not None and sparse:
        count = next((key for key in experts.count if config.get(key) is not None), experts.count[0])
        config |= {experts.ffn: max(one.ffn for one in sparse), count: max(one.experts for one in sparse)}
        config["num_experts_per_tok"] = max(one.top_k for one in sparse)
    if dense and sparse:
        config |= {"decoder_sparse_step": 1, "mlp_only_layers": [i for i, one in enumerate(body) if not one.experts]}
    elif experts is not None and "mlp_only_layers" in config:
        config["mlp_only_layers"] = list(range(len(dense)))
    config |= {key: [value(layer) for layer in body] for key, value in t.listed.items()}
    return written(config, read(config), layers)
