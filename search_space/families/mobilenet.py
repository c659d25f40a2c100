"""MobileNet family: stages of inverted residual blocks with elastic resolution, width, depth, kernel, expansion.

A preset is a `MobileNetTable`, the way the papers print these spaces; `space` turns a table into choices and a
blueprint. Widths and depths are chosen per stage; kernels and expansions per stage or per block, and those of blocks
beyond a stage's depth are inactive. `fixed` does the same for one published network, or one of your own; how to
describe one is said in `_mobilenet_tables.py`.

Checkpoints are those of `_cnn_types`: MobileNetV2 and EfficientNet of transformers, and the published networks of
torchvision and timm, MobileNetV3 among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter
from typing import Any

from search_space.adjustments import Adjustments, Options, number, odd, space_name, whole
from search_space.architecture import Option
from search_space.channels import make_divisible, refuse_twins
from search_space.checkpoint import CheckpointError, Layout
from search_space.families import _cnn_types
from search_space.families._mobilenet_tables import PRESETS, PUBLISHED, MobileNetTable, Nested, Squeeze, squeezed
from search_space.inputs import ImageInput
from search_space.layers import ConvSpec, HeadSpec, LayerSpec, MBConvSpec, ResizeSpec
from search_space.space import Choice, SearchSpace, Values

__all__ = ["PRESETS", "PUBLISHED", "MobileNetTable", "Nested", "Squeeze", "fixed", "space"]

MODEL_TYPES = ("mobilenet_v2", "efficientnet", "mobilenet")

# What a user may widen a preset to; beyond these a number is a slip of the keyboard.
MAX_DEPTH, MAX_KERNEL, MAX_EXPANSION, MAX_RESOLUTION, MAX_MULTIPLIER = 64, 15, 32, 2048, 8
# Specs remembered per space. Equal blocks are then one object, whose counts are worked out once.
REMEMBERED_SPECS = 1 << 14


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset."""
    return _space(PRESETS[preset], space_name("mobilenet", preset, adjustments), adjustments)


def fixed(table: MobileNetTable, name: str = "fixed") -> SearchSpace:
    """The space that holds one network, such as those of `PUBLISHED`; a table with choices gives a space of many."""
    return _space(table, f"mobilenet/{name}", Adjustments())


def _space(described: MobileNetTable | Nested, name: str, adjustments: Adjustments) -> SearchSpace:
    table = described.network if isinstance(described, Nested) else described
    if adjustments.classes is not None:
        table = replace(table, classes=adjustments.classes)
    options = Options(name, adjustments)
    if isinstance(described, Nested):
        choices = list(_nested_choices(replace(described, network=table), options))
    else:
        choices = list(_choices(table, options))
    options.finish()
    known = {choice.name: choice.options for choice in choices}
    blueprint = MobileNetBlueprint(table)
    size = int(known.get("resolution", table.resolutions)[-1])
    takes = ImageInput(table.image_channels, size, table.classes)
    if isinstance(described, Nested):
        return SearchSpace(
            name,
            choices,
            blueprint=lambda values: blueprint(_truncated(table, values)),
            capacity=lambda: _nested_capacity(table, blueprint, known),
            takes=takes,
        )
    return SearchSpace(name, choices, blueprint, capacity=lambda: blueprint.capacity(known), takes=takes)


# --- choices ----------------------------------------------------------------------------------------


def _choices(table: MobileNetTable, options: Options) -> Iterator[Choice]:
    # Widths of a family whose hidden channels are rounded must be multiples too, or rounding makes two options one.
    width = whole(table.hidden_multiple, multiple=table.hidden_multiple)

    def choice(name: str, default: tuple[Any, ...], rule: Any, when: Any = None) -> Choice:
        return Choice(name, options.of(name, default, rule), when)

    if len(table.resolutions) > 1:
        yield choice("resolution", table.resolutions, whole(8, MAX_RESOLUTION))
    yield choice("stem_width", table.stem, width)
    for s, stage in enumerate(table.stages, 1):
        yield choice(f"stage{s}_width", stage.widths, width)
        depths = choice(f"stage{s}_depth", stage.depths, whole(1, MAX_DEPTH))
        yield depths
        if table.choose_per == "stage":
            yield choice(f"stage{s}_kernel", stage.kernels, odd(MAX_KERNEL))
            yield choice(f"stage{s}_expansion", stage.expansions, whole(1, MAX_EXPANSION))
            continue
        for b in range(1, int(depths.options[-1]) + 1):
            deep_enough = tuple(depth for depth in depths.options if int(depth) >= b)
            when = None if deep_enough == depths.options else (depths.name, deep_enough)
            yield choice(f"stage{s}_block{b}_kernel", stage.kernels, odd(MAX_KERNEL), when)
            yield choice(f"stage{s}_block{b}_expansion", stage.expansions, whole(1, MAX_EXPANSION), when)
    yield choice("head_width", table.head, width)


