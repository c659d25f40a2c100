"""ResNet family (1512.03385): stages of basic or bottleneck blocks with elastic depth, width and inner width.

A preset is a `ResNetTable`. Depths and widths are chosen per stage, expansions (inner over outer width) per block; the
expansion of a block beyond its stage's depth is inactive. A table with one option everywhere is one network; `fixed`
gives its space, and `PUBLISHED` has those whose counts the tests know. Another one is a few lines:

    fixed(imagenet("bottleneck", depths=(3, 4, 23, 3)), "resnet101")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from search_space.adjustments import Adjustments, Options, number, space_name, whole
from search_space.architecture import Option
from search_space.channels import make_divisible, refuse_twins
from search_space.checkpoint import CheckpointError, Layout
from search_space.families import _cnn_types
from search_space.inputs import ImageInput
from search_space.layers import (
    BasicSpec,
    BottleneckSpec,
    ClassifierSpec,
    ConvSpec,
    LayerSpec,
    MaxPoolSpec,
)
from search_space.space import Choice, SearchSpace, Values

MODEL_TYPES = ("resnet",)

# What a user may widen a preset to; beyond these a number is a slip of the keyboard.
MAX_DEPTH, MAX_EXPANSION = 128, 8
# Specs remembered per space. Equal blocks are then one object, whose counts are worked out once.
REMEMBERED_SPECS = 1 << 14

BLOCKS: dict[str, type[BasicSpec] | type[BottleneckSpec]] = {"basic": BasicSpec, "bottleneck": BottleneckSpec}


@dataclass(frozen=True, slots=True)
class ResNetStage:
    """A run of blocks of one width; only the first has the stride.

    Attributes:
        widths: options of the output channels.
        depths: options of the number of blocks.
        expansions: options of inner over output channels, of each block.
        stride: stride of the first block.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    expansions: tuple[float, ...]
    stride: int


@dataclass(frozen=True, slots=True)
class ResNetTable:
    """One preset of the family, or one network.

    Attributes:
        block: `basic` or `bottleneck`.
        shortcut: `conv`, `pool` or `pad`, see `search_space.layers.residual`.
        stem: options of the stem's output channels.
        stem_kind: `small`: a 3x3 convolution; `large`: 7x7 with stride 2, and a maximum over 3x3 with stride 2;
            `deep`: 3x3 with stride 2, a residual 3x3 that can be left out, 3x3, and the same maximum.
        stem_inner: options of the width between the convolutions of a deep stem.
        stem_depths: options of the number of convolutions of a deep stem: 2, 3.
        multiple: inner channels are rounded to a multiple of this.
    """

    resolution: int
    classes: int
    block: str
    shortcut: str
    stem_kind: str
    stem: tuple[int, ...]
    stages: tuple[ResNetStage, ...]
    stem_inner: tuple[int, ...] = ()
    stem_depths: tuple[int, ...] = ()
    multiple: int = 1
    image_channels: int = 3


def imagenet(block: str, depths: tuple[int, ...], expansion: float | None = None) -> ResNetTable:
    """A ResNet for ImageNet with `depths` blocks in its four stages."""
    bottleneck = block == "bottleneck"
    widths = (256, 512, 1024, 2048) if bottleneck else (64, 128, 256, 512)
    inner = expansion or (0.25 if bottleneck else 1.0)
    return ResNetTable(
        resolution=224,
        classes=1000,
        block=block,
        shortcut="conv",
        stem_kind="large",
        stem=(64,),
        stages=tuple(
            ResNetStage((width,), (depth,), (inner,), stride)
            for width, depth, stride in zip(widths, depths, (1, 2, 2, 2), strict=True)
        ),
    )


