"""Two towers: images and texts become vectors that are compared, from a checkpoint or a named preset: `_tower_types`.

Elastic are, in each tower, the number of layers (the first ones are kept), and in each layer the number of attention
heads and the width of its feed-forward network. Embeddings, projections, the pooling of images and the scale of the
logits stay: they are what both towers meet in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from search_space.adjustments import Adjustments, Options, space_name, whole
from search_space.beit3_configs import RETRIEVAL
from search_space.checkpoint import CheckpointError, Layout, shares
from search_space.families import _tower_types
from search_space.families._tower_types import Tower, Towers
from search_space.inputs import PairInput
from search_space.layers import (
    ImageTowerSpec,
    LayerSpec,
    PairHeadSpec,
    TextTowerSpec,
    TowerHeadSpec,
    TransformerLayerSpec,
)
from search_space.layers.towers import NONE
from search_space.space import Choice, SearchSpace, Values

MODEL_TYPES = tuple(_tower_types.TYPES)


@dataclass(frozen=True, slots=True)
class TowersPreset:
    """A full-size network as a configuration, and the options of its choices by tower (None: shares of its sizes).

    Attributes:
        config: what a checkpoint's config.json would say.
    """

    config: Mapping[str, Any]
    depths: Mapping[str, tuple[int, ...]] | None = None
    heads: tuple[int, ...] | None = None
    ffns: tuple[int, ...] | None = None


def _small(kind: str, text: Mapping[str, Any], **whole_network: Any) -> dict[str, Any]:
    """32x32 images in 64 patches, and short texts: small enough to train on a laptop's CPU."""
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4}
    image = {**sizes, "num_hidden_layers": 6, "image_size": 32, "patch_size": 4}
    words = {**sizes, "num_hidden_layers": 4, **text}
    return {"model_type": kind, "vision_config": image, "text_config": words, **whole_network}


