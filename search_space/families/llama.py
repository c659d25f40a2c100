"""Llama family: decoders of language, from a checkpoint's own configuration or a named preset.

Llama 1 to 3, Mistral, Qwen2 and Qwen3, and the types of `_decoder_types`. The layers are elastic: how many of the
first, as in LLaMA-NAS, or which. In each layer the width of its feed-forward network and the number of key-value
groups are elastic, and the number of experts that there are and that a position uses. A width of 0 is a layer without
a feed-forward network, and 0 groups one without attention (in `OWN_TYPES`). Costs are for one text of `length` tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from search_space.adjustments import Adjustments, Options, space_name, whole
from search_space.checkpoint import CheckpointError, ConfigReader, Layout, shares
from search_space.config_reader import check_rotary
from search_space.families import _decoder_types
from search_space.families._identity import digest
from search_space.families._names import Names, places
from search_space.families._network import Wanted, network_space, refuse_classes
from search_space.inputs import TokenInput
from search_space.layers import DecoderLayerSpec, LanguageHeadSpec, LayerSpec, TokenEmbeddingSpec, TransformerLayerSpec
from search_space.space import Choice, SearchSpace, Values
from search_space.spellings import Spelling

# Types whose block is transformers' own layer; those of `_decoder_types` have rows of a table.
OWN_TYPES = ("llama", "mistral", "qwen2", "qwen3")
MODEL_TYPES = (*OWN_TYPES, *_decoder_types.TYPES)
TASKS = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")

# What transformers takes for a key that an old config.json leaves out; None: as many as query heads.
KV_HEADS = {"llama": None, "mistral": 8, "qwen2": 32, "qwen3": 32}
HEAD_DIM = {"qwen3": 128}
MAX_POSITIONS = {"llama": 2048, "mistral": 131072, "qwen2": 32768, "qwen3": 32768}
# What transformers has a class for (`ACT2FN`), but for those that take arguments of their own.
ACTIVATIONS = (
    "gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh", "gelu_pytorch_tanh",
    "hardswish", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu",
    "sqrtsoftplus", "swish", "tanh",
)  # fmt: skip
# Keys of a configuration that say nothing about a layer: left out of its spec, so that equal layers are equal.
NOT_OF_A_LAYER = frozenset(
    {
        "_name_or_path",
        "architectures",
        "auto_map",
        "bos_token_id",
        "dtype",
        "eos_token_id",
        "id2label",
        "label2id",
        "layer_types",
        "max_window_layers",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "intermediate_size",
        "pad_token_id",
        "pretraining_tp",
        "sliding_window",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_version",
        "use_cache",
        "use_sliding_window",
        "vocab_size",
        "attention_bias",
        "mlp_bias",
        "head_dim",
        "hidden_size",
    }
)


@dataclass(frozen=True, slots=True)
class LlamaDecoder:
    """The shape of a full-size network.

    Attributes:
        windows: for each layer, how many positions a query sees; 0: all before it.
        config: JSON of what else a layer needs.
    """

    model_type: str
    vocab: int
    embed: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    max_length: int
    eps: float
    tied: bool
    qkv_bias: bool
    output_bias: bool
    ffn_bias: bool
    windows: tuple[int, ...]
    config: str

    def embedding(self, length: int) -> TokenEmbeddingSpec:
        """The first layer."""
        return TokenEmbeddingSpec(self.vocab, self.embed, length)

    def layer(self, number: int, ffn: int, kv_heads: int, length: int, sees: int | None = None) -> DecoderLayerSpec:
        """Decoder layer `number`, from 1.

        Args:
            sees: positions that a query sees; None: as many as the full network's.
        """
        heads = kv_heads * (self.heads // self.kv_heads)
        return _layer(self, self._window(number, sees), heads, kv_heads, ffn, length)

    def sees(self, number: int) -> int:
        """Positions that a query of layer `number` sees in the full network, itself included."""
        return min(self.windows[number - 1] or self.max_length, self.max_length)

    def _window(self, number: int, sees: int | None) -> int:
        own = self.windows[number - 1]
        return own if sees in (None, self.sees(number)) else 0 if sees == self.max_length else int(sees or 0)

    def head(self, length: int) -> LanguageHeadSpec:
        """The last layer."""
        return LanguageHeadSpec(self.embed, self.vocab, length, self.eps, "embedding" if self.tied else "")


@lru_cache(maxsize=65536)
def _layer(d: LlamaDecoder, window: int, heads: int, kv_heads: int, ffn: int, length: int) -> DecoderLayerSpec:
    # Equal layers are one object, whose totals are computed once.
    biases = (d.qkv_bias, d.output_bias, d.ffn_bias, d.model_type == "qwen3")
    return DecoderLayerSpec(d.config, d.embed, heads, kv_heads, d.head_dim, ffn, length, window, *biases)


@dataclass(frozen=True, slots=True)
class LlamaPreset:
    """A full-size network, as config.json has it, and the options of its choices.

    Attributes:
        depths: options of how many of the first layers are kept; None: each layer is kept or not, the
            first and the last excepted, which always are.
        ffns, kv_heads: options in every layer; None: quarters of the full width; all and half of the groups.
        length: tokens for which costs are counted.
        ffn_divisors: if there are any, widths are the full one divided by these, and all layers with all their groups
            are kept.
    """

    config: Mapping[str, Any]
    depths: tuple[int, ...] | None
    ffns: tuple[int, ...] | None
    kv_heads: tuple[int, ...] | None
    length: int = 128
    ffn_divisors: tuple[int, ...] = ()


PRESETS: dict[str, LlamaPreset] = {
    # LLaMA-NAS (arXiv 2405.18377): 3 depths by 2 widths a layer. Its values are those that its published
    # size of the space (1.3e10 = 3 * 2^32) allows; which layers go is not published: the last ones here.
    "llama2_7b": LlamaPreset(
        config={
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "tie_word_embeddings": False,
        },
        depths=(24, 28, 32),
        ffns=(5504, 11008),
        kv_heads=(32,),
    ),
    # MatFormer (arXiv 2310.07707): in every layer the first eighth, quarter, half or all of the feed-forward network.
    # Its own sizes (180M to 1.3B) are not published to the parameter; of a checkpoint the shares are those of its own.
    "matformer": LlamaPreset(
        config={
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": 256,
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "max_position_embeddings": 1024,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "tie_word_embeddings": True,
        },
        depths=None,
        ffns=None,
        kv_heads=None,
        ffn_divisors=(8, 4, 2, 1),
    ),
    # Bytes as tokens: small enough to train on a laptop's CPU, with grouped-query attention.
    "tiny": LlamaPreset(
        config={
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": 256,
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 1024,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "tie_word_embeddings": True,
        },
        depths=None,
        ffns=(88, 176, 264, 352),
        kv_heads=(1, 2, 4),
    ),
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset; its weights are as large as the largest options."""
    wanted = PRESETS[preset]
    return _space(space_name("llama", preset, adjustments), wanted, read(wanted.config), adjustments, None)