def cifar(depth: int) -> ResNetTable:
    """ResNet of 6n + 2 layers for CIFAR (1512.03385, 4.2): three stages of n basic blocks, no shortcut parameters.

    Raises:
        ValueError: no such ResNet has that many layers.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"ResNets for CIFAR have 6n + 2 layers, such as 20 or 56; got {depth}.")
    return ResNetTable(
        resolution=32,
        classes=10,
        block="basic",
        shortcut="pad",
        stem_kind="small",
        stem=(16,),
        stages=tuple(
            ResNetStage((width,), ((depth - 2) // 6,), (1.0,), stride) for width, stride in ((16, 1), (32, 2), (64, 2))
        ),
    )


PUBLISHED: dict[str, ResNetTable] = {
    "resnet18": imagenet("basic", (2, 2, 2, 2)),
    "resnet34": imagenet("basic", (3, 4, 6, 3)),
    "resnet50": imagenet("bottleneck", (3, 4, 6, 3)),
    "resnet101": imagenet("bottleneck", (3, 4, 23, 3)),
    "resnet152": imagenet("bottleneck", (3, 8, 36, 3)),
    "wide_resnet50_2": imagenet("bottleneck", (3, 4, 6, 3), expansion=0.5),
    "resnet20_cifar": cifar(20),
    "resnet56_cifar": cifar(56),
    "resnet110_cifar": cifar(110),
}


def _multiplied(channels: int, divisor: int = 1) -> tuple[int, ...]:
    """Channels under Once-for-all's width multipliers; those that rounding makes equal are one option."""
    widths = {make_divisible(channels * multiplier) for multiplier in (0.65, 0.8, 1.0)}
    return tuple(sorted({make_divisible(width // divisor) for width in widths}))


PRESETS: dict[str, ResNetTable] = {
    # The ResNet50 of Once-for-all that SimQ-NAS searches: depth genes 0 to 2 are here numbers of blocks, width genes
    # are channels, and the stem's depth gene, of whose three values two are the same network, is its convolutions.
    "ofa_resnet50": ResNetTable(
        resolution=224,
        classes=1000,
        block="bottleneck",
        shortcut="pool",
        stem_kind="deep",
        stem=_multiplied(64),
        stem_inner=_multiplied(64, divisor=2),
        stem_depths=(2, 3),
        stages=tuple(
            ResNetStage(_multiplied(width), (depth, depth + 1, depth + 2), (0.2, 0.25, 0.35), stride)
            for width, depth, stride in ((256, 2, 1), (512, 2, 2), (1024, 4, 2), (2048, 2, 2))
        ),
        multiple=8,
    ),
    # ResNet-50 with room below it: the largest network is torchvision's.
    "resnet50": replace(
        PUBLISHED["resnet50"],
        stages=tuple(
            ResNetStage((width,), depths, (0.125, 0.1875, 0.25), stride)
            for width, depths, stride in (
                (256, (2, 3), 1),
                (512, (2, 3, 4), 2),
                (1024, (2, 3, 4, 5, 6), 2),
                (2048, (2, 3), 2),
            )
        ),
    ),
    # ResNet-56 is the largest network; ResNet-20, and narrower ones down to 10 thousand parameters, are below it.
    "cifar": replace(
        PUBLISHED["resnet56_cifar"],
        stem=(8, 16),
        stages=tuple(
            ResNetStage((width // 2, width), (1, 3, 5, 7, 9), (0.5, 0.75, 1.0), stride)
            for width, stride in ((16, 1), (32, 2), (64, 2))
        ),
    ),
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset."""
    return _space(PRESETS[preset], space_name("resnet", preset, adjustments), adjustments)


def fixed(table: ResNetTable, name: str = "fixed") -> SearchSpace:
    """The space that holds one network, such as those of `PUBLISHED`; a table with choices gives a space of many."""
    return _space(table, f"resnet/{name}", Adjustments())


def _space(table: ResNetTable, name: str, adjustments: Adjustments) -> SearchSpace:
    if adjustments.classes is not None:
        table = replace(table, classes=adjustments.classes)
    options = Options(name, adjustments)
    choices = list(_choices(table, options))
    options.finish()
    known = {choice.name: choice.options for choice in choices}
    blueprint = ResNetBlueprint(table)
    return SearchSpace(
        name,
        choices,
        blueprint,
        capacity=lambda: blueprint.capacity(known),
        takes=ImageInput(table.image_channels, table.resolution, table.classes),
    )


def _choices(table: ResNetTable, options: Options) -> Iterator[Choice]:
    if table.stem_kind == "deep":
        yield Choice("stem_depth", options.of("stem_depth", table.stem_depths))
        yield Choice("stem_inner_width", options.of("stem_inner_width", table.stem_inner, whole()))
    yield Choice("stem_width", options.of("stem_width", table.stem, whole()))
    for s, stage in enumerate(table.stages, 1):
        widths = options.of(f"stage{s}_width", stage.widths, whole())
        depths = options.of(f"stage{s}_depth", stage.depths, whole(1, MAX_DEPTH))
        yield Choice(f"stage{s}_width", widths)
        yield Choice(f"stage{s}_depth", depths)
        for b in range(1, int(depths[-1]) + 1):
            name = f"stage{s}_block{b}_expansion"
            expansions = tuple(map(float, options.of(name, stage.expansions, number(0, MAX_EXPANSION))))
            for width in map(int, widths):
                refuse_twins(name, expansions, partial(_inner, table, width), where=f" at width {width}")
            deep_enough = tuple(depth for depth in depths if int(depth) >= b)
            yield Choice(name, expansions, None if deep_enough == depths else (f"stage{s}_depth", deep_enough))


def _inner(table: ResNetTable, width: int, expansion: Option) -> int:
    inner = round(width * float(expansion))
    return make_divisible(inner, table.multiple) if table.multiple > 1 else max(1, inner)


class ResNetBlueprint:
    """From the values of a table's choices to `slot -> LayerSpec`."""

    def __init__(self, table: ResNetTable) -> None:
        self._table = table
        self._block = lru_cache(REMEMBERED_SPECS)(self._make_block)
        self._stem = lru_cache(REMEMBERED_SPECS)(self._make_stem)
        self._classifier = lru_cache(REMEMBERED_SPECS)(ClassifierSpec)

    def __call__(self, values: Values) -> dict[str, LayerSpec]:
        """The layers of the network with these values."""
        table = self._table
        channels: Any = values["stem_width"]
        layers, size = self._stem(channels, values.get("stem_inner_width"), values.get("stem_depth"))
        layers = layers.copy()
        for s, stage in enumerate(table.stages, 1):
            width: Any = values[f"stage{s}_width"]
            depth: Any = values[f"stage{s}_depth"]
            for b in range(1, depth + 1):
                slot = f"stage{s}_block{b}"
                stride = stage.stride if b == 1 else 1
                layers[slot] = self._block(channels, width, values[f"{slot}_expansion"], stride, size)
                channels, size = width, -(-size // stride)
        layers["classifier"] = self._classifier(channels, table.classes, size)
        return layers

    def capacity(self, options: Mapping[str, tuple[Option, ...]]) -> dict[str, LayerSpec]:
        """The largest network's layers; a stage's first block also has the shortcut's convolution if any
        combination of widths needs it."""
        layers = self({name: known[-1] for name, known in options.items()})
        before = options["stem_width"]
        for s, stage in enumerate(self._table.stages, 1):
            widths, first = options[f"stage{s}_width"], layers[f"stage{s}_block1"]
            assert isinstance(first, BasicSpec | BottleneckSpec)
            changes = stage.stride > 1 or len({*before, *widths}) > 1
            layers[f"stage{s}_block1"] = replace(first, project_shortcut=changes and first.shortcut != "pad")
            before = widths
        return layers

    def _make_stem(self, width: int, inner: int | None, depth: int | None) -> tuple[dict[str, LayerSpec], int]:
        """The layers before the first block, and the size of what they give."""
        table = self._table
        size = table.resolution
        if table.stem_kind == "small":
            return {"stem": ConvSpec(table.image_channels, width, 3, 1, size, "ReLU")}, size
        half = -(-size // 2)
        stem: dict[str, LayerSpec]
        if table.stem_kind == "large":
            stem = {"stem": ConvSpec(table.image_channels, width, 7, 2, size, "ReLU")}
        else:
            assert inner is not None
            stem = {"stem_conv1": ConvSpec(table.image_channels, inner, 3, 2, size, "ReLU")}
            if depth == 3:
                stem["stem_conv2"] = ConvSpec(inner, inner, 3, 1, half, "ReLU", residual=True)
            stem["stem_conv3"] = ConvSpec(inner, width, 3, 1, half, "ReLU")
        stem["pool"] = MaxPoolSpec(width, 3, 2, half)
        return stem, -(-half // 2)

    def _make_block(self, channels: int, width: int, expansion: float, stride: int, size: int) -> LayerSpec:
        table = self._table
        return BLOCKS[table.block](
            in_channels=channels,
            hidden_channels=_inner(table, width, expansion),
            out_channels=width,
            stride=stride,
            size=size,
            activation="ReLU",
            shortcut=table.shortcut,
            project_shortcut=table.shortcut != "pad" and (stride > 1 or channels != width),
        )


# --- transformers' ResNet --------------------------------------------------------------------------------


def config_of(layers: Mapping[str, LayerSpec], checkpoint: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config.json under which transformers builds a network of these layers.

    Its blocks have one inner width in a stage; a narrower block computes the same with zeros in the rest.

    Args:
        checkpoint: config.json of the checkpoint that they came from; types of a table need it.

    Raises:
        CheckpointError: transformers' ResNet has no such layers; the message says which.
    """
    specs = list(layers.values())
    stem, pool, *blocks, head = specs if len(specs) > 3 else [*specs, *[None] * 4][:4]
    if not isinstance(stem, ConvSpec) or (stem.kernel, stem.stride, stem.activation) != (7, 2, "ReLU"):
        raise CheckpointError(
            "transformers' ResNet begins with a 7x7 convolution of stride 2, and this network does not"
        )
    if (
        not isinstance(pool, MaxPoolSpec)
        or (pool.kernel, pool.stride) != (3, 2)
        or not isinstance(head, ClassifierSpec)
    ):
        raise CheckpointError("transformers' ResNet has a 3x3 maximum behind its stem and ends with a linear layer")
    stages = _stages(blocks)
    bottleneck = isinstance(blocks[0], BottleneckSpec)
    return {
        "model_type": "resnet",
        "architectures": ["ResNetForImageClassification"],
        "num_channels": stem.in_channels,
        "embedding_size": stem.out_channels,
        "hidden_sizes": [stage[0].out_channels for stage in stages],
        "depths": [len(stage) for stage in stages],
        "layer_type": "bottleneck" if bottleneck else "basic",
        "hidden_act": "relu",
        "downsample_in_first_stage": stages[0][0].stride == 2,
        "downsample_in_bottleneck": False,
        "num_labels": head.classes,
        # Not a key of transformers: how large the images are that the network was made for.
        "image_size": stem.size,
    }


def _stages(blocks: Sequence[LayerSpec | None]) -> list[list[BasicSpec | BottleneckSpec]]:
    """Blocks by stage.

    Raises:
        CheckpointError: blocks that transformers' ResNet cannot have.
    """
    stages: list[list[BasicSpec | BottleneckSpec]] = []
    for block in blocks:
        if not isinstance(block, BasicSpec | BottleneckSpec) or type(block) is not type(blocks[0]):
            raise CheckpointError("its layers are not the blocks of one ResNet")
        inner = block.out_channels // 4 if isinstance(block, BottleneckSpec) else block.out_channels
        changes = block.stride != 1 or block.in_channels != block.out_channels
        if block.activation != "ReLU" or (changes and (block.shortcut != "conv" or not block.project_shortcut)):
            raise CheckpointError(
                "transformers' ResNet has strided 1x1 convolutions in its shortcuts, and this network has "
                f"{block.shortcut!r}"
            )
        if block.project_shortcut and not changes:
            raise CheckpointError("it has a convolution in a shortcut that could be the input itself")
        if block.hidden_channels > inner:
            raise CheckpointError(
                f"a block has {block.hidden_channels} inner channels, where transformers' ResNet has {inner}"
            )
        if not stages or changes:
            stages.append([])
        stages[-1].append(block)
    if not stages or any(stage[0].stride != 2 for stage in stages[1:]):
        raise CheckpointError(
            "every stage of transformers' ResNet but the first halves the image, and here one does not"
        )
    if stages[0][0].stride > 2:
        raise CheckpointError(f"its first stage has a stride of {stages[0][0].stride}")
    return stages


def layout(config: Mapping[str, Any], classes: int | None = None) -> Layout:
    """Which tensor of a checkpoint goes where."""
    return _cnn_types.read(config, classes).layout()


def checkpoint_space(config: Mapping[str, Any], preset: str | None, adjustments: Adjustments) -> SearchSpace:
    """The search space of a checkpoint: its first blocks of each stage, with fewer channels inside.

    Raises:
        CheckpointError: not a checkpoint of this family.
        ValueError: options that are larger than the checkpoint, or a preset, whose stages are others.
    """
    return _cnn_types.checkpoint_space("resnet", MODEL_TYPES, config, preset, adjustments)


# Adjustments under which a preset that is too big for a test runs in one.
NARROWED: dict[str, Adjustments | None] = {
    "ofa_resnet50": Adjustments(
        {
            "stem_inner_width": (4, 8),
            "stem_width": (8, 16),
            "stage*_width": (32, 64),
            "stage*_expansion": (0.25, 0.5),
        },
        classes=10,
    ),
    "resnet50": Adjustments({"stem_width": (8, 16), "stage*_width": (32, 64)}, classes=10),
}