PRESETS: dict[str, TowersPreset] = {
    "clip_vit_base_patch32": TowersPreset({"model_type": "clip"}),
    "clip_vit_base_patch16": TowersPreset({"model_type": "clip", "vision_config": {"patch_size": 16}}),
    "siglip_base_patch16": TowersPreset({"model_type": "siglip"}),
    "beit3_base_patch16_384": TowersPreset({"model_type": RETRIEVAL, "vision_config": {"image_size": 384}}),
    # Texts as bytes, which have no token that ends them: the form of SigLIP, which reads a text as a whole.
    "cifar": TowersPreset(
        _small("siglip", {"vocab_size": 256, "max_position_embeddings": 64}),
        depths={"image": (3, 4, 5, 6), "text": (2, 3, 4)},
        heads=(1, 2, 3, 4),
        ffns=(128, 256, 384, 512),
    ),
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset; its weights are as large as the largest options."""
    wanted = PRESETS[preset]
    network = _tower_types.read(wanted.config)
    return _space(space_name("two_tower", preset, adjustments), wanted, network, adjustments, pretrained=False)


def checkpoint_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    """The search space of a checkpoint: the preset's options, or shares of its own sizes.

    Raises:
        CheckpointError: not a checkpoint of this family.
        ValueError: options that are larger than the checkpoint.
    """
    network = _tower_types.read(config)
    wanted = PRESETS[preset] if preset else TowersPreset(config)
    return _space(
        f"two_tower/{preset or 'checkpoint'}-{network.identity}", wanted, network, adjustments, pretrained=True
    )


def layout(config: Mapping[str, Any], classes: int | None = None) -> Layout:
    """Which tensor of a checkpoint goes where.

    Raises:
        CheckpointError: classes were asked for.
    """
    _refuse_classes(classes)
    return _tower_types.layout(_tower_types.read(config))


def _refuse_classes(classes: int | None) -> None:
    if classes is not None:
        raise CheckpointError(
            "A network of two towers compares images and texts and has no classes; leave `classes` out. "
            "Classes are told apart by texts that name them: see data.templates."
        )


def _space(
    name: str, wanted: TowersPreset, network: Towers, adjustments: Adjustments, *, pretrained: bool
) -> SearchSpace:
    _refuse_classes(adjustments.classes)
    length = _length(name, network, adjustments)
    options = Options(name, adjustments)
    choices = [
        choice
        for tower, one in network.each.items()
        for choice in _choices(tower, wanted, one, options, pretrained=pretrained)
    ]
    options.finish()

    def layers(values: Values | None) -> dict[str, LayerSpec]:
        found: dict[str, LayerSpec] = {}
        for name, tower in network.each.items():
            tokens = length if isinstance(tower.first, TextTowerSpec) else tower.first.tokens
            found[f"{name}_embedding"] = _sized(tower.first, tokens)
            depth = tower.layers if values is None else int(values[f"{name}_depth"])
            for i in range(1, depth + 1):
                slot = f"{name}_layer{i}"
                heads = tower.layer.heads if values is None else int(values[f"{slot}_heads"])
                ffn = tower.layer.ffn if values is None else int(values[f"{slot}_ffn"])
                found[slot] = _layer(tower.layer, heads, ffn, tokens)
            found[f"{name}_head"] = _sized(tower.head, tokens)
        return found | {"pair": network.pair}

    patches, words = network.image.first, network.text.first
    assert isinstance(patches, ImageTowerSpec)
    assert isinstance(words, TextTowerSpec)
    takes = PairInput(
        patches.channels,
        patches.size,
        words.vocab,
        length,
        words.positions,
        whole=words.end == NONE,
        loss="sigmoid" if network.pair.bias else "softmax",
        end=words.end if words.end >= 0 else None,
    )
    return SearchSpace(name, choices, layers, (lambda: layers(None)) if pretrained else None, takes)


def _length(name: str, network: Towers, adjustments: Adjustments) -> int:
    length = adjustments.length or network.length
    if length > network.max_length:
        raise ValueError(f"Got a length of {length} tokens; networks of {name!r} take at most {network.max_length}.")
    return length


@lru_cache(maxsize=1024)
def _sized(spec: LayerSpec, tokens: int) -> LayerSpec:
    # Equal layers are one object, whose totals are computed once.
    return replace(spec, tokens=tokens) if "tokens" in spec.fields() else spec  # type: ignore[call-arg]


@lru_cache(maxsize=65536)
def _layer(spec: TransformerLayerSpec, heads: int, ffn: int, tokens: int) -> TransformerLayerSpec:
    return replace(spec, heads=heads, kv_heads=heads, ffn=ffn, tokens=tokens)


def _choices(name: str, wanted: TowersPreset, tower: Tower, options: Options, *, pretrained: bool) -> Iterator[Choice]:
    """Depth of a tower, then heads and feed-forward width of every layer; layers beyond the depth are inactive."""
    layer = tower.layer
    depths = options.of(
        f"{name}_depth",
        shares(tower.layers, (2, 3), 1) if wanted.depths is None else wanted.depths[name],
        whole(1, tower.layers if pretrained else 1024),
    )
    yield Choice(f"{name}_depth", depths)
    for i in range(1, int(depths[-1]) + 1):
        deep_enough = tuple(depth for depth in depths if int(depth) >= i)
        when = None if deep_enough == depths else (f"{name}_depth", deep_enough)
        heads = wanted.heads or shares(layer.heads, (2, 3), 1), whole(1, layer.heads if pretrained else None)
        ffns = wanted.ffns or shares(layer.ffn, (1, 2, 3), 8), whole(1, layer.ffn if pretrained else None)
        for word, (default, rule) in (("heads", heads), ("ffn", ffns)):
            slot = f"{name}_layer{i}_{word}"
            yield Choice(slot, options.of(slot, default, rule), when)


# --- writing ---------------------------------------------------------------------------------------------


def config_of(layers: Mapping[str, LayerSpec], _checkpoint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config.json under which transformers builds a network of these layers, the widest of them everywhere.

    A layer that is narrower computes the same with zeros in the rest.

    Raises:
        CheckpointError: no model of transformers has such layers.
    """
    return _tower_types.config_of(_network_of(layers))


def _network_of(layers: Mapping[str, LayerSpec]) -> Towers:
    """The network whose layers are as wide as the widest of each tower."""
    pair = layers["pair"]
    assert isinstance(pair, PairHeadSpec)
    if any(isinstance(one, TransformerLayerSpec) and one.facts.inner_norms for one in layers.values()):
        raise CheckpointError("transformers has no class of BEiT-3's two towers; take onnx or torch_export")
    towers = {}
    for name in ("image", "text"):
        first, head = layers[f"{name}_embedding"], layers[f"{name}_head"]
        stack = [one for slot, one in layers.items() if slot.startswith(f"{name}_layer")]
        between = [one for one in stack if isinstance(one, TransformerLayerSpec)]
        assert isinstance(first, ImageTowerSpec | TextTowerSpec)
        assert isinstance(head, TowerHeadSpec)
        widest, ffn = max(one.heads for one in between), max(one.ffn for one in between)
        # transformers' heads fill the width, so those that are not there are zeros; pooling is as wide as the layers.
        full = between[0].embed // between[0].head_dim
        if widest > full or (head.ffn and ffn > head.ffn):
            raise CheckpointError("its layers are wider than transformers builds them beside such ends")
        widest, ffn = full, head.ffn or ffn
        towers[name] = Tower(first, replace(between[0], heads=widest, kv_heads=widest, ffn=ffn), len(between), head)
    return Towers("siglip" if pair.bias else "clip", towers["image"], towers["text"], pair)


# Adjustments under which a preset that is too big for a test runs in one.
NARROWED: dict[str, Adjustments | None] = dict.fromkeys(
    ("clip_vit_base_patch32", "clip_vit_base_patch16", "siglip_base_patch16", "beit3_base_patch16_384")
)
