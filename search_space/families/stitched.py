"""Stitched networks: the first layers of one trained network, a linear layer, and the last ones of a larger network.

Stitchable Neural Networks (arXiv 2302.06586). Anchors are two or more checkpoints of one model type, by size; only
neighbours are stitched, from the smaller to the larger one. The one choice is the path: `1.3-2.4` leaves anchor 1
behind its layer 3 and enters anchor 2 at its layer 4; `anchor1` is that anchor alone. Where layers are stitched is said
in `_stitches`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from search_space.adjustments import Adjustments, Options, space_name
from search_space.checkpoint import CheckpointError, Layout
from search_space.families import bert, llama, vit
from search_space.families._identity import digest
from search_space.families._stitches import Position, positions
from search_space.inputs import ImageInput, Input, TokenInput
from search_space.joined import PARTS, JoinedLayout
from search_space.layers import LayerSpec, StitchSpec
from search_space.plugins import JOINED
from search_space.space import Choice, SearchSpace

MODEL_TYPES = (JOINED,)
PATH = "path"
# Choices that have every option there is: what lies between anchors follows from them.
CLOSED = frozenset({PATH})
# Families whose networks are a beginning, layers of one width and a head.
KINDS: tuple[ModuleType, ...] = (vit, llama, bert)
# Of beginnings: what may differ from anchor to anchor. Everything else says which tokens there are.
OWN = frozenset({"embed", "dropout", "eps", "norm", "width", "bias", "masked", "positions", "tokens"})
MEANINGS = {"patch": "patches of {} pixels", "size": "images of {} pixels", "vocab": "a vocabulary of {} tokens"}

_VIT: dict[str, Any] = {"model_type": "vit", "num_hidden_layers": 12, "num_labels": 1000, "layer_norm_eps": 1e-6}
_SMALL: dict[str, Any] = {**_VIT, "image_size": 32, "patch_size": 4, "num_hidden_layers": 6}
_BYTES: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 256,
    "num_hidden_layers": 4,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": True,
}


def _sized(base: Mapping[str, Any], embed: int, heads: int, ffn: int, **more: Any) -> dict[str, Any]:
    return {**base, "hidden_size": embed, "num_attention_heads": heads, "intermediate_size": ffn, **more}


# Anchors as configurations: spaces of presets can be counted; their weights start random.
PRESETS: dict[str, tuple[dict[str, Any], ...]] = {
    # DeiT-Ti, -S and -B, the paper's own.
    "deit": (_sized(_VIT, 192, 3, 768), _sized(_VIT, 384, 6, 1536), _sized(_VIT, 768, 12, 3072)),
    # Images of 32x32 pixels and texts of bytes: small enough to train on a laptop's CPU.
    "cifar": tuple(_sized(_SMALL, embed, heads, 4 * embed, num_labels=10) for embed, heads in ((64, 2), (128, 4))),
    "bytes": (
        _sized(_BYTES, 64, 2, 176, num_key_value_heads=2),
        _sized(_BYTES, 96, 3, 264, num_key_value_heads=3, num_hidden_layers=6),
    ),
}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A whole network.

    Attributes:
        place: in the list of checkpoints, from 0.
        family, model_type: of its configuration.
        layers: at full size, by slot: `embedding`, `layer1` and so on, `head`.
    """

    place: int
    family: ModuleType
    model_type: str
    layers: Mapping[str, LayerSpec]
    takes: Input

    @property
    def depth(self) -> int:
        """Layers between the two ends."""
        return len(self.layers) - 2

    @property
    def embed(self) -> int:
        """Width of what its layers hand on."""
        return int(self.layers["layer1"].fields()["embed"])

    @property
    def tokens(self) -> int:
        """Positions for which costs are counted."""
        return int(self.layers["layer1"].fields()["tokens"])

    @property
    def params(self) -> int:
        """Parameters of the whole network."""
        return sum(layer.params() for layer in self.layers.values())

    def __str__(self) -> str:
        """For messages: its place in the list that somebody gave."""
        return f"checkpoint {self.place + 1}"


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset, whose anchors start with random weights."""
    return _space(space_name("stitched", preset, adjustments), _anchors(PRESETS[preset], adjustments), adjustments)


def checkpoint_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    """The search space of several checkpoints.

    Args:
        config: of `search_space.joined.read_checkpoints`.

    Raises:
        CheckpointError: a single checkpoint, or checkpoints that cannot be stitched.
        ValueError: a preset, whose anchors are others, or an adjustment that cannot be honoured.
    """
    _refuse_single(config)
    if preset is not None:
        raise ValueError(f"Preset {preset!r} of family 'stitched' has anchors of its own; leave it out.")
    anchors = _anchors(config[PARTS], adjustments)
    name = f"stitched/checkpoint-{digest([tuple(anchor.layers.values()) for anchor in anchors])}"
    return _space(name, anchors, adjustments)


def layout(config: Mapping[str, Any], classes: int | None = None) -> Layout | JoinedLayout:
    """Which tensor of the checkpoints goes where; of a single configuration, which an anchor alone is written with, as
    its own family has it."""
    if config.get("model_type") != JOINED:
        single: Layout = _family_of(config, "the checkpoint").layout(config, classes)
        return single
    anchors = _anchors(config[PARTS], Adjustments(classes=classes))
    parts: dict[int, tuple[Layout, str]] = {}
    for number, anchor in enumerate(anchors, 1):
        own: Layout = anchor.family.layout(config[PARTS][anchor.place], classes)
        parts[anchor.place] = own, f"anchor{number}_"
    return JoinedLayout(tuple(parts[place] for place in range(len(anchors))))


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config.json of a network that is an anchor alone.

    Args:
        checkpoint: of the anchors.

    Raises:
        CheckpointError: it runs through two of them, or its family writes none.
    """
    number = next(iter(layers)).split("_")[0]
    if any(isinstance(layer, StitchSpec) for layer in layers.values()):
        raise CheckpointError(
            "it goes from one anchor to another through a stitching layer, which no class of transformers has; anchors "
            "alone can be written so"
        )
    own = {slot.removeprefix(f"{number}_"): layer for slot, layer in layers.items()}
    if (tied := own["head"].fields().get("tied_to")) is not None:
        own["head"] = replace(own["head"], tied_to=str(tied).removeprefix(f"{number}_"))  # type: ignore[call-arg]
    for family in KINDS:
        for config in (checkpoint or {}).get(PARTS, (None,)):
            try:
                found: dict[str, Any] = family.config_of(own, config)
            except CheckpointError:
                continue
            return found
    raise CheckpointError("its layers are those of no model of transformers")


