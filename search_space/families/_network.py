"""A checkpoint's network as specs at full size, and the space of those that are parts of it.

Model types of `_decoder_types`, `_text_types` and `_image_types` end here: what differs between them is in their
tables and in the specs that these give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

from search_space.adjustments import Adjustments, Options, Rule, whole
from search_space.architecture import Option
from search_space.checkpoint import Layout, Piece, Place, shares
from search_space.families._identity import digest
from search_space.families._names import Names, Shapes, places, prefixed
from search_space.families._written import confirm
from search_space.inputs import ImageInput, Input, TokenInput
from search_space.layers import EncoderLayerSpec, LayerSpec, TransformerLayerSpec
from search_space.space import Choice, SearchSpace, Values
from search_space.spellings import Spelling

BodySpec: TypeAlias = EncoderLayerSpec | TransformerLayerSpec


@dataclass(frozen=True, slots=True)
class Fresh:
    """What of the last slot is not loaded.

    Attributes:
        optional: modules that may lack and then start fresh.
        fresh: modules that start fresh whatever is stored: it is of another task.
    """

    optional: frozenset[str] = frozenset()
    fresh: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FullNetwork:
    """A checkpoint's whole network and where its tensors are.

    Attributes:
        embedding, layers, head: specs at full size.
        max_length: positions that a text may have; 0 of images.
        names: names of its tensors.
        base: prefix that these have in its file.
        fresh: what may lack.
        droppable, spelling, stand_ins: see `Layout`.
        resized: (name on the disk, shape there, piece) of positions that are resized as they are loaded.
        counted: tokens for which costs are counted unless a job says otherwise.
    """

    embedding: LayerSpec
    layers: tuple[BodySpec, ...]
    head: LayerSpec
    max_length: int
    names: Names
    base: str = ""
    fresh: Fresh = field(default_factory=Fresh)
    droppable: tuple[str, ...] = ()
    spelling: Spelling = field(default_factory=Spelling)
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    resized: tuple[str, tuple[int, ...], Piece] | None = None
    counted: int = 128

    @property
    def identity(self) -> str:
        """Equal networks, equal ids."""
        return digest((self.embedding, self.layers, self.head, self.max_length))

    def layout(self) -> Layout:
        """Which tensor of a checkpoint goes where."""
        names = self.names
        found = places("embedding", shapes_of(self.embedding), prefixed(self.base, names.embedding))
        if self.resized is not None:
            disk, shape, piece = self.resized
            found[self.base + disk] = Place("", "", shape, split=(piece,))
        for number, layer in enumerate(self.layers, 1):
            heads = layer.heads if isinstance(layer, TransformerLayerSpec) else 1
            found |= names.layer_places(number, shapes_of(layer), heads, self.base)
        for disk, own in names.head.items():
            optional, fresh = own[0] in self.fresh.optional, own[0] in self.fresh.fresh
            # The head of a task stands beside the base model, whose prefix its names do not have.
            base = "" if own[0] in names.beside else self.base
            found |= places("head", shapes_of(self.head), {base + disk: own}, optional=optional, fresh=fresh)
        return Layout(found, self.droppable, self.spelling, self.stand_ins)


def shapes_of(spec: LayerSpec) -> Shapes:
    """Parameters of a spec's block."""
    if isinstance(spec, EncoderLayerSpec):
        return _encoder_shapes(spec)
    shapes: Shapes = spec.shapes  # type: ignore[attr-defined]
    return shapes


def _encoder_shapes(spec: EncoderLayerSpec) -> Shapes:
    width, embed = spec.heads * spec.head_dim, spec.embed
    weights: dict[str, tuple[int, ...]] = dict.fromkeys(("query", "key", "value"), (width, embed))
    weights |= {"output": (embed, width), "ffn_in": (spec.ffn, embed), "ffn_out": (embed, spec.ffn)}
    weights |= dict.fromkeys(("attention_norm", "ffn_norm"), (embed,))
    unbiased = () if spec.qkv_bias else ("query", "key", "value")
    biases = {f"{name}.bias": shape[:1] for name, shape in weights.items() if name not in unbiased}
    return {f"{name}.weight": shape for name, shape in weights.items()} | biases


