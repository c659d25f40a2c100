"""ViT family: transformers on the patches of an image, from a checkpoint or a named preset: ViT and `_image_types`.

The number of layers is elastic (the first ones are kept), and so is the width of the embedding where weights are
trained from scratch. In each layer the number of attention heads and the width of its feed-forward network are elastic.
A head is always `head_dim` wide, whatever the embedding (AutoFormer with independent qkv width).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from search_space.adjustments import Adjustments, Options, number, space_name, whole
from search_space.checkpoint import CheckpointError, ConfigReader, Layout, shares
from search_space.families import _image_types
from search_space.families._encoder import Encoder, config_of_layers, encoder_choices, encoder_layer
from search_space.families._identity import digest
from search_space.families._names import Names, places, prefixed
from search_space.families._network import Wanted, network_space
from search_space.inputs import ImageInput
from search_space.layers import ImageEmbeddingSpec, LayerSpec, PatchEmbeddingSpec, PatchHeadSpec
from search_space.space import Choice, SearchSpace, Values
from search_space.spellings import LEGACY, VIT, Spelling

MODEL_TYPES = ("vit", *_image_types.TYPES)
TASKS = ("ViTForImageClassification", "ViTModel")


@dataclass(frozen=True, slots=True)
class ImageEncoder:
    """The shape of a full-size network.

    Attributes:
        size, patch: height and width of the image and of a patch, in pixels.
        pool: what the classifier reads: `class_token`, or the `mean` of the patches.
    """

    encoder: Encoder
    channels: int
    size: int
    patch: int
    classes: int
    pool: str

    @property
    def tokens(self) -> int:
        """Positions, the class token's included."""
        return (self.size // self.patch) ** 2 + 1

    def embedding(self, embed: int) -> PatchEmbeddingSpec:
        """The first layer."""
        return PatchEmbeddingSpec(self.channels, embed, self.patch, self.size, self.encoder.dropout)

    def head(self, embed: int) -> PatchHeadSpec:
        """The last layer."""
        return PatchHeadSpec(embed, self.classes, self.tokens, self.pool, self.encoder.eps)


@dataclass(frozen=True, slots=True)
class ViTPreset:
    """A full-size network and the options of its choices (None: shares of the full size).

    Attributes:
        ffns: widths of the feed-forward network.
        ratios: instead, its width over the embedding's.
    """

    network: ImageEncoder
    depths: tuple[int, ...] | None
    heads: tuple[int, ...] | None
    embeds: tuple[int, ...]
    ffns: tuple[int, ...] | None = None
    ratios: tuple[float, ...] | None = None


def _network(
    embed: int, layers: int, heads: int, ffn: int, *, size: int, patch: int, classes: int, head_dim: int = 64
) -> ImageEncoder:
    """A ViT as its paper has it: pre-norm, GELU, class token."""
    encoder = Encoder(
        embed=embed,
        layers=layers,
        heads=heads,
        head_dim=head_dim,
        ffn=ffn,
        norm_first=True,
        activation="GELU",
        qkv_bias=True,
        relative=0,
        eps=1e-6,
        dropout=0.0,
        attention_dropout=0.0,
    )
    return ImageEncoder(encoder, 3, size, patch, classes, "class_token")


def _autoformer(
    embeds: tuple[int, ...], depths: tuple[int, ...], heads: tuple[int, ...], ratios: tuple[float, ...]
) -> ViTPreset:
    """AutoFormer (arXiv 2107.00651): relative positions up to a distance of 14, mean over the patches."""
    plain = _network(embeds[-1], depths[-1], heads[-1], int(embeds[-1] * ratios[-1]), size=224, patch=16, classes=1000)
    network = replace(plain, encoder=replace(plain.encoder, relative=14), pool="mean")
    return ViTPreset(network, depths, heads, embeds, ratios=ratios)


PRESETS: dict[str, ViTPreset] = {
    # ViT-B/16 with InstaTune's options (arXiv 2308.15609).
    "vit_base": ViTPreset(
        _network(768, 12, 12, 3072, size=224, patch=16, classes=1000),
        depths=(11, 12),
        heads=(6, 8, 10, 12),
        embeds=(768,),
        ffns=(2048, 2560, 3072),
    ),
    # AutoFormer's supernets. Options are those from which its published networks are drawn: ratio 3 in
    # AutoFormer-T and 8 heads in AutoFormer-B lie outside the tables of the supernets' own training.
    "autoformer_tiny": _autoformer((192, 216, 240), (12, 13, 14), (3, 4), (3.0, 3.5, 4.0)),
    "autoformer_small": _autoformer((320, 384, 448), (12, 13, 14), (5, 6, 7), (3.0, 3.5, 4.0)),
    "autoformer_base": _autoformer((528, 576, 624), (14, 15, 16), (8, 9, 10), (3.0, 3.5, 4.0)),
    # 32x32 images in 65 positions: small enough to train on a laptop's CPU.
    "cifar": ViTPreset(
        _network(128, 6, 4, 512, size=32, patch=4, classes=10, head_dim=32),
        depths=(3, 4, 5, 6),
        heads=(1, 2, 3, 4),
        embeds=(64, 96, 128),
        ratios=(1.0, 2.0, 3.0, 4.0),
    ),
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset; its weights are as large as the largest options."""
    wanted = PRESETS[preset]
    network = wanted.network
    if adjustments.classes is not None:
        network = replace(network, classes=adjustments.classes)
    return _space(space_name("vit", preset, adjustments), wanted, network, adjustments, False)


def checkpoint_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    """The search space of a checkpoint: the preset's options, or shares of its own sizes.

    Its weights are the checkpoint's at full size, whatever the choices; the embedding keeps its width.

    Raises:
        CheckpointError: not a checkpoint of this family.
        ValueError: options that are larger than the checkpoint.
    """
    if config.get("model_type") in _image_types.TYPES:
        return _table_space(config, preset, adjustments)
    network = read(config, adjustments.classes)
    wanted = PRESETS[preset] if preset else ViTPreset(network, None, None, ())
    if network.encoder.relative != wanted.network.encoder.relative or wanted.ratios:
        raise ValueError(f"Preset {preset!r} cannot start from a checkpoint; leave it out, or take vit_base.")
    wanted = replace(wanted, embeds=(network.encoder.embed,))
    return _space(f"vit/{preset or 'checkpoint'}-{digest(network)}", wanted, network, adjustments, True)


def _table_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    options = Wanted(False, "heads")
    if preset:
        own = PRESETS[preset]
        if own.ratios or own.network.encoder.relative:
            raise ValueError(f"Preset {preset!r} cannot start from a checkpoint; leave it out, or take vit_base.")
        options = Wanted(False, "heads", own.depths, own.heads, own.ffns)
    network = _image_types.read(config, adjustments.classes)
    return network_space("vit", preset, network, options, adjustments)


def _space(
    name: str, preset: ViTPreset, network: ImageEncoder, adjustments: Adjustments, pretrained: bool
) -> SearchSpace:
    if adjustments.length is not None:
        raise ValueError(f"Space {name!r} takes images, not tokens; leave the sequence length out.")
    options = Options(name, adjustments)
    choices = list(_choices(preset, network.encoder, options, pretrained))
    options.finish()

    def capacity() -> dict[str, LayerSpec]:
        e = network.encoder
        layers = {
            f"layer{i}": encoder_layer(e, e.embed, e.heads, e.ffn, network.tokens) for i in range(1, e.layers + 1)
        }
        return {"embedding": network.embedding(e.embed), **layers, "head": network.head(e.embed)}

    return SearchSpace(
        name,
        choices,
        blueprint=lambda values: _blueprint(network, values),
        capacity=capacity if pretrained else None,
        takes=ImageInput(network.channels, network.size, network.classes),
    )


def _choices(preset: ViTPreset, e: Encoder, options: Options, pretrained: bool) -> Iterator[Choice]:
    widths = whole(e.embed, e.embed) if pretrained else whole()
    yield Choice("embed", options.of("embed", preset.embeds, widths))
    depths = options.of(
        "depth", preset.depths or shares(e.layers, (2, 3), 1), whole(1, e.layers if pretrained else 1024)
    )
    heads = preset.heads or shares(e.heads, (2, 3), 1), whole(1, e.heads if pretrained else None)
    if preset.ratios is not None:
        yield from encoder_choices(options, depths, heads, ("ratio", preset.ratios, number(0, 16)))
    else:
        most = whole(1, e.ffn if pretrained else None)
        yield from encoder_choices(options, depths, heads, ("ffn", preset.ffns or shares(e.ffn, (1, 2, 3), 8), most))


def _blueprint(network: ImageEncoder, values: Values) -> dict[str, LayerSpec]:
    embed = int(values["embed"])
    layers: dict[str, LayerSpec] = {"embedding": network.embedding(embed)}
    for i in range(1, int(values["depth"]) + 1):
        ratio = values.get(f"layer{i}_ratio")
        ffn = int(values[f"layer{i}_ffn"]) if ratio is None else int(embed * float(ratio))
        layers[f"layer{i}"] = encoder_layer(network.encoder, embed, int(values[f"layer{i}_heads"]), ffn, network.tokens)
    layers["head"] = network.head(embed)
    return layers


# --- checkpoints -----------------------------------------------------------------------------------------


def read(config: Mapping[str, Any], classes: int | None = None) -> ImageEncoder:
    """The network that a config.json describes, with another number of classes if wanted.

    Raises:
        CheckpointError: another model type or task, or a number that is missing or impossible.
    """
    reader = ConfigReader(config, ("vit",))
    task = reader.task(TASKS)
    size, patch = reader.whole("image_size", 224), reader.whole("patch_size", 16)
    if size < patch:
        raise CheckpointError(f"config.json has an image size of {size} for patches of {patch} pixels.")
    own = reader.own_classes(classes) if task == "ViTForImageClassification" else 0
    if not own and classes is None:
        raise CheckpointError("The checkpoint has no classifier; say how many `classes` a new one should have.")
    return ImageEncoder(
        encoder=Encoder.read(reader, norm_first=True, qkv_bias=config.get("qkv_bias", True) is True, dropout=0.0),
        channels=reader.whole("num_channels", 3),
        size=size,
        patch=patch,
        classes=own if classes is None else classes,
        pool="class_token",
    )


# Model type -> what its tensors are called.
NAMES = {
    "vit": Names(
        layer="encoder.layer.{i}.",
        embedding={
            "embeddings.cls_token": ("class_token",),
            "embeddings.position_embeddings": ("positions",),
            "embeddings.patch_embeddings.projection": ("patches",),
        },
        parts={
            "attention.attention.query": ("query",),
            "attention.attention.key": ("key",),
            "attention.attention.value": ("value",),
            "attention.output.dense": ("output",),
            "layernorm_before": ("attention_norm",),
            "intermediate.dense": ("ffn_in",),
            "output.dense": ("ffn_out",),
            "layernorm_after": ("ffn_norm",),
        },
        head={"layernorm": ("norm",)},
    )
}


def layout(config: Mapping[str, Any], classes: int | None = None) -> Layout:
    """Which tensor of a checkpoint goes where."""
    if config.get("model_type") in _image_types.TYPES:
        return _image_types.read(config, classes).layout()
    network = read(config, classes)
    reader = ConfigReader(config, ("vit",))
    task = reader.task(TASKS)
    names = NAMES[reader.model_type]
    base = "" if task == "ViTModel" else "vit."
    found = places("embedding", _embedding_shapes(network), prefixed(base, names.embedding))
    for i in range(1, network.encoder.layers + 1):
        found |= names.layer_places(i, network.encoder.shapes(), base=base)
    found |= places("head", _head_shapes(network), prefixed(base, names.head))
    new = task == "ViTModel" or classes is not None
    other = task == "ViTForImageClassification" and not reader.classifies()
    found |= places("head", _head_shapes(network), {"classifier": ("classifier",)}, optional=new, fresh=other)
    return Layout(found, ("pooler.*", "vit.pooler.*", "*embeddings.mask_token"), Spelling("vit", VIT + LEGACY))


def _embedding_shapes(network: ImageEncoder) -> dict[str, tuple[int, ...]]:
    embed = network.encoder.embed
    return {
        "class_token": (embed,),
        "positions": (network.tokens, embed),
        "patches.weight": (embed, network.channels, network.patch, network.patch),
        "patches.bias": (embed,),
    }


def _head_shapes(network: ImageEncoder) -> dict[str, tuple[int, ...]]:
    embed = network.encoder.embed
    norm: dict[str, tuple[int, ...]] = {"norm.weight": (embed,), "norm.bias": (embed,)}
    return norm | {"classifier.weight": (network.classes, embed), "classifier.bias": (network.classes,)}


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config.json under which transformers builds a network of these layers, the widest of them everywhere.

    A layer that is narrower computes the same with zeros in the rest. `head_dim` is said where heads do not fill the
    hidden size.

    Args:
        checkpoint: config.json of the checkpoint that they came from; types of a table need it.

    Raises:
        CheckpointError: no model of transformers has such layers.
    """
    if any(isinstance(layer, ImageEmbeddingSpec) for layer in layers.values()):
        return _image_types.config_of(layers, checkpoint)
    embedding, *middle, head = layers.values()
    if not isinstance(embedding, PatchEmbeddingSpec) or not isinstance(head, PatchHeadSpec):
        raise CheckpointError("its layers are not those of an encoder of images")
    first, sizes = config_of_layers(middle, norm_first=True)
    if head.pool != "class_token":
        raise CheckpointError("it averages its patches, and transformers' ViT reads the class token")
    own_width = sizes["num_attention_heads"] * first.head_dim == first.embed
    return {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        **sizes,
        **({} if own_width else {"head_dim": first.head_dim}),
        "qkv_bias": first.qkv_bias,
        "image_size": embedding.size,
        "patch_size": embedding.patch,
        "num_channels": embedding.channels,
        "num_labels": head.classes,
    }


# Adjustments under which a preset that is too big for a test runs in one.
_LAYERS = {"depth": (1, 2), "layer*_heads": (1, 2)}
NARROWED: dict[str, Adjustments | None] = {
    "vit_base": Adjustments({**_LAYERS, "embed": (32,), "layer*_ffn": (32, 64)}, classes=10),
    **dict.fromkeys(
        ("autoformer_tiny", "autoformer_small", "autoformer_base"),
        Adjustments({**_LAYERS, "embed": (24, 32), "layer*_ratio": (1.0, 2.0)}, classes=10),
    ),
}
