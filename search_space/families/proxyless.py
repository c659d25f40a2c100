"""ProxylessNAS family (1812.00332): one operation per block, the blocks' widths and strides given.

An operation is `k3e6`, an inverted residual block with a 3x3 depthwise convolution and 6 times as many hidden
channels as inputs; or, in a table whose blocks are bottlenecks, what mixes neighbouring positions in them, one of
`MIXINGS`; or `zero`, which leaves the block out where its input and output have one shape. The choice and the slot of
a block have the same name, and `candidates` lists what each option would be.

`fixed` gives the space of one network from its list of blocks, the form in which published networks are written:

    fixed({"stem": 32, "blocks": [[3, 1, 16, 1], [5, 3, 32, 2], None, [7, 6, 40, 2]], "feature_mix": 1280})

with [kernel, expansion, width, stride] for each block and None for one that was dropped. `PUBLISHED` has some.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from search_space.adjustments import Adjustments, Options, Rule, number, space_name
from search_space.architecture import Architecture, Option
from search_space.channels import make_divisible, refuse_twins
from search_space.inputs import ImageInput
from search_space.layers import ConvSpec, HeadSpec, LayerSpec, MBConvSpec, MixingSpec
from search_space.space import Choice, SearchSpace, Values

ZERO = "zero"
OPERATION = re.compile(r"k([1-9]\d?)e([1-9]\d?)")
# In rising order of size.
OPERATIONS = ("k3e3", "k5e3", "k7e3", "k3e6", "k5e6", "k7e6")
# The candidates of the paper's space for CIFAR-10, as (operation, kernel, dilation), in rising order of size.
MIXINGS = {
    "identity": ("identity", 1, 1),
    "avg3": ("avg_pool", 3, 1),
    "max3": ("max_pool", 3, 1),
    "sep3": ("separable", 3, 1),
    "dil3": ("separable", 3, 2),
    "sep5": ("separable", 5, 1),
    "sep7": ("separable", 7, 1),
}
# What a user may widen a preset to; beyond these a number is a slip of the keyboard.
MAX_KERNEL, MAX_EXPANSION, MAX_MULTIPLIER = 15, 32, 8
# Specs remembered per space. Equal blocks are then one object, whose counts are worked out once.
REMEMBERED_SPECS = 1 << 14

# The form of a published network: see the module's docstring.
Description = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProxylessBlock:
    """One block of a table.

    Attributes:
        name: name of its slot, and of its choice if it has one.
        options: its operations. One alone is no choice.
    """

    name: str
    width: int
    stride: int
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProxylessTable:
    """One preset of the family, or one network.

    Attributes:
        multipliers: options of the factor of all widths, each rounded to a multiple of 8. `None`: the widths are
            as they are, and there is no such choice.
        head: channels of the last convolution, which factors below 1 leave alone.
    """

    resolution: int
    classes: int
    stem: int
    stem_stride: int
    blocks: tuple[ProxylessBlock, ...]
    head: int
    multipliers: tuple[float, ...] | None = (1.0,)
    image_channels: int = 3


def searched_blocks(first: int, *stages: tuple[int, int, int]) -> tuple[ProxylessBlock, ...]:
    """A fixed block of width `first`, then stages of (width, number of blocks, stride of the first)."""
    blocks = [ProxylessBlock("first_block", first, 1, ("k3e1",))]
    for s, (width, depth, stride) in enumerate(stages, 1):
        for b in range(1, depth + 1):
            # A stage's first block changes the shape, so it cannot be left out.
            options = OPERATIONS if b == 1 else (ZERO, *OPERATIONS)
            blocks.append(ProxylessBlock(f"stage{s}_block{b}", width, stride if b == 1 else 1, options))
    return tuple(blocks)


def bottlenecks(*stages: tuple[int, int, int]) -> tuple[ProxylessBlock, ...]:
    """Bottlenecks with a choice of operation, in stages of (width, number of blocks, stride of the first)."""
    blocks = []
    for s, (width, depth, stride) in enumerate(stages, 1):
        for b in range(1, depth + 1):
            # What changes the shape can be neither left out nor done by nothing.
            options = tuple(MIXINGS)[1:] if b == 1 else (ZERO, *MIXINGS)
            blocks.append(ProxylessBlock(f"stage{s}_block{b}", width, stride if b == 1 else 1, options))
    return tuple(blocks)


PRESETS: dict[str, ProxylessTable] = {
    # The paper's space: 21 blocks with a choice, of which 15 can be left out; 6^6 * 7^15 networks.
    "imagenet": ProxylessTable(
        resolution=224,
        classes=1000,
        stem=32,
        stem_stride=2,
        blocks=searched_blocks(16, (24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)),
        head=1280,
    ),
    # The same idea for 32x32 pixels on a CPU.
    "cifar": ProxylessTable(
        resolution=32,
        classes=10,
        stem=16,
        stem_stride=1,
        blocks=searched_blocks(16, (24, 3, 2), (32, 3, 2), (64, 3, 2), (96, 2, 1)),
        head=256,
    ),
    # The candidates of the paper's space for CIFAR-10. Its backbone is a PyramidNet of 54 trees of such operations;
    # here each bottleneck has one.
    "cifar_operations": ProxylessTable(
        resolution=32,
        classes=10,
        stem=16,
        stem_stride=1,
        blocks=bottlenecks((32, 3, 2), (48, 3, 2), (64, 3, 2)),
        head=256,
    ),
    # Small enough to be searched in a minute on a CPU, with scikit-learn's digits.
    "digits": ProxylessTable(
        resolution=8,
        classes=10,
        stem=8,
        stem_stride=1,
        blocks=searched_blocks(8, (16, 3, 2), (24, 3, 2)),
        head=64,
        image_channels=1,
    ),
}

# Proxyless-mobile, as released: its first stage is 32 wide, where the space of the paper has 24.
PUBLISHED: dict[str, Description] = {
    "proxyless_mobile": {
        "stem": 32,
        "blocks": [
            [3, 1, 16, 1],
            *([5, 3, 32, 2], [3, 3, 32, 1], None, None),
            *([7, 3, 40, 2], [3, 3, 40, 1], [5, 3, 40, 1], [5, 3, 40, 1]),
            *([7, 6, 80, 2], [5, 3, 80, 1], [5, 3, 80, 1], [5, 3, 80, 1]),
            *([5, 6, 96, 1], [5, 3, 96, 1], [5, 3, 96, 1], [5, 3, 96, 1]),
            *([7, 6, 192, 2], [7, 6, 192, 1], [7, 3, 192, 1], [7, 3, 192, 1]),
            [7, 6, 320, 1],
        ],
        "feature_mix": 1280,
    }
}


def space(preset: str, adjustments: Adjustments) -> SearchSpace:
    """The search space of a preset."""
    table = PRESETS[preset]
    if adjustments.classes is not None:
        table = replace(table, classes=adjustments.classes)
    return _space(table, space_name("proxyless", preset, adjustments), adjustments)


def fixed(
    description: Description, name: str = "fixed", resolution: int = 224, classes: int = 1000, stem_stride: int = 2
) -> SearchSpace:
    """The space of one network: each block is a choice of one option.

    Args:
        description: `stem`: channels of the first convolution; `blocks`: see the module's docstring;
            `feature_mix`: channels of the last convolution. Other keys are ignored, as such files have many.

    Raises:
        ValueError: a key is missing, there are no blocks, or a block is not four whole numbers.
    """
    missing = [key for key in ("stem", "blocks", "feature_mix") if key not in description]
    if missing:
        raise ValueError(f"A description of a network needs {missing[0]!r}; got {', '.join(description) or 'nothing'}.")
    blocks = []
    for position, block in enumerate(description["blocks"]):
        if block is None:
            continue
        whole = isinstance(block, Sequence) and len(block) == 4 and all(type(n) is int and n > 0 for n in block)
        if not whole or block[0] % 2 == 0:
            raise ValueError(
                f"Block {position} must be [kernel, expansion, width, stride], whole numbers with an odd kernel, or "
                f"null where there is none; got {block!r}."
            )
        kernel, expansion, width, stride = block
        blocks.append(ProxylessBlock(f"block{position}", width, stride, (f"k{kernel}e{expansion}",)))
    if not blocks:
        raise ValueError("A description of a network needs at least one block that is not null; got none.")
    table = ProxylessTable(
        resolution, classes, description["stem"], stem_stride, tuple(blocks), description["feature_mix"], None
    )
    return _space(table, f"proxyless/{name}", Adjustments(), choose_all=True)


def candidates(space: SearchSpace, architecture: Architecture | None = None) -> dict[str, dict[str, LayerSpec | None]]:
    """For every block with a choice, what each of its options would be; None for `zero`.

    Args:
        architecture: decides everything but the block in question (the factor of the widths); None: the largest.
    """
    values = (architecture or space.largest()).values
    found: dict[str, dict[str, LayerSpec | None]] = {}
    for choice in space.choices:
        if choice.name == "width":
            continue
        found[choice.name] = {}
        for option in choice.options:
            network = space.layers(space.architecture(**{**values, choice.name: option}))
            found[choice.name][str(option)] = network.get(choice.name)
    return found


def _space(table: ProxylessTable, name: str, adjustments: Adjustments, choose_all: bool = False) -> SearchSpace:
    options = Options(name, adjustments)
    choices = list(_choices(table, options, choose_all))
    options.finish()
    known = {choice.name: choice.options for choice in choices}
    blueprint = ProxylessBlueprint(table)
    return SearchSpace(
        name,
        choices,
        blueprint,
        capacity=lambda: blueprint.capacity(known),
        takes=ImageInput(table.image_channels, table.resolution, table.classes),
    )


def _choices(table: ProxylessTable, options: Options, choose_all: bool) -> Iterator[Choice]:
    if table.multipliers is not None:
        widths = tuple(map(float, options.of("width", table.multipliers, number(0, MAX_MULTIPLIER))))
        # Only layers that every network has are compared: networks that differ in others may be left with the same.
        always = [table.stem, *(block.width for block in table.blocks if ZERO not in block.options)]
        refuse_twins(
            "width", widths, lambda width: (*(_scaled(channels, width) for channels in always), _head(table, width))
        )
        yield Choice("width", widths)
    for block in table.blocks:
        if len(block.options) > 1 or choose_all:
            operations = options.of(block.name, block.options, _operations(block))
            yield Choice(block.name, tuple(sorted(operations, key=_size)))


def _operations(block: ProxylessBlock) -> Rule:
    has_zero = ZERO in block.options
    if any(option in MIXINGS for option in block.options):
        known = ", ".join(option for option in block.options if option != ZERO)
        return Rule(f"one of {known}" + _or_zero(has_zero), lambda option: option in block.options)

    def allows(option: Option) -> bool:
        match = OPERATION.fullmatch(str(option)) if isinstance(option, str) else None
        if match is None:
            return has_zero and option == ZERO
        kernel, expansion = map(int, match.groups())
        return kernel % 2 == 1 and kernel <= MAX_KERNEL and expansion <= MAX_EXPANSION

    known = f"such as 'k5e6', with an odd kernel up to {MAX_KERNEL} and an expansion up to {MAX_EXPANSION}"
    return Rule(f"an operation {known}" + _or_zero(has_zero), allows)


def _or_zero(has_zero: bool) -> str:
    return ", or 'zero'" if has_zero else "; this block cannot be 'zero'"


@lru_cache
def _parsed(operation: str) -> tuple[int, int]:
    """(kernel, expansion)."""
    match = OPERATION.fullmatch(operation)
    assert match is not None, operation
    return int(match[1]), int(match[2])


def _size(operation: Option) -> tuple[int, int]:
    """What operations are sorted by: expansion, which weighs more, and kernel; or their place in `MIXINGS`."""
    if operation == ZERO:
        return 0, 0
    if operation in MIXINGS:
        return 1, list(MIXINGS).index(str(operation))
    kernel, expansion = _parsed(str(operation))
    return expansion, kernel


def _scaled(channels: int, width: Option | None) -> int:
    return channels if width is None else make_divisible(channels * float(width))


def _head(table: ProxylessTable, width: Option | None) -> int:
    return table.head if width is None or float(width) <= 1 else make_divisible(table.head * float(width))


class ProxylessBlueprint:
    """From the values of a table's choices to `slot -> LayerSpec`."""

    def __init__(self, table: ProxylessTable) -> None:
        self._table = table
        self._block = lru_cache(REMEMBERED_SPECS)(self._make_block)
        self._ends = lru_cache(REMEMBERED_SPECS)(self._make_ends)

    def __call__(self, values: Values) -> dict[str, LayerSpec]:
        """The layers of the network with these values."""
        table = self._table
        multiplier = values.get("width")
        stem, head = self._ends(multiplier)
        layers: dict[str, LayerSpec] = {"stem": stem}
        channels, size = stem.out_channels, stem.out_size
        for position, block in enumerate(table.blocks):
            operation = values.get(block.name, block.options[0])
            if operation == ZERO:
                continue
            layer = layers[block.name] = self._block(position, operation, channels, size, multiplier)
            channels, size = layer.out_channels, layer.out_size
        layers["head"] = head if channels == head.in_channels else replace(head, in_channels=channels)
        return layers

    def capacity(self, options: Mapping[str, tuple[Option, ...]]) -> dict[str, LayerSpec]:
        """The largest network's layers, each with the largest kernel that any option has, and with a shortcut only
        where each width has one."""
        widths = options.get("width", (None,))
        largest = {name: known[-1] for name, known in options.items()}
        layers = self(largest)
        at_each_width = [self({**largest, "width": width}) if width is not None else layers for width in widths]
        for slot, layer in layers.items():
            if isinstance(layer, MBConvSpec):
                known = options.get(slot, ())
                kernels = [_parsed(str(option))[0] for option in known if option != ZERO]
                layers[slot] = replace(
                    layer,
                    kernel=max([layer.kernel, *kernels]),
                    shortcut=all(network[slot].fields()["shortcut"] for network in at_each_width),
                )
        return layers

    def _make_ends(self, multiplier: Option | None) -> tuple[ConvSpec, HeadSpec]:
        table = self._table
        stem = _scaled(table.stem, multiplier)
        size = table.resolution
        last = _scaled(table.blocks[-1].width, multiplier)
        stem_spec = ConvSpec(table.image_channels, stem, 3, table.stem_stride, size, "ReLU6")
        size = stem_spec.out_size
        for block in table.blocks:
            size = -(-size // block.stride)
        return stem_spec, HeadSpec(last, _head(table, multiplier), table.classes, size, "ReLU6")

    def _make_block(
        self, position: int, operation: str, channels: int, size: int, multiplier: Option | None
    ) -> MBConvSpec | MixingSpec:
        block = self._table.blocks[position]
        width = _scaled(block.width, multiplier)
        shortcut = block.stride == 1 and channels == width
        if operation in MIXINGS:
            mixing, kernel, dilation = MIXINGS[operation]
            return MixingSpec(
                channels, width, width, mixing, kernel, dilation, block.stride, size, "ReLU", shortcut=shortcut
            )
        kernel, expansion = _parsed(operation)
        return MBConvSpec(
            in_channels=channels,
            hidden_channels=channels * expansion,
            out_channels=width,
            kernel=kernel,
            stride=block.stride,
            size=size,
            activation="ReLU6",
            expand=expansion > 1,
            project_shortcut=False,
            shortcut=shortcut,
        )


# Adjustments under which a preset that is too big for a test runs in one.
NARROWED: dict[str, Adjustments | None] = {"imagenet": Adjustments({"width": (0.1, 0.25)}, classes=10)}