# --- spaces ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Options of a preset; None: shares of the checkpoint's own sizes.

    Attributes:
        keep: whether single layers are left out, or (False) the last ones.
        groups: the choice of heads: `heads` of encoders, `kv_heads` of decoders.
    """

    keep: bool
    groups: str
    depths: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    ffns: tuple[int, ...] | None = None
    length: int = 128


def network_space(
    family: str, preset: str | None, network: FullNetwork, wanted: Wanted, adjustments: Adjustments
) -> SearchSpace:
    """The space of a checkpoint's network: its weights are those at full size, whatever the choices.

    Raises:
        ValueError: options that are larger than the checkpoint, or a length that it cannot take.
    """
    name = f"{family}/{preset or 'checkpoint'}-{network.identity}"
    length = _length(name, network, wanted, adjustments)
    options = Options(name, adjustments)
    choices = list(_choices(network, wanted, options))
    options.finish()

    def capacity() -> dict[str, LayerSpec]:
        middle = {f"layer{i}": at(layer, length) for i, layer in enumerate(network.layers, 1)}
        return {"embedding": at(network.embedding, length), **middle, "head": at(network.head, length)}

    def blueprint(values: Values) -> dict[str, LayerSpec]:
        layers: dict[str, LayerSpec] = {"embedding": at(network.embedding, length)}
        for i, layer in enumerate(network.layers[: int(values.get("depth", len(network.layers)))], 1):
            if values.get(f"layer{i}_keep", 1):
                layers[f"layer{i}"] = _chosen(layer, wanted.groups, i, values, length)
        return layers | {"head": at(network.head, length)}

    return SearchSpace(name, choices, blueprint, capacity, _takes(network, length))


def _length(name: str, network: FullNetwork, wanted: Wanted, adjustments: Adjustments) -> int:
    if not network.max_length:
        if adjustments.length is not None:
            raise ValueError(f"Space {name!r} takes images, not tokens; leave the sequence length out.")
        return 0
    length = adjustments.length or min(wanted.length, network.max_length)
    if length > network.max_length:
        raise ValueError(f"Got a length of {length} tokens; networks of {name!r} take at most {network.max_length}.")
    return length


def _takes(network: FullNetwork, length: int) -> Input:
    facts, head = network.embedding.fields(), network.head.fields()
    if not network.max_length:
        return ImageInput(int(facts["channels"]), int(facts["size"]), int(head["classes"]))
    vocab = int(facts["vocab"])
    if "classes" not in head:
        return TokenInput(vocab, length, network.max_length, classes=None)
    classes = int(head["classes"]) or None
    return TokenInput(vocab, length, network.max_length, classes, None if classes else int(head["embed"]))


@lru_cache(maxsize=65536)
def _sized(spec: LayerSpec, sizes: tuple[tuple[str, Any], ...]) -> LayerSpec:
    # Equal layers are one object, whose totals are computed once.
    return replace(spec, **dict(sizes))


def at(spec: LayerSpec, length: int) -> LayerSpec:
    """The layer for texts of that length; 0: as it is."""
    return _sized(spec, (("tokens", length),)) if length and "tokens" in spec.fields() else spec


def _chosen(layer: BodySpec, groups: str, number: int, values: Values, length: int) -> LayerSpec:
    """Layer `number`, from 1, at the sizes that the values say."""
    sizes: dict[str, Any] = {"ffn": int(values[f"layer{number}_ffn"])}
    kept = int(values[f"layer{number}_{groups}"])
    if isinstance(layer, TransformerLayerSpec):
        sizes |= {"kv_heads": kept, "heads": kept * (layer.heads // layer.kv_heads)}
        if layer.experts:
            sizes |= {word: int(values[f"layer{number}_{word}"]) for word in ("experts", "top_k")}
    else:
        sizes["heads"] = kept
    if length:
        sizes["tokens"] = length
    return _sized(layer, tuple(sizes.items()))


def _choices(network: FullNetwork, wanted: Wanted, options: Options) -> Iterator[Choice]:
    """Kept layers, then the sizes of each."""
    count = len(network.layers)
    depths: tuple[Option, ...] = ()
    last = count
    if not wanted.keep or wanted.depths is not None:
        depths = options.of("depth", wanted.depths or shares(count, (2, 3), 1), whole(1, count))
        yield Choice("depth", depths)
        last = int(depths[-1])
    for i, layer in enumerate(network.layers[:last], 1):
        if depths:
            deep_enough = tuple(depth for depth in depths if int(depth) >= i)
            when: Any = None if deep_enough == depths else ("depth", deep_enough)
        else:
            kept = options.of(f"layer{i}_keep", (0, 1) if 1 < i < last else (1,), whole(0, 1))
            yield Choice(f"layer{i}_keep", kept)
            when = (f"layer{i}_keep", (1,)) if 1 in kept else None
            if kept == (0,):
                continue
        for word, default, rule in _sizes(layer, wanted):
            name = f"layer{i}_{word}"
            yield Choice(name, options.of(name, default, rule), when)
        yield from _routes(layer, i, options, when)


def _sizes(layer: BodySpec, wanted: Wanted) -> Iterator[tuple[str, tuple[int, ...], Rule]]:
    """Word, default options and what is allowed, of each size of a layer."""
    groups = layer.kv_heads if isinstance(layer, TransformerLayerSpec) else layer.heads
    quarters = (2,) if wanted.groups == "kv_heads" else (2, 3)
    heads = wanted.groups, wanted.heads or shares(groups, quarters, 1), whole(1, groups)
    ffn = "ffn", wanted.ffns or shares(layer.ffn, (1, 2, 3), 8), whole(1, layer.ffn)
    yield from (ffn, heads) if wanted.groups == "kv_heads" else (heads, ffn)


def _routes(layer: BodySpec, number: int, options: Options, when: Any) -> Iterator[Choice]:
    """How many experts each position uses, and how many there are: enough for every number that it may use."""
    if not isinstance(layer, TransformerLayerSpec) or not layer.experts:
        return
    name = f"layer{number}_top_k"
    uses = options.of(name, tuple(sorted({max(1, layer.top_k // 2), layer.top_k})), whole(1, layer.top_k))
    yield Choice(name, uses, when)
    name, least = f"layer{number}_experts", int(uses[-1])
    enough = tuple(count for count in shares(layer.experts, (2,), 1) if count >= least)
    yield Choice(name, options.of(name, enough, whole(least, layer.experts)), when)


def refuse_classes(name: str, adjustments: Adjustments) -> None:
    """Refuse classes of a network that continues text.

    Raises:
        ValueError: some were asked for.
    """
    if adjustments.classes is not None:
        raise ValueError(f"A network of {name} continues text and has no classes; leave `classes` out.")


def written(config: dict[str, Any], network: FullNetwork, layers: Mapping[str, LayerSpec]) -> dict[str, Any]:
    """A config.json, seen to describe a network of these layers.

    Args:
        network: what the file describes, read again.

    Raises:
        CheckpointError: it describes another network.
    """
    described = (network.embedding, *network.layers, network.head)
    names = ("embedding", *(f"layer {number} of those kept" for number in range(1, len(layers) - 1)), "head")
    confirm(zip(names, described, layers.values(), strict=True))
    return config
