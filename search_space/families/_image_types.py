"""Encoders of images by model type: facts and names. To add one is to add a row.

What transformers 5.24 computes for each configuration is computed here; what is not computed is refused by the name of
its key. ViT has a row of its own in `vit.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from search_space.checkpoint import IMAGE_SIDE, CheckpointError, ConfigReader, Piece
from search_space.families._decoder_types import ACTIVATIONS
from search_space.families._encoder import ACTIVATIONS as ENCODER_ACTIVATIONS
from search_space.families._names import Names, Table
from search_space.families._network import BodySpec, Fresh, FullNetwork, written
from search_space.families._written import of_checkpoint
from search_space.layers import (
    EncoderLayerSpec,
    ImageEmbeddingSpec,
    ImageHeadSpec,
    LayerForm,
    LayerSpec,
    TransformerLayerSpec,
)
from search_space.spellings import LEGACY, VIT, Spelling

# --- names on the disk -----------------------------------------------------------------------------------

_PATCHES: Table = {
    "embeddings.cls_token": ("class_token",),
    "embeddings.mask_token": ("mask_token",),
    "embeddings.position_embeddings": ("positions",),
    "embeddings.patch_embeddings.projection": ("patches",),
}
_ATTENTION: Table = {
    "attention.attention.query": ("query",),
    "attention.attention.key": ("key",),
    "attention.attention.value": ("value",),
    "attention.output.dense": ("output",),
}
_VIT_LAYER: Table = {
    **_ATTENTION,
    "layernorm_before": ("attention_norm",),
    "intermediate.dense": ("ffn_in",),
    "output.dense": ("ffn_out",),
    "layernorm_after": ("ffn_norm",),
}
_DEIT = Names(
    layer="encoder.layer.{i}.",
    embedding={**_PATCHES, "embeddings.distillation_token": ("extra_tokens",)},
    parts=_VIT_LAYER,
    head={"layernorm": ("norm",)},
)
_DINO = Names(
    layer="encoder.layer.{i}.",
    embedding={**_PATCHES, "embeddings.register_tokens": ("extra_tokens",)},
    parts={
        **_ATTENTION,
        "norm1": ("attention_norm",),
        "layer_scale1.lambda1": ("attention_scale",),
        "norm2": ("ffn_norm",),
        "layer_scale2.lambda1": ("ffn_scale",),
        "mlp.fc1": ("ffn_in",),
        "mlp.fc2": ("ffn_out",),
    },
    head={"layernorm": ("norm",)},
)
_DINO_GATED: Table = {"mlp.weights_in": ("ffn_gate", "ffn_in"), "mlp.weights_out": ("ffn_out",)}


def _without_ffn(parts: Table) -> Table:
    return {
        disk: own for disk, own in parts.items() if not own[0].startswith("ffn_") or own[0].endswith(("norm", "scale"))
    }


# transformers' rules for `Dinov2Model`, from the names of its files to its own.
_DINO_RENAMES = (
    (r"attention\.attention\.query", "attention.q_proj"),
    (r"attention\.attention\.key", "attention.k_proj"),
    (r"attention\.attention\.value", "attention.v_proj"),
    (r"attention\.output\.dense", "attention.o_proj"),
    (r"mlp\.weights_out", "mlp.down_proj"),
)
_BEIT = Names(
    layer="encoder.layer.{i}.",
    embedding=_PATCHES,
    parts={
        **_VIT_LAYER,
        "attention.attention.relative_position_bias.relative_position_bias_table": ("bias_table",),
        "lambda_1": ("attention_scale",),
        "lambda_2": ("ffn_scale",),
    },
    head={},
)

# timm's names, without a prefix: its files hold one encoder.
_BEIT3 = Names(
    layer="blocks.{i}.",
    embedding={"cls_token": ("class_token",), "pos_embed": ("positions",), "patch_embed.proj": ("patches",)},
    parts={
        "norm1": ("attention_norm",),
        "attn.qkv": ("query", "key", "value"),
        "attn.norm": ("attention_inner_norm",),
        "attn.proj": ("output",),
        "norm2": ("ffn_norm",),
        "mlp.fc1": ("ffn_in",),
        "mlp.norm": ("ffn_inner_norm",),
        "mlp.fc2": ("ffn_out",),
    },
    head={},
)

# --- facts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageType:
    """What a model type is.

    Attributes:
        stem, base: stem of its classes' names; prefix of the base model.
        names: names of its tensors.
        endings: suffix of a class -> what its head pools (`ImageHeadSpec`), and names of its classifiers.
        defaults: what transformers takes for a key that a file leaves out.
        extra: key of the number of tokens behind the class token, or that number.
        placed: which tokens have positions (`ImageEmbeddingSpec`).
        antialias: whether resizing positions smooths; None: they are not resized.
        masked: whether there is a mask token unless the file says otherwise; None: never.
        refused: key -> (values that mean nothing, what the others would do).
        renames: transformers' own rules for its names.
    """

    stem: str
    base: str
    names: Names
    endings: Mapping[str, tuple[str, Table]]
    defaults: Mapping[str, Any]
    extra: str | int = 0
    placed: str = "patches"
    antialias: bool | None = None
    masked: bool | None = None
    refused: Mapping[str, tuple[tuple[Any, ...], str]] = field(default_factory=dict)
    renames: tuple[tuple[str, str], ...] = LEGACY
    droppable: tuple[str, ...] = ("pooler.*", "*.pooler.*", "*relative_position_index", "*embeddings.mask_token")


_CLASSIFIER: Table = {"classifier": ("classifier",)}
_DINO_ENDINGS = {"ForImageClassification": ("both", _CLASSIFIER), "Model": ("both", _CLASSIFIER)}
_DINO_TYPE = ImageType(
    stem="Dinov2",
    base="dinov2.",
    names=_DINO,
    endings=_DINO_ENDINGS,
    defaults={"layer_norm_eps": 1e-6, "patch_size": 14},
    antialias=False,
    masked=True,
    renames=(*_DINO_RENAMES, *LEGACY),
    droppable=(),
)
TYPES: dict[str, ImageType] = {
    "deit": ImageType(
        stem="DeiT",
        base="deit.",
        names=_DEIT,
        endings={
            "ForImageClassification": ("class_token", _CLASSIFIER),
            "ForImageClassificationWithTeacher": (
                "two",
                {"cls_classifier": ("classifier",), "distillation_classifier": ("second",)},
            ),
            "Model": ("class_token", _CLASSIFIER),
        },
        defaults={"layer_norm_eps": 1e-12, "patch_size": 16},
        extra=1,
        placed="all",
        renames=(*VIT, *LEGACY),
    ),
    "dinov2": _DINO_TYPE,
    "dinov2_with_registers": replace(
        _DINO_TYPE,
        stem="Dinov2WithRegisters",
        base="dinov2_with_registers.",
        defaults={"layer_norm_eps": 1e-6, "patch_size": 16, "num_register_tokens": 4},
        extra="num_register_tokens",
        antialias=True,
    ),
    "beit": ImageType(
        stem="Beit",
        base="beit.",
        names=_BEIT,
        endings={"ForImageClassification": ("mean", _CLASSIFIER), "Model": ("mean", _CLASSIFIER)},
        defaults={"layer_norm_eps": 1e-12, "patch_size": 16},
        placed="use_absolute_position_embeddings",
        masked=False,
        refused={
            "use_shared_relative_position_bias": (
                (False,),
                "all layers would share one table of biases, whose heads could not be ordered layer by layer",
            )
        },
        renames=(*VIT, *LEGACY),
        droppable=("*relative_position_index",),
    ),
    # The image half of BEiT-3, of whose released layers everything is doubled for images and texts.
    "beit3": ImageType(
        stem="Beit3",
        base="",
        names=_BEIT3,
        endings={
            "ForImageClassification": ("mean", {"head": ("classifier",)}),
            "Model": ("mean", {"head": ("classifier",)}),
        },
        defaults={"layer_norm_eps": 1e-5, "patch_size": 16},
        droppable=(),
    ),
}
# Types whose configuration says the width of the feed-forward network.
_STATES_FFN = ("beit", "beit3")


# --- reading ---------------------------------------------------------------------------------------------


def _dino_ffn(embed: int, ratio: float, gated: bool) -> int:
    """Width of DINOv2's feed-forward networks."""
    ffn = int(embed * ratio)
    return (int(ffn * 2 / 3) + 7) // 8 * 8 if gated else ffn