def checkpoint_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    """The search space of a checkpoint: the preset's options, or the default ones.

    Its weights are the checkpoint's at full size, whatever the choices: so that layers and neurons can be
    ordered by importance before a narrower choice cuts them.

    Raises:
        CheckpointError: not a checkpoint of this family.
        ValueError: options that are larger than the checkpoint.
    """
    if config.get("model_type") in _decoder_types.TYPES:
        return _table_space(config, preset, adjustments)
    decoder = read(config)
    wanted = PRESETS[preset] if preset else LlamaPreset(config, None, None, None)
    name = f"llama/{preset or 'checkpoint'}-{digest(decoder)}"
    return _space(name, wanted, decoder, adjustments, decoder)


def _table_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    refuse_classes(str(config["model_type"]), adjustments)
    wanted = Wanted(keep=True, groups="kv_heads")
    if preset:
        own = PRESETS[preset]
        if own.ffn_divisors:
            raise ValueError(
                f"Preset {preset!r} is of {', '.join(OWN_TYPES)}, and the checkpoint is a {config['model_type']}. "
                "Leave the preset out, and give choices layer*_ffn, layer*_kv_heads and layer*_keep."
            )
        wanted = Wanted(own.depths is None, "kv_heads", own.depths, own.kv_heads, own.ffns, own.length)
    return network_space("llama", preset, _decoder_types.read(config), wanted, adjustments)


def _space(
    name: str, preset: LlamaPreset, decoder: LlamaDecoder, adjustments: Adjustments, whole_of: LlamaDecoder | None
) -> SearchSpace:
    """Args: whole_of: the checkpoint whose sizes no option may exceed; None: none."""
    if adjustments.classes is not None:
        raise ValueError(f"Space {name!r} continues text and has no classes; leave `classes` out.")
    length = adjustments.length or min(preset.length, decoder.max_length)
    if length > decoder.max_length:
        raise ValueError(f"Got a length of {length} tokens; networks of {name!r} take at most {decoder.max_length}.")
    options = Options(name, adjustments)
    choices = list(_choices(preset, decoder, options, whole_of))
    options.finish()
    layers = max(decoder.layers, *(int(c.name.split("_")[0].removeprefix("layer")) for c in choices if "_" in c.name))
    full = replace(decoder, layers=layers, windows=decoder.windows + decoder.windows[-1:] * (layers - decoder.layers))

    def capacity() -> dict[str, LayerSpec]:
        assert whole_of is not None
        middle = {f"layer{i}": full.layer(i, full.ffn, full.kv_heads, length) for i in range(1, full.layers + 1)}
        return {"embedding": full.embedding(length), **middle, "head": full.head(length)}

    return SearchSpace(
        name,
        choices,
        blueprint=lambda values: _blueprint(full, length, values),
        capacity=None if whole_of is None else capacity,
        takes=TokenInput(decoder.vocab, length, decoder.max_length, classes=None),
    )