# --- anchors ---------------------------------------------------------------------------------------------


def _refuse_single(config: Mapping[str, Any]) -> None:
    if config.get("model_type") != JOINED:
        raise CheckpointError(
            "Family 'stitched' joins two or more checkpoints, and supernet.pretrained is one; give a list of folders."
        )


def _family_of(config: Mapping[str, Any], who: str) -> ModuleType:
    kind = config.get("model_type")
    for family in KINDS:
        if kind in family.MODEL_TYPES:
            return family
    known = sorted(name for family in KINDS for name in family.MODEL_TYPES)
    raise CheckpointError(f"The model_type of {who} is {kind!r}; networks of these are stitched: {', '.join(known)}.")


def _anchors(configs: Sequence[Mapping[str, Any]], adjustments: Adjustments) -> tuple[Anchor, ...]:
    """The anchors from the smallest to the largest.

    Raises:
        CheckpointError: they cannot be stitched.
    """
    if len(configs) < 2:
        raise CheckpointError(f"Got {len(configs)} checkpoint to stitch; give two or more.")
    found = [_anchor(config, place, adjustments, adjustments.length) for place, config in enumerate(configs)]
    _check_alike(found)
    lengths = {one.takes.length for one in found if isinstance(one.takes, TokenInput)}
    if len(lengths) > 1:
        found = [_anchor(config, place, adjustments, min(lengths)) for place, config in enumerate(configs)]
    for one in found:
        for other in found[: one.place]:
            if tuple(one.layers.values()) == tuple(other.layers.values()):
                raise CheckpointError(
                    f"The layers of {other} and {one} have the same sizes, so no path between them is cheaper than the "
                    "larger one; take networks of different sizes."
                )
    return tuple(sorted(found, key=lambda one: (one.params, one.place)))


def _anchor(config: Mapping[str, Any], place: int, adjustments: Adjustments, length: int | None) -> Anchor:
    family = _family_of(config, f"checkpoint {place + 1}")
    own = family.checkpoint_space(config, None, Adjustments(classes=adjustments.classes, length=length))
    layers = own.capacity()
    assert own.takes is not None
    if getattr(own.takes, "features", None) is not None:
        raise CheckpointError(
            f"Checkpoint {place + 1} gives vectors, whose widths differ from anchor to anchor; say how many classes a "
            "new classifier should have (supernet.classes)."
        )
    return Anchor(place, family, str(config["model_type"]), layers, own.takes)