def _nested_choices(nested: Nested, options: Options) -> Iterator[Choice]:
    table = nested.network
    widths = tuple(map(float, options.of("width", nested.widths, number(0, MAX_MULTIPLIER))))
    # Every network has a stem and a head, so widths that differ there never give the same network.
    refuse_twins("width", widths, lambda width: (_share(table.stem[0], width), _share(table.head[0], width)))
    yield Choice("width", widths)
    yield Choice("depth", options.of("depth", nested.depths, whole(1, sum(s.depths[0] for s in table.stages[1:]))))


def _share(channels: int, width: Option) -> int:
    """The leading share of a number of channels, at least one."""
    return max(1, round(channels * float(width)))


def _truncated(table: MobileNetTable, values: Values) -> dict[str, Option]:
    """What the choices of a network that is not nested would be: widths, and depths of the stages that are left."""
    width, remaining = values["width"], int(values["depth"])
    full: dict[str, Option] = {"stem_width": _share(table.stem[0], width), "head_width": _share(table.head[0], width)}
    for s, stage in enumerate(table.stages, 1):
        depth = stage.depths[0] if s == 1 else min(stage.depths[0], remaining)
        remaining -= depth if s > 1 else 0
        full[f"stage{s}_width"], full[f"stage{s}_depth"] = _share(stage.widths[0], width), depth
        full[f"stage{s}_kernel"], full[f"stage{s}_expansion"] = stage.kernels[0], stage.expansions[0]
    return full


# --- layers -----------------------------------------------------------------------------------------