def _choices(
    preset: LlamaPreset, decoder: LlamaDecoder, options: Options, whole_of: LlamaDecoder | None
) -> Iterator[Choice]:
    """Kept layers, then the sizes of each."""
    most_layers = whole_of.layers if whole_of else 1024
    most_ffn = whole_of.ffn if whole_of else None
    # A space of fresh weights may have more groups than its preset; a checkpoint has those that it has.
    most_groups = whole_of.kv_heads if whole_of else None
    nested = tuple(max(1, decoder.ffn // divisor) for divisor in preset.ffn_divisors)
    ffns = nested or preset.ffns or shares(decoder.ffn, (1, 2, 3), 8)
    groups = (decoder.kv_heads,) if nested else preset.kv_heads or shares(decoder.kv_heads, (2,), 1)
    depths: tuple[Any, ...] = ()
    last = decoder.layers
    if preset.depths is not None:
        depths = options.of("depth", preset.depths, whole(1, most_layers))
        yield Choice("depth", depths)
        last = int(depths[-1])
    for i in range(1, last + 1):
        widths = options.of(f"layer{i}_ffn", ffns, whole(0, most_ffn))
        known = options.of(f"layer{i}_kv_heads", groups, whole(0, most_groups))
        if preset.depths is not None:
            deep_enough = tuple(depth for depth in depths if depth >= i)
            when = None if deep_enough == depths else ("depth", deep_enough)
            if when is not None and 0 in widths and 0 in known:
                raise ValueError(
                    f"Layer {i} can be left out by depth, and by 0 for both layer{i}_ffn and layer{i}_kv_heads: two "
                    f"names of one network. Give depth the single option {depths[-1]}, or leave one 0 out."
                )
        else:
            # With neither attention nor a feed-forward network a layer is left out already.
            inner = (0, 1) if 1 < i < last and not nested and not (0 in widths and 0 in known) else (1,)
            kept = options.of(f"layer{i}_keep", inner, whole(0, 1))
            if 0 in kept and 0 in widths and 0 in known:
                raise ValueError(
                    f"Layer {i} can be left out by layer{i}_keep, and by 0 for both layer{i}_ffn and "
                    f"layer{i}_kv_heads: two names of one network. Leave layer{i}_keep or one 0 out."
                )
            yield Choice(f"layer{i}_keep", kept)
            when = (f"layer{i}_keep", (1,)) if 1 in kept else None
            if kept == (0,):
                continue
        yield Choice(f"layer{i}_ffn", widths, when)
        yield Choice(f"layer{i}_kv_heads", known, when)
        own = (decoder.sees(min(i, decoder.layers)),)
        seen = options.of(f"layer{i}_window", own, whole(1, decoder.max_length))
        if seen != own and any(known):
            attentive = tuple(groups for groups in known if groups)
            yield Choice(f"layer{i}_window", seen, when if attentive == known else (f"layer{i}_kv_heads", attentive))


def _blueprint(decoder: LlamaDecoder, length: int, values: Values) -> dict[str, LayerSpec]:
    layers: dict[str, LayerSpec] = {"embedding": decoder.embedding(length)}
    depth = int(values.get("depth", decoder.layers))
    for i in range(1, depth + 1):
        if values.get(f"layer{i}_keep", 1):
            sizes = int(values[f"layer{i}_ffn"]), int(values[f"layer{i}_kv_heads"])
            if any(sizes):
                sees = values.get(f"layer{i}_window")
                layers[f"layer{i}"] = decoder.layer(i, *sizes, length, None if sees is None else int(sees))
    layers["head"] = decoder.head(length)
    return layers


# --- checkpoints -----------------------------------------------------------------------------------------


def read(config: Mapping[str, Any]) -> LlamaDecoder:
    """The network that a config.json describes.

    Raises:
        CheckpointError: another model type or task, or a number that is missing or impossible.
    """
    reader = ConfigReader(config, OWN_TYPES)
    reader.task(TASKS)
    kind = reader.model_type
    embed, heads, layers = (reader.whole(key) for key in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    kv_heads = reader.whole("num_key_value_heads", KV_HEADS[kind] or heads)
    if heads % kv_heads:
        raise CheckpointError(f"config.json has {heads} query heads for {kv_heads} key-value heads: not a multiple.")
    if kind == "llama" and embed % heads:  # its configuration class refuses that, even where head_dim is given
        raise CheckpointError(f"config.json has a hidden size of {embed} for {heads} heads: not a multiple.")
    head_dim = reader.whole("head_dim", HEAD_DIM.get(kind, embed // heads))
    check_rotary(config, head_dim)
    reader.one_of("hidden_act", {name: name for name in ACTIVATIONS}, "silu")
    reader.ratio("attention_dropout", 0.0, most=1)
    bias = bool(config.get("attention_bias", False)) and kind in ("llama", "qwen3")
    return LlamaDecoder(
        model_type=kind,
        vocab=reader.whole("vocab_size"),
        embed=embed,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=reader.whole("intermediate_size"),
        max_length=reader.whole("max_position_embeddings", MAX_POSITIONS[kind]),
        eps=reader.ratio("rms_norm_eps", 1e-6),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=bias or kind == "qwen2",
        output_bias=bias,
        ffn_bias=bool(config.get("mlp_bias", False)) and kind == "llama",
        windows=tuple(_windows(reader, layers)),
        config=_layer_config(config),
    )


def _layer_config(config: Mapping[str, Any]) -> str:
    """What a layer needs beyond the sizes of its spec. transformers wants hidden size and heads to agree, so
    two numbers go along that do; the block sets the real ones."""
    kept = {key: value for key, value in config.items() if key not in NOT_OF_A_LAYER and value is not None}
    sizes = {key: config[key] for key in ("hidden_size", "num_attention_heads")}
    flags = {key: config[key] for key in ("attention_bias", "mlp_bias", "head_dim") if config.get(key) is not None}
    return json.dumps(kept | sizes | flags, sort_keys=True)


def _windows(reader: ConfigReader, layers: int) -> Iterator[int]:
    """Per layer, how many positions a query sees; 0: all."""
    config, kind = reader.config, reader.model_type
    if kind == "mistral":
        window = reader.whole("sliding_window") if config.get("sliding_window") else 0
        # transformers' own default where the key is absent; null switches the window off.
        window = 4096 if "sliding_window" not in config else window
        yield from [window] * layers
        return
    window = 0
    if kind in ("qwen2", "qwen3") and config.get("use_sliding_window"):
        window = reader.whole("sliding_window", 4096)
    types = config.get("layer_types")
    known = ("full_attention", "sliding_attention")
    if types is not None and (not isinstance(types, list) or len(types) != layers or not set(types) <= set(known)):
        raise CheckpointError(
            f"config.json must give 'layer_types' for each of its {layers} layers, each {' or '.join(known)}; "
            f"got {types!r}."
        )
    first = int(config.get("max_window_layers", 28))
    for i in range(layers):
        slides = types[i] == "sliding_attention" if types else i >= first
        yield window if slides else 0


# Modules of transformers' own decoder layer, which is the block: the same names on the disk.
MODULES = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "self_attn.q_norm",
    "self_attn.k_norm",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)
_LLAMA = Names(
    layer="model.layers.{i}.",
    embedding={"model.embed_tokens": ("tokens",)},
    parts={name: (f"layer.{name}",) for name in MODULES},
    head={"model.norm": ("norm",), "lm_head": ("output",)},
)
# Model type -> what its tensors are called.
NAMES = dict.fromkeys(OWN_TYPES, _LLAMA)


def layout(config: Mapping[str, Any], classes: int | None = None) -> Layout:
    """Which tensor of a checkpoint goes where."""
    if config.get("model_type") in _decoder_types.TYPES:
        return _decoder_types.read(config).layout()
    d = read(config)
    names = NAMES[d.model_type]
    found = places("embedding", {"tokens.weight": (d.vocab, d.embed)}, names.embedding)
    for number in range(1, d.layers + 1):
        found |= names.layer_places(number, _layer_shapes(d))
    head: dict[str, tuple[int, ...]] = {"norm.weight": (d.embed,)}
    found |= places("head", head if d.tied else head | {"output.weight": (d.vocab, d.embed)}, names.head)
    # Old checkpoints store the rotary frequencies, and some the tied head a second time, or it alone.
    droppable = ("*rotary_emb.inv_freq", *(("lm_head.weight",) if d.tied else ()))
    stand_ins = {"model.embed_tokens.weight": "lm_head.weight"} if d.tied else {}
    return Layout(found, droppable, Spelling("model"), stand_ins)


def _layer_shapes(d: LlamaDecoder) -> dict[str, tuple[int, ...]]:
    query, key = d.heads * d.head_dim, d.kv_heads * d.head_dim
    linears = {
        "self_attn.q_proj": ((query, d.embed), d.qkv_bias),
        "self_attn.k_proj": ((key, d.embed), d.qkv_bias),
        "self_attn.v_proj": ((key, d.embed), d.qkv_bias),
        "self_attn.o_proj": ((d.embed, query), d.output_bias),
        "mlp.gate_proj": ((d.ffn, d.embed), d.ffn_bias),
        "mlp.up_proj": ((d.ffn, d.embed), d.ffn_bias),
        "mlp.down_proj": ((d.embed, d.ffn), d.ffn_bias),
    }
    norms = {"input_layernorm": d.embed, "post_attention_layernorm": d.embed}
    if d.model_type == "qwen3":
        norms |= {"self_attn.q_norm": d.head_dim, "self_attn.k_norm": d.head_dim}
    shapes: dict[str, tuple[int, ...]] = {f"layer.{name}.weight": (size,) for name, size in norms.items()}
    shapes |= {f"layer.{name}.weight": shape for name, (shape, _) in linears.items()}
    return shapes | {f"layer.{name}.bias": shape[:1] for name, (shape, biased) in linears.items() if biased}


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config.json under which transformers builds a network of these layers, the widest of them everywhere.

    A layer that is narrower computes the same with zeros in the rest. Where query heads are fewer than the hidden size
    asks for, key-value groups are added until they divide it, as `LlamaConfig` wants.

    Args:
        checkpoint: config.json of the checkpoint that they came from; types of a table need it.

    Raises:
        CheckpointError: no model of transformers has such layers.
    """
    if any(isinstance(layer, TransformerLayerSpec) for layer in layers.values()):
        return _decoder_types.config_of(layers, checkpoint)
    embedding, *middle, head = layers.values()
    decoders = [layer for layer in middle if isinstance(layer, DecoderLayerSpec)]
    if (
        not isinstance(embedding, TokenEmbeddingSpec)
        or not isinstance(head, LanguageHeadSpec)
        or len(decoders) < max(1, len(middle))
    ):
        raise CheckpointError("its layers are not those of a decoder of language")
    first = decoders[0]
    base = json.loads(first.config)
    attentive = next((layer for layer in decoders if layer.heads), None)
    kind, ratio = str(base["model_type"]), attentive.heads // attentive.kv_heads if attentive else 1
    # What no layer has, all have in zeros.
    groups = max(1, *(layer.kv_heads for layer in decoders))
    while kind == "llama" and first.embed % (groups * ratio):
        groups += 1
    windows = [layer.window for layer in decoders]
    return {
        **base,
        "architectures": [dict(zip(OWN_TYPES, TASKS, strict=True))[kind]],
        "vocab_size": embedding.vocab,
        "hidden_size": first.embed,
        "intermediate_size": max(1, *(layer.ffn for layer in decoders)),
        "num_hidden_layers": len(decoders),
        "num_attention_heads": groups * ratio,
        "num_key_value_heads": groups,
        "head_dim": first.head_dim,
        "rms_norm_eps": head.eps,
        "tie_word_embeddings": bool(head.tied_to),
        **_windows_of(kind, windows),
    }


def _windows_of(kind: str, windows: list[int]) -> dict[str, Any]:
    """How a configuration says how far each layer sees.

    Raises:
        CheckpointError: windows that a model of this type cannot have.
    """
    sizes = set(windows) - {0}
    if len(sizes) > 1 or (kind == "mistral" and len(set(windows)) > 1) or (kind == "llama" and sizes):
        raise CheckpointError(f"a {kind} of transformers cannot have layers with windows {windows}")
    if kind == "llama":
        return {}
    window = max(windows)
    if kind == "mistral":
        return {"sliding_window": window or None}
    full = max((i for i, size in enumerate(windows, 1) if not size), default=0)
    return {
        "use_sliding_window": bool(window),
        "sliding_window": window or None,
        "max_window_layers": full,
        "layer_types": ["sliding_attention" if size else "full_attention" for size in windows],
    }


# Adjustments under which a preset that is too big for a test runs in one; None: nothing that may be
# adjusted makes its networks small, and the other presets run the same code.
NARROWED: dict[str, Adjustments | None] = {"llama2_7b": None}