class _Encoder:
    """Reads a configuration with the words of its type."""

    def __init__(self, config: Mapping[str, Any], classes: int | None) -> None:
        self.reader = reader = ConfigReader(config, tuple(TYPES))
        self.kind = reader.model_type
        self.type = TYPES[self.kind]
        self.task = reader.task(tuple(f"{self.type.stem}{suffix}" for suffix in self.type.endings))
        self.bare = self.task == f"{self.type.stem}Model"
        own = 0 if self.bare else reader.own_classes(classes)
        self.own_head = not self.bare and classes is None
        self.classes = own if classes is None else classes
        if self.bare and not self.classes and self.kind == "deit":
            # Its pooler is of another training, and what reads the class token alone would be no output of DeiT's.
            raise CheckpointError("The checkpoint has no classifier; say how many `classes` a new one should have.")
        self.embed, self.heads = reader.whole("hidden_size", 768), reader.whole("num_attention_heads", 12)
        if self.embed % self.heads:
            raise CheckpointError(
                f"config.json has a hidden size of {self.embed} for {self.heads} heads: not a multiple."
            )
        self.eps = reader.ratio("layer_norm_eps", self.type.defaults["layer_norm_eps"])
        self.size, self.patch = (
            self._side("image_size", 224),
            self._side("patch_size", self.type.defaults["patch_size"]),
        )
        self.stored = self.size // self.patch
        if self.type.antialias is not None:
            self.size = self._side(IMAGE_SIDE, self.size)
        if self.size < self.patch:
            raise CheckpointError(f"config.json has an image size of {self.size} for patches of {self.patch} pixels.")
        self.dropout = reader.ratio("hidden_dropout_prob", 0.0, 1)
        extra = self.type.extra
        self.extra = extra if isinstance(extra, int) else self._count(extra)

    def _side(self, key: str, default: int) -> int:
        """Pixels of a square's side, also where both are given."""
        given = self.reader.value(key, default)
        sides = list(given) if isinstance(given, list | tuple) else [given]
        if (
            len(set(map(str, sides))) != 1
            or not isinstance(sides[0], int)
            or isinstance(sides[0], bool)
            or sides[0] < 1
        ):
            raise CheckpointError(f"config.json must give {key!r} as the side of a square in pixels; got {given!r}.")
        return sides[0]

    def _count(self, key: str) -> int:
        given = self.reader.value(key, self.type.defaults[key])
        if not isinstance(given, int) or isinstance(given, bool) or given < 0:
            raise CheckpointError(f"config.json must give {key!r} as a whole number of at least 0; got {given!r}.")
        return given

    # --- layers ---------------------------------------------------------------------------------

    def layers(self) -> tuple[BodySpec, ...]:
        """All layers at full size."""
        reader = self.reader
        count, head_dim = reader.whole("num_hidden_layers", 12), self.embed // self.heads
        attention_dropout = reader.ratio("attention_probs_dropout_prob", 0.0, 1)
        reader.read.update(("drop_path_rate", "layerscale_value", "pooler_act", "pooler_output_size"))
        if self.kind == "deit":
            activation = reader.one_of("hidden_act", ENCODER_ACTIVATIONS, "gelu")
            plain = EncoderLayerSpec(
                self.embed,
                self.heads,
                head_dim,
                reader.whole("intermediate_size", 3072),
                1,
                norm_first=True,
                activation=activation,
                qkv_bias=reader.switch("qkv_bias", True),
                relative=0,
                eps=self.eps,
                dropout=self.dropout,
                attention_dropout=attention_dropout,
            )
            return (plain,) * count
        gated = self.kind != "beit" and reader.switch("use_swiglu_ffn", False)
        form = LayerForm(
            causal=False,
            norm="layer",
            eps=self.eps,
            qkv_bias=self.kind == "beit" or reader.switch("qkv_bias", True),
            key_bias=self.kind != "beit" and reader.switch("qkv_bias", True),
            output_bias=True,
            ffn_bias=True,
            gated=gated,
            activation="silu" if gated else reader.one_of("hidden_act", {name: name for name in ACTIVATIONS}, "gelu"),
            grid=self.size // self.patch if self._biased() else 0,
            scale=head_dim**-0.5,
            layer_scale=self._scaled(),
            inner_norms=self.kind == "beit3",
        )
        sizes = (self.embed, self.heads, self.heads, head_dim, self._ffn(gated), 1)
        dropout = self.dropout if self.kind == "beit" else 0.0
        layer = TransformerLayerSpec(form.written(), *sizes, dropout=dropout, attention_dropout=attention_dropout)
        return (layer,) * count

    def _scaled(self) -> bool:
        if self.kind == "beit":
            return self.reader.ratio("layer_scale_init_value", 0.1) > 0
        return self.kind != "beit3"

    def _biased(self) -> bool:
        return self.kind == "beit" and self.reader.switch("use_relative_position_bias", False)

    def _ffn(self, gated: bool) -> int:
        """DINOv2's configuration says a ratio; a gated network has two thirds of it, in eights."""
        if self.kind in _STATES_FFN:
            return self.reader.whole("intermediate_size", 3072)
        return _dino_ffn(self.embed, self.reader.ratio("mlp_ratio", 4), gated)

    # --- the ends -------------------------------------------------------------------------------

    def embedding(self) -> ImageEmbeddingSpec:
        """The first layer."""
        t, reader = self.type, self.reader
        placed = t.placed
        if placed not in ("patches", "all"):
            placed = "patches" if reader.switch(placed, False) else ""
        masked = t.masked is not None and reader.switch("use_mask_token", t.masked)
        channels = reader.whole("num_channels", 3)
        return ImageEmbeddingSpec(channels, self.embed, self.patch, self.size, self.extra, placed, masked, self.dropout)

    def network(self) -> FullNetwork:
        """The whole network."""
        t, reader = self.type, self.reader
        layers, embedding = self.layers(), self.embedding()
        pool, classifiers = t.endings[self.task.removeprefix(t.stem)]
        averaged = self.kind == "beit3" or (self.kind == "beit" and reader.switch("use_mean_pooling", True))
        if self.kind == "beit":
            pool = "mean" if averaged else "class_token"
        if not self.classes and pool == "both":
            pool = "class_token"  # what a bare DINOv2 calls its pooled output
        head = ImageHeadSpec(self.embed, self.classes, embedding.tokens, self.extra, pool, not averaged, self.eps)
        for key, (neutral, reason) in t.refused.items():
            reader.only(key, neutral, reason)
        reader.read.update(
            ("hidden_act", "encoder_stride", "out_features", "out_indices", "_out_features", "_out_indices")
        )
        reader.read.update(("pool_scales", "apply_layernorm", "auxiliary_num_convs", "auxiliary_concat_input"))
        reader.refuse_unread()
        gated = isinstance(layers[0], TransformerLayerSpec) and layers[0].facts.gated
        called = "fc_norm" if self.kind == "beit3" else "pooler.layernorm" if averaged else "layernorm"
        norm: Table = {called: ("norm",)}
        names = replace(
            t.names,
            parts={**_without_ffn(t.names.parts), **_DINO_GATED} if gated else t.names.parts,
            head={**norm, **classifiers},
            beside=frozenset({"classifier", "second"}),
        )
        layers = self._at(layers, embedding.tokens)
        return FullNetwork(
            embedding,
            layers,
            head,
            0,
            names,
            "" if self.bare else t.base,
            self._fresh(),
            t.droppable,
            Spelling(t.base.removesuffix("."), t.renames),
            resized=self._resized(),
        )

    def _resized(self) -> tuple[str, tuple[int, ...], Piece] | None:
        """Positions of images of another side than those that the network is for."""
        wanted = self.size // self.patch
        if self.type.antialias is None or wanted == self.stored:
            return None
        piece = Piece("embedding", "positions", grid=(self.stored, wanted), antialias=self.type.antialias)
        return "embeddings.position_embeddings", (self.stored**2 + 1, self.embed), piece

    @staticmethod
    def _at(layers: tuple[BodySpec, ...], tokens: int) -> tuple[BodySpec, ...]:
        """An image always has as many tokens."""
        return (replace(layers[0], tokens=tokens),) * len(layers)

    def _fresh(self) -> Fresh:
        classifiers = frozenset({"classifier", "second"})
        if self.own_head:
            return Fresh()
        other = not self.bare and not self.reader.classifies()
        return Fresh(optional=classifiers, fresh=classifiers if other else frozenset())