def _check_alike(anchors: Sequence[Anchor]) -> None:
    """Refuse networks whose tokens or answers are not the same things."""
    first = anchors[0]
    for other in anchors[1:]:
        if other.model_type != first.model_type:
            raise CheckpointError(
                f"The checkpoints are of different kinds: {first} is a {first.model_type}, {other} a "
                f"{other.model_type}. Networks of one model type are stitched."
            )
        mine, theirs = first.layers["embedding"].fields(), other.layers["embedding"].fields()
        for name in mine:
            if name not in OWN and mine[name] != theirs.get(name):
                what = MEANINGS.get(name, f"{name} {{}}")
                raise CheckpointError(
                    f"The checkpoints do not read the same tokens: {first} has {what.format(mine[name])}, {other} "
                    f"{what.format(theirs[name])}. A position must mean the same in all of them."
                )
        classes = [getattr(one.takes, "classes", None) for one in (first, other)]
        if classes[0] != classes[1]:
            raise CheckpointError(
                f"The checkpoints have different classes: {first} {classes[0]}, {other} {classes[1]}. Take networks of "
                "the same task, or set supernet.classes, which gives all of them new classifiers."
            )
        if first.tokens != other.tokens and isinstance(first.takes, ImageInput):
            raise CheckpointError(
                f"The checkpoints do not read the same tokens: {first} has {first.tokens} positions, {other} "
                f"{other.tokens}."
            )


# --- the space -------------------------------------------------------------------------------------------


def _space(name: str, anchors: Sequence[Anchor], adjustments: Adjustments) -> SearchSpace:
    wholes = [_whole(anchor, number) for number, anchor in enumerate(anchors, 1)]
    networks = {f"anchor{number}": layers for number, layers in enumerate(wholes, 1)}
    stitches: list[dict[str, LayerSpec]] = []
    for number in range(1, len(anchors)):
        paths, own = _between(number, anchors, wholes)
        networks |= paths
        stitches.append(own)
    largest = f"anchor{len(anchors)}"
    params = {path: sum(layer.params() for layer in layers.values()) for path, layers in networks.items()}
    known = sorted(networks, key=lambda path: (path == largest, params[path]))
    options = Options(name, adjustments)
    kept = options.of(PATH, known)
    options.finish()

    def capacity() -> dict[str, LayerSpec]:
        found: dict[str, LayerSpec] = dict(wholes[0])
        for own, layers in zip(stitches, wholes[1:], strict=True):
            found |= {**own, **layers}
        return found

    return SearchSpace(
        name, [Choice(PATH, kept)], lambda values: dict(networks[str(values[PATH])]), capacity, _takes(anchors)
    )


def _takes(anchors: Sequence[Anchor]) -> Input:
    """What all anchors take: texts as long as the shortest that one of them reads."""
    takes = anchors[0].takes
    if not isinstance(takes, TokenInput):
        return takes
    return replace(takes, max_length=min(one.takes.max_length for one in anchors if isinstance(one.takes, TokenInput)))


def _whole(anchor: Anchor, number: int) -> dict[str, LayerSpec]:
    """An anchor alone, in slots of its own."""
    found = {f"anchor{number}_{slot}": layer for slot, layer in anchor.layers.items()}
    found[f"anchor{number}_head"] = _tied(anchor.layers["head"], f"anchor{number}_embedding")
    return found


def _tied(head: LayerSpec, slot: str) -> LayerSpec:
    """A head, if it is tied, with the slot of its embedding; empty: that is not in its network, and the weight is its
    own."""
    return replace(head, tied_to=slot) if head.fields().get("tied_to") else head  # type: ignore[call-arg]


def _between(
    number: int, anchors: Sequence[Anchor], wholes: Sequence[Mapping[str, LayerSpec]]
) -> tuple[dict[str, dict[str, LayerSpec]], dict[str, LayerSpec]]:
    """Paths from anchor `number`, from 1, to the next one, by their names; and all stitching layers by slot."""
    front, back = anchors[number - 1], anchors[number]
    every = positions(front.depth, back.depth)
    stitch = StitchSpec(front.embed, back.embed, front.tokens)
    beginning, end = list(wholes[number - 1].items()), list(wholes[number].items())
    head = {f"anchor{number + 1}_head": _tied(back.layers["head"], "")}

    def network(place: Position) -> dict[str, LayerSpec]:
        between = {f"stitch{number}_{place.layer}": stitch}
        return {**dict(beginning[: place.leave + 1]), **between, **dict(end[place.enter : -1]), **head}

    paths = {f"{number}.{place.leave}-{number + 1}.{place.enter}": network(place) for place in every}
    return paths, {f"stitch{number}_{layer}": stitch for layer in sorted({place.layer for place in every})}


# Adjustments under which a preset that is too big for a test runs in one; None: nothing that may be adjusted makes
# anchors small, and the other presets run the same code.
NARROWED: dict[str, Adjustments | None] = {"deit": None}
