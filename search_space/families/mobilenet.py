"""MobileNet family: stages of inverted residual blocks with elastic width, depth, kernel and expansion.

A preset is a `Table`, the way the papers print these spaces; `space` turns a table into choices and a
blueprint. Widths and depths are chosen per stage. Kernels and expansions are chosen per block here, so
choices of blocks beyond a stage's depth are inactive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from search_space.adjustments import Adjustments, Options, odd, space_name, whole
from search_space.architecture import Option
from search_space.inputs import ImageInput
from search_space.layers import ConvSpec, HeadSpec, LayerSpec, MBConvSpec
from search_space.space import Choice, SearchSpace, Values

# What a user may widen a preset to; beyond these a number is a slip of the keyboard.
MAX_DEPTH, MAX_KERNEL, MAX_EXPANSION = 64, 15, 32


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of blocks of one width; only the first has the stride.

    Attributes:
        widths: options of the output channels.
        depths: options of the number of blocks.
        kernels: options of the depthwise kernel, of each block.
        expansions: options of hidden over input channels, of each block.
        stride: of the first block.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    stride: int


@dataclass(frozen=True, slots=True)
class Table:
    """One preset of the family.

    Attributes:
        resolution: height and width of the images in pixels.
        stem: options of the first convolution's channels.
        head: options of the last convolution's channels.
    """

    resolution: int
    image_channels: int
    classes: int
    activation: str
    stem: tuple[int, ...]
    stem_stride: int
    stages: tuple[Stage, ...]
    head: tuple[int, ...]


PRESETS: dict[str, Table] = {
    # scikit-learn's 8x8 digits, on a laptop's CPU: 18 million networks of 8 to 513 thousand MACs.
    "digits": Table(
        resolution=8,
        image_channels=1,
        classes=10,
        activation="ReLU",
        stem=(4, 8, 16),
        stem_stride=1,
        stages=(
            Stage(widths=(4, 8, 16), depths=(1, 2), kernels=(3, 5), expansions=(1, 2, 3), stride=2),
            Stage(widths=(8, 16, 32), depths=(1, 2), kernels=(3, 5), expansions=(1, 2, 3), stride=1),
            Stage(widths=(8, 24, 48), depths=(1, 2), kernels=(3, 5), expansions=(1, 2, 3), stride=2),
        ),
        head=(16, 48, 128),
    ),
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset."""
    table = PRESETS[preset]
    if adjustments.classes is not None:
        table = replace(table, classes=adjustments.classes)
    name = space_name("mobilenet", preset, adjustments)
    options = Options(name, adjustments)
    choices = list(_choices(table, options))
    options.finish()
    return SearchSpace(
        name,
        choices,
        blueprint=lambda values: _blueprint(table, values),
        capacity=lambda: _capacity(table, {choice.name: choice.options for choice in choices}),
        takes=ImageInput(table.image_channels, table.resolution, table.classes),
    )


def _choices(table: Table, options: Options) -> Iterator[Choice]:
    yield Choice("stem_width", options.of("stem_width", table.stem, whole()))
    for s, stage in enumerate(table.stages, 1):
        yield Choice(f"stage{s}_width", options.of(f"stage{s}_width", stage.widths, whole()))
        depths = options.of(f"stage{s}_depth", stage.depths, whole(1, MAX_DEPTH))
        yield Choice(f"stage{s}_depth", depths)
        for b in range(1, int(depths[-1]) + 1):
            deep_enough = tuple(depth for depth in depths if int(depth) >= b)
            when = None if deep_enough == depths else (f"stage{s}_depth", deep_enough)
            kernel, expansion = f"stage{s}_block{b}_kernel", f"stage{s}_block{b}_expansion"
            yield Choice(kernel, options.of(kernel, stage.kernels, odd(MAX_KERNEL)), when)
            yield Choice(expansion, options.of(expansion, stage.expansions, whole(1, MAX_EXPANSION)), when)
    yield Choice("head_width", options.of("head_width", table.head, whole()))


def _blueprint(table: Table, values: Values) -> dict[str, LayerSpec]:
    channels, size = int(values["stem_width"]), table.resolution
    stem = ConvSpec(table.image_channels, channels, 3, table.stem_stride, size, table.activation)
    layers: dict[str, LayerSpec] = {"stem": stem}
    size = stem.out_size
    for s, stage in enumerate(table.stages, 1):
        width = int(values[f"stage{s}_width"])
        for b in range(1, int(values[f"stage{s}_depth"]) + 1):
            block = MBConvSpec(
                in_channels=channels,
                hidden_channels=channels * int(values[f"stage{s}_block{b}_expansion"]),
                out_channels=width,
                kernel=int(values[f"stage{s}_block{b}_kernel"]),
                stride=stage.stride if b == 1 else 1,
                size=size,
                activation=table.activation,
                expand=stage.expansions[-1] > 1,
                project_shortcut=channels != width,
            )
            layers[f"stage{s}_block{b}"] = block
            channels, size = width, block.out_size
    layers["head"] = HeadSpec(channels, int(values["head_width"]), table.classes, size, table.activation)
    return layers


def _capacity(table: Table, options: Mapping[str, tuple[Option, ...]]) -> dict[str, LayerSpec]:
    """The largest network's layers; a stage's first block also has the shortcut's convolution if any
    combination of widths needs it."""
    layers = _blueprint(table, {name: known[-1] for name, known in options.items()})
    before = options["stem_width"]
    for s in range(1, len(table.stages) + 1):
        first, widths = layers[f"stage{s}_block1"], options[f"stage{s}_width"]
        assert isinstance(first, MBConvSpec)
        changes = len({*before, *widths}) > 1
        layers[f"stage{s}_block1"] = replace(first, project_shortcut=changes)
        before = widths
    return layers