def read(config: Mapping[str, Any], classes: int | None = None) -> FullNetwork:
    """The network that a config.json of one of these types describes, with another number of classes if wanted.

    Raises:
        CheckpointError: another type or task, a number that is missing or impossible, or what is not computed here.
    """
    return _Encoder(config, classes).network()


# --- writing ---------------------------------------------------------------------------------------------


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None) -> dict[str, Any]:
    """The config.json of a part of a checkpoint's network: the widest of its layers everywhere.

    Heads are always as many as fill the hidden size, and DINOv2's feed-forward networks whole multiples of it, because
    these types know no other.

    Raises:
        CheckpointError: transformers has no such network, also not with zeros.
    """
    config = of_checkpoint(layers, checkpoint)
    kind = str(config.get("model_type"))
    if kind == "beit3":
        raise CheckpointError("transformers has no class of BEiT-3's image encoder; take onnx or torch_export")
    t = TYPES[kind]
    embedding, *_, head = layers.values()
    body = [layer for layer in layers.values() if isinstance(layer, EncoderLayerSpec | TransformerLayerSpec)]
    config["num_hidden_layers"] = len(body)
    if isinstance(embedding, ImageEmbeddingSpec):
        # Positions were resized to these images when they were loaded.
        config["image_size"] = embedding.size
    ffn = max(layer.ffn for layer in body)
    if t.stem.startswith("Dinov2"):
        gated = isinstance(body[0], TransformerLayerSpec) and body[0].facts.gated
        config["mlp_ratio"] = next(
            ratio for ratio in range(1, ffn + 2) if _dino_ffn(body[0].embed, ratio, gated) >= ffn
        )
    else:
        config["intermediate_size"] = ffn
    if isinstance(head, ImageHeadSpec) and head.classes:
        twice = "WithTeacher" if head.pool == "two" else ""
        config |= {"architectures": [f"{t.stem}ForImageClassification{twice}"], "num_labels": head.classes}
    return written(config, read(config), layers)
