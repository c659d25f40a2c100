"""MobileNet family: stages of inverted residual blocks with elastic width, depth, kernel and expansion.

A preset is a `Table`, the way the papers print these spaces; `space` turns a table into choices and a
blueprint. Widths and depths are chosen per stage. Kernels and expansions are chosen per block here, so
choices of blocks beyond a stage's depth are inactive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from search_space.layers import ConvSpec, HeadSpec, LayerSpec, MBConvSpec
from search_space.space import Choice, SearchSpace, Values


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


def space(preset: str) -> SearchSpace:
    """The search space of a preset."""
    table = PRESETS[preset]
    return SearchSpace(
        f"mobilenet/{preset}",
        list(_choices(table)),
        blueprint=lambda values: _blueprint(table, values),
        capacity=lambda: _capacity(table),
    )


def _choices(table: Table) -> Iterator[Choice]:
    yield Choice("stem_width", table.stem)
    for s, stage in enumerate(table.stages, 1):
        yield Choice(f"stage{s}_width", stage.widths)
        yield Choice(f"stage{s}_depth", stage.depths)
        for b in range(1, stage.depths[-1] + 1):
            deep_enough = tuple(depth for depth in stage.depths if depth >= b)
            when = None if deep_enough == stage.depths else (f"stage{s}_depth", deep_enough)
            yield Choice(f"stage{s}_block{b}_kernel", stage.kernels, when)
            yield Choice(f"stage{s}_block{b}_expansion", stage.expansions, when)
    yield Choice("head_width", table.head)


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


def _capacity(table: Table) -> dict[str, LayerSpec]:
    """The largest network's layers; a stage's first block also has the shortcut's convolution if any
    combination of widths needs it."""
    layers = _largest(table)
    widths_before = table.stem
    for s, stage in enumerate(table.stages, 1):
        first = layers[f"stage{s}_block1"]
        assert isinstance(first, MBConvSpec)
        changes = set(widths_before) != set(stage.widths) or len(stage.widths) > 1
        layers[f"stage{s}_block1"] = replace(first, project_shortcut=changes)
        widths_before = stage.widths
    return layers


def _largest(table: Table) -> dict[str, LayerSpec]:
    """Layers of the network with the last option everywhere."""
    return _blueprint(table, {choice.name: choice.options[-1] for choice in _choices(table)})
