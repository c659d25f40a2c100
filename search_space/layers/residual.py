"""The two blocks of residual networks: basic and bottleneck.

Maps are square: a `size` is their height and width in pixels. An `activation` is the name of a class of
`torch.nn`. Both blocks end with `activation(branch + shortcut)`.

`shortcut` says how a block whose input and output differ in shape adds its input:

- `conv`: a 1x1 convolution with the block's stride and batch normalisation (ResNet's option B);
- `pool`: average pooling over the stride, then a 1x1 convolution with batch normalisation (ResNet-D, 1812.01187,
  and Once-for-all's ResNet50);
- `pad`: every stride-th pixel, and zeros for the channels that are not there, no parameters (option A).

`project_shortcut` says whether the 1x1 convolution is there; without it, and but for `pad`, the shortcut is the input
itself. The capacity of a slot has it if any architecture of the space does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from search_space.layers.base import LayerSpec, Part, conv_part

SHORTCUTS = ("conv", "pool", "pad")


@dataclass(frozen=True)
class BasicSpec(LayerSpec):
    """Two 3x3 convolutions and a shortcut (ResNet-18, -34, and the ResNets for CIFAR; 1512.03385).

    Attributes:
        hidden_channels: width between the two convolutions.
        size: size of the input.
    """

    kind: ClassVar[str] = "basic"
    fixed: ClassVar[frozenset[str]] = frozenset({"stride"})
    free: ClassVar[frozenset[str]] = frozenset({"size"})

    in_channels: int
    hidden_channels: int
    out_channels: int
    stride: int
    size: int
    activation: str
    shortcut: str
    project_shortcut: bool

    @property
    def out_size(self) -> int:
        """Height and width of the output in pixels."""
        return -(-self.size // self.stride)

    def branches(self) -> tuple[str, ...]:
        """The convolutions, where the shortcut is the input."""
        return ("norm2",) if _keeps_its_shape(self) else ()

    def hands_on(self) -> Literal["other", "same", "padded"]:
        """See `LayerSpec`."""
        return _handed_on(self)

    def parts(self) -> dict[str, Part]:
        held = self.in_channels * self.size * self.size
        return {
            # Its own input is what the shortcut keeps.
            "conv1": conv_part(self.in_channels, self.hidden_channels, 3, self.size, self.out_size),
            "conv2": conv_part(self.hidden_channels, self.out_channels, 3, self.out_size, self.out_size, held=held),
            **_projection(self),
        }


@dataclass(frozen=True)
class BottleneckSpec(LayerSpec):
    """1x1, 3x3 and 1x1 convolution and a shortcut; the 3x3 one has the stride (ResNet-50, version 1.5).

    Attributes:
        hidden_channels: width of the 3x3 convolution.
        size: size of the input.
    """

    kind: ClassVar[str] = "bottleneck"
    fixed: ClassVar[frozenset[str]] = frozenset({"stride"})
    free: ClassVar[frozenset[str]] = frozenset({"size"})

    in_channels: int
    hidden_channels: int
    out_channels: int
    stride: int
    size: int
    activation: str
    shortcut: str
    project_shortcut: bool

    @property
    def out_size(self) -> int:
        """Height and width of the output in pixels."""
        return -(-self.size // self.stride)

    def branches(self) -> tuple[str, ...]:
        """The convolutions, where the shortcut is the input."""
        return ("norm3",) if _keeps_its_shape(self) else ()

    def hands_on(self) -> Literal["other", "same", "padded"]:
        """See `LayerSpec`."""
        return _handed_on(self)

    def parts(self) -> dict[str, Part]:
        held = self.in_channels * self.size * self.size
        return {
            "conv1": conv_part(self.in_channels, self.hidden_channels, 1, self.size, self.size),
            "conv2": conv_part(self.hidden_channels, self.hidden_channels, 3, self.size, self.out_size, held=held),
            "conv3": conv_part(self.hidden_channels, self.out_channels, 1, self.out_size, self.out_size, held=held),
            **_projection(self),
        }


def _keeps_its_shape(spec: BasicSpec | BottleneckSpec) -> bool:
    return spec.stride == 1 and spec.in_channels == spec.out_channels and not spec.project_shortcut


def _handed_on(spec: BasicSpec | BottleneckSpec) -> Literal["other", "same", "padded"]:
    if spec.project_shortcut:
        return "other"
    return "same" if spec.in_channels == spec.out_channels else "padded"


def _projection(spec: BasicSpec | BottleneckSpec) -> dict[str, Part]:
    if not spec.project_shortcut:
        return {}
    kept = spec.out_channels * spec.out_size * spec.out_size
    # Pooling has shrunk the map; a convolution with a stride reads the whole one.
    size = spec.out_size if spec.shortcut == "pool" else spec.size
    return {"projection": conv_part(spec.in_channels, spec.out_channels, 1, size, spec.out_size, held=kept)}
