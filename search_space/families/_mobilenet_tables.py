"""The MobileNet family as data: tables of stages, the way the papers print them.

A table with one option everywhere is one network. `PUBLISHED` has those whose counts the tests know; another one is
a few lines:

    table = MobileNetTable(resolutions=(224,), classes=1000, activation="ReLU6", stem=(32,), stem_stride=2,
                           stages=stages((16, 1, 3, 1, 1), (24, 2, 3, 6, 2), ...), head=(1280,),
                           choose_per="stage", shortcuts="same_shape")
    space = mobilenet.fixed(table, "my_network")
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from search_space.channels import make_divisible


@dataclass(frozen=True, slots=True)
class Squeeze:
    """How wide squeeze-and-excitation is, and its functions.

    Attributes:
        of: `input`: a quarter of the block's input, at least 1 (EfficientNet, BigNAS); `hidden`: a quarter of the
            expanded width, rounded to a multiple of 8 (MobileNetV3, AttentiveNAS).
    """

    of: str
    activation: str
    gate: str


@dataclass(frozen=True, slots=True)
class MobileNetStage:
    """A run of blocks of one width; only the first has the stride.

    Attributes:
        widths: options of the output channels.
        depths: options of the number of blocks.
        kernels: options of the depthwise kernel.
        expansions: options of hidden over input channels.
        stride: stride of the first block.
        squeeze: whether blocks have squeeze-and-excitation.
        activation: instead of the table's.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expansions: tuple[float, ...]
    stride: int
    squeeze: bool = False
    activation: str | None = None


@dataclass(frozen=True, slots=True)
class MobileNetTable:
    """One preset of the family, or one network.

    Attributes:
        resolutions: height and width of the images in pixels. With more than one, resolution is a choice and a
            network begins by resizing.
        stem: options of the first convolution's channels.
        head: options of the last hidden layer's channels: the 1x1 convolution's, or, with `head_expansion`, those
            of the fully connected layer after pooling.
        choose_per: `block` or `stage`: what kernels and expansions are chosen for.
        shortcuts: `everywhere`: each block has one, average-pooled and projected where shapes differ;
            `same_shape`: blocks whose stride is 1 and whose width stays have one, the input itself.
        squeeze: squeeze-and-excitation of the stages that have it.
        hidden_multiple: hidden channels are rounded to a multiple of this.
        head_expansion: 0: the head is a 1x1 convolution to `head` channels. Otherwise: a 1x1 convolution to this many
            times the last width, pooling, and a fully connected layer to `head` channels.
        mix_bias: whether that fully connected layer has a bias.
        expand_always: whether a block whose expansion is 1 has an expanding convolution all the same.
    """

    resolutions: tuple[int, ...]
    classes: int
    activation: str
    stem: tuple[int, ...]
    stem_stride: int
    stages: tuple[MobileNetStage, ...]
    head: tuple[int, ...]
    image_channels: int = 3
    choose_per: str = "block"
    shortcuts: str = "everywhere"
    squeeze: Squeeze | None = None
    hidden_multiple: int = 1
    head_expansion: int = 0
    mix_bias: bool = False
    expand_always: bool = False


@dataclass(frozen=True, slots=True)
class Nested:
    """A preset whose networks are truncations of one: the leading share of all channels, and the first blocks
    (SortedNet, 2309.00255).

    Attributes:
        network: a table with one option everywhere.
        widths: options of the share of the channels, rounded to whole channels.
        depths: options of the number of blocks after the first stage.
    """

    network: MobileNetTable
    widths: tuple[float, ...]
    depths: tuple[int, ...]


def stages(*rows: tuple[int, int, int, float, int], squeeze: bool = False) -> tuple[MobileNetStage, ...]:
    """Stages of one network from (width, depth, kernel, expansion, stride) each."""
    return tuple(MobileNetStage((width,), (depth,), (k,), (e,), stride, squeeze) for width, depth, k, e, stride in rows)


EFFICIENT = Squeeze("input", activation="SiLU", gate="Sigmoid")
HARD = Squeeze("hidden", activation="ReLU", gate="Hardsigmoid")


