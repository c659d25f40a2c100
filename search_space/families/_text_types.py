"""Encoders of text by model type: facts and names. To add one is to add a row.

What transformers 5.24 computes for each configuration is computed here; what is not computed is refused by the name of
its key. BERT has a row of its own in `bert.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from search_space.checkpoint import CheckpointError, ConfigReader
from search_space.config_reader import check_rotary
from search_space.families._decoder_types import ACTIVATIONS, FULL, ROTARY_KEYS, SLIDING, layer_type
from search_space.families._encoder import ACTIVATIONS as ENCODER_ACTIVATIONS
from search_space.families._names import Names, Table
from search_space.families._network import BodySpec, Fresh, FullNetwork, written
from search_space.families._written import of_checkpoint
from search_space.layers import (
    EncoderLayerSpec,
    LayerForm,
    LayerSpec,
    PooledHeadSpec,
    TransformerLayerSpec,
    WordEmbeddingSpec,
)
from search_space.sentences import POOLING, Pooling
from search_space.spellings import Spelling

# --- names on the disk -----------------------------------------------------------------------------------

_EMBEDDING: Table = {
    "embeddings.word_embeddings": ("tokens",),
    "embeddings.position_embeddings": ("positions",),
    "embeddings.token_type_embeddings": ("segments",),
    "embeddings.LayerNorm": ("norm",),
}
_BERT_LAYER: Table = {
    "attention.self.query": ("query",),
    "attention.self.key": ("key",),
    "attention.self.value": ("value",),
    "attention.output.dense": ("output",),
    "attention.output.LayerNorm": ("attention_norm",),
    "intermediate.dense": ("ffn_in",),
    "output.dense": ("ffn_out",),
    "output.LayerNorm": ("ffn_norm",),
}
BERT_NAMES = Names("encoder.layer.{i}.", _EMBEDDING, _BERT_LAYER, {})
# Of classifiers that are called `classifier.dense` and `classifier.out_proj`.
_ROBERTA_HEAD: Table = {"classifier.dense": ("dense",), "classifier.out_proj": ("classifier",)}
_DISTILBERT = Names(
    layer="transformer.layer.{i}.",
    embedding=_EMBEDDING,
    parts={
        "attention.q_lin": ("query",),
        "attention.k_lin": ("key",),
        "attention.v_lin": ("value",),
        "attention.out_lin": ("output",),
        "sa_layer_norm": ("attention_norm",),
        "ffn.lin1": ("ffn_in",),
        "ffn.lin2": ("ffn_out",),
        "output_layer_norm": ("ffn_norm",),
    },
    head={},
)
_MODERNBERT = Names(
    layer="layers.{i}.",
    embedding={"embeddings.tok_embeddings": ("tokens",), "embeddings.norm": ("norm",)},
    parts={
        "attn_norm": ("attention_norm",),
        "attn.Wqkv": ("query", "key", "value"),
        "attn.Wo": ("output",),
        "mlp_norm": ("ffn_norm",),
        "mlp.Wi": ("ffn_gate", "ffn_in"),
        "mlp.Wo": ("ffn_out",),
    },
    head={"final_norm": ("first_norm",)},
)

# --- facts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ending:
    """How the networks of a class answer.

    Attributes:
        names: names of the head's tensors; all but `first_norm` stand beside the base model's.
        pooler: names of a bare encoder's own dense layer, whose tensors have the base's prefix.
        activation: after the dense layer; empty: there is none of either.
        norm: norm of that, as in `LayerForm`; empty: none.
        dropout: keys whose first one that is given says it; a number: where none is.
    """

    names: Table
    pooler: Table = field(default_factory=dict)
    activation: str = ""
    norm: str = ""
    dropout: tuple[str, ...] = ("hidden_dropout_prob",)


@dataclass(frozen=True, slots=True)
class TextType:
    """What a model type is.

    Attributes:
        stem: stem of its classes' names.
        base: prefix of the base model.
        names: names of its tensors.
        classifier, bare: how its classifier answers, and its base model.
        others: classes whose bodies are taken and whose heads are not.
        keys: our word -> the configuration's, where they differ.
        defaults: what transformers takes for a key that a file leaves out.
        segments: whether tokens have them.
        behind_pad: whether positions begin behind the padding token's number, which is also not counted.
        refused: key -> (values that mean nothing, what the others would do).
        droppable: patterns of tensors that may be there and are not used.
    """

    stem: str
    base: str
    names: Names
    classifier: Ending
    bare: Ending
    others: tuple[str, ...] = ("ForMaskedLM",)
    keys: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    segments: bool = True
    behind_pad: bool = False
    refused: Mapping[str, tuple[tuple[Any, ...], str]] = field(default_factory=dict)
    droppable: tuple[str, ...] = ("*embeddings.position_ids", "cls.*", "lm_head.*", "pooler.*", "*.pooler.*")


_POOLER: Table = {"pooler.dense": ("dense",)}
_ABSOLUTE = {
    "position_embedding_type": (("absolute",), "positions would be those of pairs of tokens"),
    "is_decoder": ((False,), "each token would see only those before it"),
    "add_cross_attention": ((False,), "layers would read another network's output"),
}
_ROBERTA = TextType(
    stem="Roberta",
    base="roberta.",
    names=BERT_NAMES,
    classifier=Ending(_ROBERTA_HEAD, activation="tanh", dropout=("classifier_dropout", "hidden_dropout_prob")),
    bare=Ending({"classifier": ("classifier",)}, _POOLER, "tanh"),
    defaults={"vocab_size": 50265, "type_vocab_size": 2, "pad_token_id": 1},
    behind_pad=True,
    refused=_ABSOLUTE,
)
TYPES: dict[str, TextType] = {
    # With the head of a sentence encoder; all others are read in `bert.py`.
    "bert": TextType(
        stem="Bert",
        base="bert.",
        names=BERT_NAMES,
        classifier=Ending(
            {"classifier": ("classifier",)}, _POOLER, "tanh", dropout=("classifier_dropout", "hidden_dropout_prob")
        ),
        bare=Ending({"classifier": ("classifier",)}, _POOLER, "tanh"),
        others=("ForMaskedLM", "ForPreTraining"),
        refused=_ABSOLUTE,
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, stem="XLMRoberta", defaults={**_ROBERTA.defaults, "vocab_size": 30522}),
    "camembert": replace(_ROBERTA, stem="Camembert", defaults={**_ROBERTA.defaults, "vocab_size": 30522}),
    "distilbert": TextType(
        stem="DistilBert",
        base="distilbert.",
        names=_DISTILBERT,
        classifier=Ending(
            {"pre_classifier": ("dense",), "classifier": ("classifier",)},
            activation="relu",
            dropout=("seq_classif_dropout",),
        ),
        bare=Ending({"classifier": ("classifier",)}, dropout=("seq_classif_dropout",)),
        keys={
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
            "hidden_act": "activation",
            "hidden_dropout_prob": "dropout",
            "attention_probs_dropout_prob": "attention_dropout",
            # Its norms have transformers' number, whatever the file says.
            "layer_norm_eps": "",
        },
        defaults={"num_hidden_layers": 6, "seq_classif_dropout": 0.2},
        segments=False,
        # The sinusoids are only how its positions start; they are stored like any others.
        droppable=(
            "*embeddings.position_ids",
            "vocab_transform.*",
            "vocab_layer_norm.*",
            "vocab_projector.*",
            "pre_classifier.*",
        ),
    ),
    "electra": TextType(
        stem="Electra",
        base="electra.",
        names=replace(BERT_NAMES, embedding={**_EMBEDDING, "embeddings_project": ("projection",)}),
        classifier=Ending(_ROBERTA_HEAD, activation="gelu", dropout=("classifier_dropout", "hidden_dropout_prob")),
        bare=Ending({"classifier": ("classifier",)}),
        others=("ForMaskedLM", "ForPreTraining"),
        defaults={"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "embedding_size": 128},
        refused=_ABSOLUTE,
        droppable=(
            "*embeddings.position_ids",
            "discriminator_predictions.*",
            "generator_predictions.*",
            "generator_lm_head.*",
        ),
    ),
    "modernbert": TextType(
        stem="ModernBert",
        base="model.",
        names=_MODERNBERT,
        classifier=Ending(
            {"head.dense": ("dense",), "head.norm": ("dense_norm",), "classifier": ("classifier",)},
            activation="gelu",
            norm="unbiased",
            dropout=("classifier_dropout",),
        ),
        bare=Ending({"classifier": ("classifier",)}, dropout=("classifier_dropout",)),
        keys={
            "hidden_act": "hidden_activation",
            "layer_norm_eps": "norm_eps",
            "hidden_dropout_prob": "embedding_dropout",
            "attention_probs_dropout_prob": "attention_dropout",
        },
        defaults={
            "vocab_size": 50368,
            "num_hidden_layers": 22,
            "intermediate_size": 1152,
            "max_position_embeddings": 8192,
            "layer_norm_eps": 1e-5,
            "classifier_dropout": 0.0,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        segments=False,
        droppable=("head.*", "decoder.*", "lm_head.*"),
    ),
}


# --- reading ---------------------------------------------------------------------------------------------


class _Encoder:
    """Reads a configuration with the words of its type."""

    def __init__(self, config: Mapping[str, Any], classes: int | None) -> None:
        self.reader = ConfigReader(config, tuple(TYPES))
        self.kind = self.reader.model_type
        self.type = TYPES[self.kind]
        known = [f"{self.type.stem}{each}" for each in ("ForSequenceClassification", "Model", *self.type.others)]
        self.task = self.reader.task(tuple(known))
        self.classifies = self.task == known[0]
        self.own_head = self.classifies and classes is None
        own = self.reader.own_classes(classes) if self.classifies else 0
        self.classes = own if classes is None else classes
        self.embed = self.whole("hidden_size", 768)
        self.heads = self.whole("num_attention_heads", 12)
        if self.embed % self.heads:
            raise CheckpointError(
                f"config.json has a hidden size of {self.embed} for {self.heads} heads: not a multiple."
            )
        self.eps = self.ratio("layer_norm_eps", 1e-12)

    def whole(self, word: str, default: int | None = None) -> int:
        """A whole number, or the type's own."""
        return self.reader.whole(self.type.keys.get(word, word), self.type.defaults.get(word, default))

    def ratio(self, word: str, default: float, most: float = math.inf) -> float:
        """A number of at least 0, or the type's own."""
        key = self.type.keys.get(word, word)
        default = self.type.defaults.get(word, default)
        return self.reader.ratio(key, default, most) if key else default

    # --- layers ---------------------------------------------------------------------------------

    def layers(self) -> tuple[BodySpec, ...]:
        """All layers at full size."""
        count, ffn = self.whole("num_hidden_layers", 12), self.whole("intermediate_size", 3072)
        if self.kind == "modernbert":
            return tuple(self._modern(count, ffn))
        activation = self.reader.one_of(self.type.keys.get("hidden_act", "hidden_act"), ENCODER_ACTIVATIONS, "gelu")
        layer = EncoderLayerSpec(
            self.embed,
            self.heads,
            self.embed // self.heads,
            ffn,
            1,
            norm_first=False,
            activation=activation,
            qkv_bias=True,
            relative=0,
            eps=self.eps,
            dropout=self.ratio("hidden_dropout_prob", 0.1, 1),
            attention_dropout=self.ratio("attention_probs_dropout_prob", 0.1, 1),
        )
        return (layer,) * count

    def _modern(self, count: int, ffn: int) -> list[TransformerLayerSpec]:
        """ModernBERT's: every third sees everything, the others a window; the first has no norm before attention."""
        reader = self.reader
        every = reader.whole("global_attn_every_n_layers", 3)
        types = reader.value("layer_types") or [SLIDING if i % every else FULL for i in range(count)]
        if not isinstance(types, list) or len(types) != count or not set(types) <= {FULL, SLIDING}:
            raise CheckpointError(
                f"config.json must give 'layer_types' for each of its {count} layers, each {FULL} or {SLIDING}; got "
                f"{types!r}."
            )
        window = reader.whole("local_attention", 128) // 2
        if not window and SLIDING in types:
            raise CheckpointError("config.json has a local_attention of 1, in which a token sees only itself.")
        biased, shifted = reader.switch("attention_bias", False), reader.switch("norm_bias", False)
        form = LayerForm(
            causal=False,
            norm="layer" if shifted else "unbiased",
            eps=self.eps,
            qkv_bias=biased,
            key_bias=biased,
            output_bias=biased,
            ffn_bias=reader.switch("mlp_bias", False),
            activation=reader.one_of("hidden_activation", {name: name for name in ACTIVATIONS}, "gelu"),
            scale=(self.embed // self.heads) ** -0.5,
        )
        sizes = (self.embed, self.heads, self.heads, self.embed // self.heads, ffn, 1)
        layer = TransformerLayerSpec(
            form.written(),
            *sizes,
            dropout=reader.ratio("mlp_dropout", 0.0, 1),
            attention_dropout=self.ratio("attention_probs_dropout_prob", 0.0, 1),
        )
        forms = [replace(form, rotary=self._rotary(kind), first_norm=i > 0).written() for i, kind in enumerate(types)]
        return [
            replace(layer, form=own, window=window * (kind == SLIDING)) for own, kind in zip(forms, types, strict=True)
        ]

    def _rotary(self, layer_type: str) -> str:
        config = self.reader.config
        self.reader.read.update(ROTARY_KEYS)
        given = config.get("rope_parameters")
        for one in given.values() if isinstance(given, Mapping) else ():
            check_rotary({**config, "rope_parameters": one, "rope_scaling": None}, self.embed // self.heads)
        kept = {key: config[key] for key in ROTARY_KEYS if config.get(key) is not None}
        kept |= {"num_attention_heads": self.heads, "hidden_size": self.embed}
        kept |= {"layer_types": [layer_type], "num_hidden_layers": 1, "layer_type": layer_type}
        return json.dumps(kept, sort_keys=True)

    # --- the ends -------------------------------------------------------------------------------

    def embedding(self) -> WordEmbeddingSpec:
        """The first layer."""
        modern = self.kind == "modernbert"
        pad = int(self.reader.value("pad_token_id", self.type.defaults.get("pad_token_id", 0)))
        places = 0 if modern else self.whole("max_position_embeddings", 512)
        if self.type.behind_pad and (pad < 0 or places <= pad + 1):
            raise CheckpointError(
                f"config.json has {places} positions, which begin behind pad_token_id {pad}: none is left."
            )
        norm = "layer" if not modern or self.reader.switch("norm_bias", False) else "unbiased"
        return WordEmbeddingSpec(
            vocab=self.whole("vocab_size", 30522),
            embed=self.embed,
            width=self.whole("embedding_size", self.embed) if "embedding_size" in self.type.defaults else self.embed,
            positions=places,
            pad=pad if self.type.behind_pad else -1,
            segments=self.whole("type_vocab_size", 2) if self.type.segments else 0,
            norm=norm,
            eps=self.eps,
            scale=1.0,
            tokens=1,
            dropout=self.ratio("hidden_dropout_prob", 0.1, 1),
        )

    @property
    def ending(self) -> Ending:
        """Ending of the checkpoint's class; a new classifier on a bare encoder is that of its type."""
        return (
            self.type.classifier if self.classifies or (self.classes and not self.type.bare.pooler) else self.type.bare
        )

    def head(self, pooling: Pooling | None) -> PooledHeadSpec:
        """The last layer."""
        ending, reader = self.ending, self.reader
        modern, dense = self.kind == "modernbert", bool(ending.activation)
        pool, activation = "first", ending.activation or "linear"
        if modern:
            pool = {"cls": "first", "mean": "mean"}[
                reader.one_of("classifier_pooling", {"cls": "cls", "mean": "mean"}, "cls")
            ]
            own = reader.one_of("classifier_activation", {name: name for name in ACTIVATIONS}, "gelu")
            activation = own if dense else activation
        norm = "layer" if modern and reader.switch("norm_bias", False) else ending.norm
        biased = reader.switch("classifier_bias", False) if modern else True
        return PooledHeadSpec(
            embed=self.embed,
            classes=self.classes,
            tokens=1,
            pool=pooling.mode if pooling else pool,
            first_norm=("layer" if reader.switch("norm_bias", False) else "unbiased") if modern else "",
            dense=dense and pooling is None,
            dense_bias=biased,
            activation=activation if pooling is None else "linear",
            dense_norm=norm if dense and pooling is None else "",
            eps=self.eps,
            unit=pooling.unit if pooling else False,
            dropout=self._dropout(ending),
        )

    def _dropout(self, ending: Ending) -> float:
        given = [key for key in ending.dropout if self.reader.value(self.type.keys.get(key, key)) is not None]
        return self.ratio(given[0] if given else ending.dropout[-1], 0.1, 1)

    def network(self) -> FullNetwork:
        """The whole network."""
        t, reader = self.type, self.reader
        pooling = Pooling.read(reader.value(POOLING))
        layers, embedding, head = self.layers(), self.embedding(), self.head(pooling)
        for key, (neutral, reason) in t.refused.items():
            reader.only(key, neutral, reason)
        reader.read.update(("tie_word_embeddings", "classifier_pooling", "classifier_bias", "classifier_activation"))
        reader.read.update(("sparse_prediction", "sinusoidal_pos_embds", "norm_bias", "layer_norm_eps", "norm_eps"))
        reader.refuse_unread()
        ending = self.ending
        names = (
            {**t.names.head, **ending.pooler, **ending.names}
            if pooling is None
            else {**t.names.head, "classifier": ("classifier",)}
        )
        beside = frozenset(own for many in ending.names.values() for own in many)
        longest = self.whole("max_position_embeddings", 512) - (embedding.pad + 1 if t.behind_pad else 0)
        return FullNetwork(
            embedding,
            layers,
            head,
            longest,
            replace(t.names, head=names, beside=beside | {"classifier"}),
            "" if self.task == f"{t.stem}Model" else t.base,
            self._fresh(beside),
            t.droppable if pooling is None else (*t.droppable, "classifier.*", "pooler.*"),
            Spelling(t.base.removesuffix(".")),
        )

    def _fresh(self, beside: frozenset[str]) -> Fresh:
        """A classifier starts fresh where it is new, or the stored one answers something else."""
        classifier = frozenset({"classifier"})
        if self.own_head:
            return Fresh()
        if self.classifies:
            return Fresh(optional=classifier, fresh=frozenset() if self.reader.classifies() else classifier)
        # A bare encoder has no classifier, and that of a masked language model no pooler either.
        pooled = self.type.bare.pooler and self.task.endswith("Model")
        return Fresh(optional=beside | classifier | (frozenset() if pooled else {"dense"}))


def read(config: Mapping[str, Any], classes: int | None = None) -> FullNetwork:
    """The network that a config.json of one of these types describes, with another number of classes if wanted.

    Raises:
        CheckpointError: another type or task, a number that is missing or impossible, or what is not computed here.
    """
    return _Encoder(config, classes).network()


# --- writing ---------------------------------------------------------------------------------------------


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config.json of a part of a checkpoint's network: the widest of its layers everywhere.

    Heads are always as many as fill the hidden size, because these types know no other.

    Raises:
        CheckpointError: transformers has no such network, also not with zeros.
    """
    config = of_checkpoint(layers, checkpoint)
    t = TYPES[str(config.get("model_type"))]
    *_, head = layers.values()
    body = [layer for layer in layers.values() if isinstance(layer, EncoderLayerSpec | TransformerLayerSpec)]
    config[t.keys.get("num_hidden_layers", "num_hidden_layers")] = len(body)
    config[t.keys.get("intermediate_size", "intermediate_size")] = max(layer.ffn for layer in body)
    config["architectures"] = [f"{t.stem}Model"]
    if isinstance(head, PooledHeadSpec) and head.classes:
        if POOLING in config:
            raise CheckpointError(
                "it classifies what an encoder of sentences pools, for which transformers has no class; without "
                "classes its vectors can be had"
            )
        config |= {"architectures": [f"{t.stem}ForSequenceClassification"], "num_labels": head.classes}
    if isinstance(body[0], TransformerLayerSpec):
        config["layer_types"] = [layer_type(layer) for layer in body if isinstance(layer, TransformerLayerSpec)]
    return written(config, read(config), layers)