class MobileNetBlueprint:
    """From the values of a table's choices to `slot -> LayerSpec`."""

    def __init__(self, table: MobileNetTable) -> None:
        self._table = table
        self._names = [(f"stage{s}_width", f"stage{s}_depth") for s in range(1, len(table.stages) + 1)]
        self._chosen = lru_cache(REMEMBERED_SPECS)(self._make_chosen)
        self._run = lru_cache(REMEMBERED_SPECS)(self._make_run)
        self._block = lru_cache(REMEMBERED_SPECS)(self._make_block)
        self._stem = lru_cache(REMEMBERED_SPECS)(self._make_stem)
        self._head = lru_cache(REMEMBERED_SPECS)(self._make_head)
        self._resize = lru_cache(REMEMBERED_SPECS)(ResizeSpec)

    def __call__(self, values: Values) -> dict[str, LayerSpec]:
        """The layers of the network with these values."""
        table = self._table
        layers: dict[str, LayerSpec] = {}
        size: Any = values.get("resolution", table.resolutions[-1])
        if "resolution" in values:
            layers["resize"] = self._resize(table.image_channels, size)
        channels: Any = values["stem_width"]
        layers["stem"] = self._stem(channels, size)
        size = -(-size // table.stem_stride)
        for s, (width_name, depth_name) in enumerate(self._names):
            width: Any = values[width_name]
            depth: Any = values[depth_name]
            if depth:
                layers.update(self._run(s, channels, width, self._chosen(s, depth)(values), size))
                channels, size = width, -(-size // table.stages[s].stride)
        layers["head"] = self._head(channels, values["head_width"], size)
        return layers

    def _make_chosen(self, s: int, depth: int) -> Callable[[Values], tuple[Any, ...]]:
        """Reads kernel and expansion of each of a stage's blocks, one after the other."""
        per_block = self._table.choose_per == "block"
        places = [f"stage{s + 1}_block{b}" if per_block else f"stage{s + 1}" for b in range(1, depth + 1)]
        return itemgetter(*(f"{place}_{what}" for place in places for what in ("kernel", "expansion")))

    def _make_run(
        self, s: int, channels: int, width: int, chosen: tuple[Any, ...], size: int
    ) -> tuple[tuple[str, MBConvSpec], ...]:
        """A stage's blocks with their slots."""
        run = []
        for b, (kernel, expansion) in enumerate(zip(chosen[::2], chosen[1::2], strict=True), 1):
            block = self._block(s, b == 1, channels, width, kernel, expansion, size)
            run.append((f"stage{s + 1}_block{b}", block))
            channels, size = width, block.out_size
        return tuple(run)

    def capacity(self, options: Mapping[str, tuple[Option, ...]]) -> dict[str, LayerSpec]:
        """The largest network's layers, but that a stage's first block has the shortcut's convolution if any
        combination of widths needs it, and has no shortcut if some combination has none."""
        layers = self({name: known[-1] for name, known in options.items()})
        before = options["stem_width"]
        for s, stage in enumerate(self._table.stages, 1):
            widths = options[f"stage{s}_width"]
            same = len({*before, *widths}) == 1
            everywhere = self._table.shortcuts == "everywhere"
            first = layers[f"stage{s}_block1"]
            assert isinstance(first, MBConvSpec)
            layers[f"stage{s}_block1"] = replace(
                first,
                project_shortcut=everywhere and not same,
                shortcut=everywhere or (same and stage.stride == 1),
            )
            before = widths
        return layers

    def _make_stem(self, channels: int, size: int) -> ConvSpec:
        table = self._table
        return ConvSpec(table.image_channels, channels, 3, table.stem_stride, size, table.activation)

    def _make_block(
        self, s: int, first: bool, channels: int, width: int, kernel: int, expansion: float, size: int
    ) -> MBConvSpec:
        table, stage = self._table, self._table.stages[s]
        hidden = round(channels * expansion)
        if table.hidden_multiple > 1:
            hidden = make_divisible(hidden, table.hidden_multiple)
        squeeze = table.squeeze if stage.squeeze else None
        stride = stage.stride if first else 1
        everywhere = table.shortcuts == "everywhere"
        return MBConvSpec(
            in_channels=channels,
            hidden_channels=hidden,
            out_channels=width,
            kernel=kernel,
            stride=stride,
            size=size,
            activation=stage.activation or table.activation,
            expand=expansion > 1 or table.expand_always,
            project_shortcut=everywhere and channels != width,
            squeeze_channels=squeezed(squeeze, channels, hidden),
            squeeze_activation=squeeze.activation if squeeze else "ReLU",
            gate=squeeze.gate if squeeze else "Sigmoid",
            shortcut=everywhere or (stride == 1 and channels == width),
        )

    def _make_head(self, channels: int, width: int, size: int) -> HeadSpec:
        table = self._table
        if not table.head_expansion:
            return HeadSpec(channels, width, table.classes, size, table.activation)
        hidden = channels * table.head_expansion
        return HeadSpec(channels, hidden, table.classes, size, table.activation, width, table.mix_bias)


def _nested_capacity(
    table: MobileNetTable, blueprint: MobileNetBlueprint, options: Mapping[str, tuple[Option, ...]]
) -> dict[str, LayerSpec]:
    """The largest network's layers; a block has a shortcut if it has one at every width."""
    networks = [
        blueprint(_truncated(table, {"width": width, "depth": options["depth"][-1]})) for width in options["width"]
    ]
    layers = networks[-1]
    for slot, spec in layers.items():
        if isinstance(spec, MBConvSpec):
            layers[slot] = replace(spec, shortcut=all(network[slot].fields()["shortcut"] for network in networks))
    return layers


# --- checkpoints ------------------------------------------------------------------------------------


def layout(config: Mapping[str, Any], classes: int | None = None) -> Layout:
    """Which tensor of a checkpoint goes where."""
    return _cnn_types.read(config, classes).layout()


def checkpoint_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    """The search space of a checkpoint: its first blocks of each stage, with fewer channels inside.

    Raises:
        CheckpointError: not a checkpoint of this family.
        ValueError: options that are larger than the checkpoint, or a preset, whose stages are others.
    """
    return _cnn_types.checkpoint_space("mobilenet", MODEL_TYPES, config, preset, adjustments)


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config.json of a part of a checkpoint's network: see `_cnn_types`.

    Args:
        checkpoint: config.json of the checkpoint that they came from; None: a preset's networks.

    Raises:
        CheckpointError: transformers has no such network, also not with zeros.
    """
    if checkpoint is None:
        raise CheckpointError("transformers has no class of such networks")
    return _cnn_types.config_of(layers, checkpoint)


# Adjustments under which a preset that is too big for a test runs in one.
_SMALL = {"stem_width": (8, 16), "stage*_width": (8, 16), "head_width": (16, 32), "resolution": (32, 40)}
NARROWED: dict[str, Adjustments | None] = dict.fromkeys(
    ("bignas", "attentivenas"), Adjustments({**_SMALL, "stage*_depth": (1, 2)}, classes=10)
)