def squeezed(squeeze: Squeeze | None, channels: int, hidden: int) -> int:
    """Channels of squeeze and excite of a block with so many that come in and are inside; 0: it has none."""
    if squeeze is None:
        return 0
    return max(1, channels // 4) if squeeze.of == "input" else make_divisible(hidden // 4)


# --- published networks -----------------------------------------------------------------------------


def scaled(table: MobileNetTable, width: float, depth: float = 1.0, shrink_head: bool = False) -> MobileNetTable:
    """A network with its channels times `width`, rounded to multiples of 8, and its depths times `depth`, rounded up.

    The head stays as it is for widths below 1 unless `shrink_head`.
    """
    return replace(
        table,
        stem=(make_divisible(table.stem[0] * width),),
        stages=tuple(
            replace(stage, widths=(make_divisible(stage.widths[0] * width),), depths=(ceil(stage.depths[0] * depth),))
            for stage in table.stages
        ),
        head=(make_divisible(table.head[0] * (width if shrink_head else max(width, 1.0))),),
    )


# MobileNetV2 (1801.04381), table 2.
MOBILENET_V2 = MobileNetTable(
    resolutions=(224,),
    classes=1000,
    activation="ReLU6",
    stem=(32,),
    stem_stride=2,
    stages=stages(
        (16, 1, 3, 1, 1),
        (24, 2, 3, 6, 2),
        (32, 3, 3, 6, 2),
        (64, 4, 3, 6, 2),
        (96, 3, 3, 6, 1),
        (160, 3, 3, 6, 2),
        (320, 1, 3, 6, 1),
    ),
    head=(1280,),
    choose_per="stage",
    shortcuts="same_shape",
)

# EfficientNet-B0 (1905.11946), table 1.
EFFICIENTNET_B0 = MobileNetTable(
    resolutions=(224,),
    classes=1000,
    activation="SiLU",
    stem=(32,),
    stem_stride=2,
    stages=stages(
        (16, 1, 3, 1, 1),
        (24, 2, 3, 6, 2),
        (40, 2, 5, 6, 2),
        (80, 3, 3, 6, 2),
        (112, 3, 5, 6, 1),
        (192, 4, 5, 6, 2),
        (320, 1, 3, 6, 1),
        squeeze=True,
    ),
    head=(1280,),
    choose_per="stage",
    shortcuts="same_shape",
    squeeze=EFFICIENT,
)

# MnasNet-B1 (1807.11626), figure 7 of the paper, without squeeze-and-excitation.
MNASNET_B1 = MobileNetTable(
    resolutions=(224,),
    classes=1000,
    activation="ReLU",
    stem=(32,),
    stem_stride=2,
    stages=stages(
        (16, 1, 3, 1, 1),
        (24, 3, 3, 3, 2),
        (40, 3, 5, 3, 2),
        (80, 3, 5, 6, 2),
        (96, 2, 3, 6, 1),
        (192, 4, 5, 6, 2),
        (320, 1, 3, 6, 1),
    ),
    head=(1280,),
    choose_per="stage",
    shortcuts="same_shape",
)


def mobilenet_v3(rows: tuple[tuple[int, int, int, bool, str, int], ...], head: int) -> MobileNetTable:
    """A MobileNetV3 (1905.02244) from (kernel, hidden, width, squeeze, activation, stride) of each block."""
    before = (16, *(row[2] for row in rows))
    return MobileNetTable(
        resolutions=(224,),
        classes=1000,
        activation="Hardswish",
        stem=(16,),
        stem_stride=2,
        stages=tuple(
            MobileNetStage((width,), (1,), (kernel,), (hidden / channels,), stride, squeeze, activation)
            for channels, (kernel, hidden, width, squeeze, activation, stride) in zip(before, rows, strict=False)
        ),
        head=(head,),
        choose_per="stage",
        shortcuts="same_shape",
        squeeze=HARD,
        head_expansion=6,
        mix_bias=True,
    )


MOBILENET_V3_LARGE = mobilenet_v3(
    (
        (3, 16, 16, False, "ReLU", 1),
        (3, 64, 24, False, "ReLU", 2),
        (3, 72, 24, False, "ReLU", 1),
        (5, 72, 40, True, "ReLU", 2),
        (5, 120, 40, True, "ReLU", 1),
        (5, 120, 40, True, "ReLU", 1),
        (3, 240, 80, False, "Hardswish", 2),
        (3, 200, 80, False, "Hardswish", 1),
        (3, 184, 80, False, "Hardswish", 1),
        (3, 184, 80, False, "Hardswish", 1),
        (3, 480, 112, True, "Hardswish", 1),
        (3, 672, 112, True, "Hardswish", 1),
        (5, 672, 160, True, "Hardswish", 2),
        (5, 960, 160, True, "Hardswish", 1),
        (5, 960, 160, True, "Hardswish", 1),
    ),
    head=1280,
)

MOBILENET_V3_SMALL = mobilenet_v3(
    (
        (3, 16, 16, True, "ReLU", 2),
        (3, 72, 24, False, "ReLU", 2),
        (3, 88, 24, False, "ReLU", 1),
        (5, 96, 40, True, "Hardswish", 2),
        (5, 240, 40, True, "Hardswish", 1),
        (5, 240, 40, True, "Hardswish", 1),
        (5, 120, 48, True, "Hardswish", 1),
        (5, 144, 48, True, "Hardswish", 1),
        (5, 288, 96, True, "Hardswish", 2),
        (5, 576, 96, True, "Hardswish", 1),
        (5, 576, 96, True, "Hardswish", 1),
    ),
    head=1024,
)


def efficientnet(width: float, depth: float, resolution: int) -> MobileNetTable:
    """EfficientNet by its compound scaling; B0 to B7 have (1, 1, 224) to (2, 3.1, 600)."""
    return replace(scaled(EFFICIENTNET_B0, width, depth), resolutions=(resolution,))


PUBLISHED: dict[str, MobileNetTable] = {
    "mobilenet_v2": MOBILENET_V2,
    "mobilenet_v2_035": scaled(MOBILENET_V2, 0.35),
    "mobilenet_v2_050": scaled(MOBILENET_V2, 0.5),
    "mobilenet_v2_075": scaled(MOBILENET_V2, 0.75),
    "mobilenet_v2_140": scaled(MOBILENET_V2, 1.4),
    "mobilenet_v3_large": MOBILENET_V3_LARGE,
    "mobilenet_v3_small": MOBILENET_V3_SMALL,
    "mnasnet_b1": MNASNET_B1,
    "efficientnet_b0": EFFICIENTNET_B0,
    "efficientnet_b1": efficientnet(1.0, 1.1, 240),
    "efficientnet_b2": efficientnet(1.1, 1.2, 260),
    "efficientnet_b3": efficientnet(1.2, 1.4, 300),
    "efficientnet_b4": efficientnet(1.4, 1.8, 380),
    "efficientnet_b7": efficientnet(2.0, 3.1, 600),
}


# --- presets ----------------------------------------------------------------------------------------


def _steps(least: int, most: int) -> tuple[int, ...]:
    """Channels in steps of 8, both ends included."""
    return tuple(range(least, most + 1, 8))


PRESETS: dict[str, MobileNetTable | Nested] = {
    # scikit-learn's 8x8 digits, on a laptop's CPU: 18 million networks of 8 to 513 thousand MACs. Its ids are stored
    # in databases; do not change it.
    "digits": MobileNetTable(
        resolutions=(8,),
        classes=10,
        activation="ReLU",
        stem=(4, 8, 16),
        stem_stride=1,
        stages=(
            MobileNetStage((4, 8, 16), (1, 2), (3, 5), (1, 2, 3), stride=2),
            MobileNetStage((8, 16, 32), (1, 2), (3, 5), (1, 2, 3), stride=1),
            MobileNetStage((8, 24, 48), (1, 2), (3, 5), (1, 2, 3), stride=2),
        ),
        head=(16, 48, 128),
        image_channels=1,
        expand_always=True,
    ),
    # 32x32 colour images: a supernet that two CPU cores train in minutes. The first stage halves the map, because
    # depthwise convolutions on 32x32 pixels would take most of the time.
    "cifar": MobileNetTable(
        resolutions=(24, 28, 32),
        classes=10,
        activation="ReLU",
        stem=(8, 16),
        stem_stride=1,
        stages=(
            MobileNetStage((8, 16, 24), (1, 2), (3, 5), (2, 3, 4), stride=2),
            MobileNetStage((16, 24, 40), (1, 2, 3), (3, 5), (2, 3, 4), stride=2),
            MobileNetStage((32, 48, 80), (1, 2, 3), (3, 5), (2, 3, 4), stride=1),
            MobileNetStage((48, 80, 128), (1, 2), (3, 5), (2, 3, 4), stride=2),
        ),
        head=(128, 256, 512),
    ),
    # BigNAS (2003.11142): the paper's table, choices per stage. Why without shortcut convolutions, and which form of
    # squeeze-and-excitation: docs/decisions/0007.
    "bignas": MobileNetTable(
        resolutions=(192, 224, 288, 320),
        classes=1000,
        activation="SiLU",
        stem=(32, 40),
        stem_stride=2,
        stages=(
            MobileNetStage((16, 24), (1, 2), (3,), (1,), stride=1, squeeze=True),
            MobileNetStage((24, 32), (2, 3), (3,), (6,), stride=2, squeeze=True),
            MobileNetStage((40, 48), (2, 3), (3, 5), (6,), stride=2, squeeze=True),
            MobileNetStage((80, 88), (2, 3, 4), (3, 5), (6,), stride=2, squeeze=True),
            MobileNetStage(_steps(112, 128), (2, 3, 4, 5, 6), (3, 5), (6,), stride=1, squeeze=True),
            MobileNetStage(_steps(192, 216), (2, 3, 4, 5, 6), (3, 5), (6,), stride=2, squeeze=True),
            MobileNetStage(_steps(320, 352), (1, 2), (3, 5), (6,), stride=1, squeeze=True),
        ),
        head=_steps(1280, 1408),
        choose_per="stage",
        shortcuts="same_shape",
        squeeze=EFFICIENT,
    ),
    # AttentiveNAS (2011.09011), table of the space; networks A0 to A3 and the largest are in the tests.
    "attentivenas": MobileNetTable(
        resolutions=(192, 224, 256, 288),
        classes=1000,
        activation="SiLU",
        stem=(16, 24),
        stem_stride=2,
        stages=(
            MobileNetStage((16, 24), (1, 2), (3, 5), (1,), stride=1),
            MobileNetStage((24, 32), (3, 4, 5), (3, 5), (4, 5, 6), stride=2),
            MobileNetStage((32, 40), (3, 4, 5, 6), (3, 5), (4, 5, 6), stride=2, squeeze=True),
            MobileNetStage((64, 72), (3, 4, 5, 6), (3, 5), (4, 5, 6), stride=2),
            MobileNetStage(_steps(112, 128), (3, 4, 5, 6, 7, 8), (3, 5), (4, 5, 6), stride=1, squeeze=True),
            MobileNetStage(_steps(192, 216), (3, 4, 5, 6, 7, 8), (3, 5), (6,), stride=2, squeeze=True),
            MobileNetStage((216, 224), (1, 2), (3, 5), (6,), stride=1, squeeze=True),
        ),
        head=(1792, 1984),
        choose_per="stage",
        squeeze=HARD,
        hidden_multiple=8,
        head_expansion=6,
    ),
    # SortedNet's MobileNetV2 for CIFAR-10: 160 nested sub-models, width by depth. The number 160 is the paper's; that
    # it is 10 widths (10 to 100 %) times 16 depths (the blocks after the first) is inferred, and so are the strides
    # of stem and second stage, which are those that MobileNetV2 usually has on 32x32 pixels (1 instead of 2), and the
    # head shrinking with the rest.
    "mobilenet_v2": Nested(
        replace(
            MOBILENET_V2,
            resolutions=(32,),
            classes=10,
            stem_stride=1,
            stages=(
                MOBILENET_V2.stages[0],
                replace(MOBILENET_V2.stages[1], stride=1),
                *MOBILENET_V2.stages[2:],
            ),
        ),
        widths=tuple(share / 10 for share in range(1, 11)),
        depths=tuple(range(1, 17)),
    ),
}
