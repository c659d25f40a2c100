"""Layers of image networks. Maps are square: a `size` is their height and width in pixels.

An `activation` is the name of a class of `torch.nn`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from search_space.layers.base import LayerSpec, Part, conv_part, linear_part


@dataclass(frozen=True)
class ResizeSpec(LayerSpec):
    """Bicubic resize to `size` of images that have another size: the first layer of a network whose resolution
    is elastic, so that one crop serves every sub-network (BigNAS, 4.1)."""

    kind: ClassVar[str] = "resize"

    channels: int
    size: int

    def parts(self) -> dict[str, Part]:
        return {}


@dataclass(frozen=True)
class ConvSpec(LayerSpec):
    """Convolution, batch normalisation, activation: the stem of an image network.

    `size` is that of the input.
    """

    kind: ClassVar[str] = "conv"
    fixed: ClassVar[frozenset[str]] = frozenset({"in_channels", "stride"})

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    size: int
    activation: str

    @property
    def out_size(self) -> int:
        """Height and width of the output in pixels."""
        return -(-self.size // self.stride)

    def parts(self) -> dict[str, Part]:
        return {"conv": conv_part(self.in_channels, self.out_channels, self.kernel, self.size, self.out_size)}


@dataclass(frozen=True)
class MBConvSpec(LayerSpec):
    """Inverted residual block of MobileNetV2: expand 1x1, depthwise kxk, project 1x1, add the input.

    As in BigNAS every block has a shortcut: average pooling where the stride is not 1, and a 1x1
    convolution (no bias, no normalisation) where the number of channels changes, so that a block whose
    last scale is zero is the identity as nearly as shapes allow (bignas.md, 1.1).

    Attributes:
        hidden_channels: width between expansion and projection. Equal to `in_channels` together with
            `expand=False` for a block without the expanding convolution.
        size: of the input.
        project_shortcut: whether the shortcut has the 1x1 convolution. The capacity of a slot has it
            if any architecture of the space does.
    """

    kind: ClassVar[str] = "mbconv"
    fixed: ClassVar[frozenset[str]] = frozenset({"stride", "expand"})

    in_channels: int
    hidden_channels: int
    out_channels: int
    kernel: int
    stride: int
    size: int
    activation: str
    expand: bool
    project_shortcut: bool

    @property
    def out_size(self) -> int:
        """Height and width of the output in pixels."""
        return -(-self.size // self.stride)

    def parts(self) -> dict[str, Part]:
        held = self.in_channels * self.size * self.size
        parts: dict[str, Part] = {}
        if self.expand:
            parts["expand"] = conv_part(self.in_channels, self.hidden_channels, 1, self.size, self.size)
        parts["depthwise"] = conv_part(
            self.hidden_channels,
            self.hidden_channels,
            self.kernel,
            self.size,
            self.out_size,
            groups=self.hidden_channels,
            held=held if self.expand else 0,
        )
        parts["project"] = conv_part(
            self.hidden_channels, self.out_channels, 1, self.out_size, self.out_size, held=held
        )
        if self.project_shortcut:
            kept = self.out_channels * self.out_size * self.out_size
            parts["shortcut"] = conv_part(
                self.in_channels, self.out_channels, 1, self.out_size, self.out_size, norm=False, held=kept
            )
        return parts


@dataclass(frozen=True)
class HeadSpec(LayerSpec):
    """Classifier of an image network: 1x1 convolution, global average pooling, linear layer.

    `size` is that of the input.
    """

    kind: ClassVar[str] = "head"
    fixed: ClassVar[frozenset[str]] = frozenset({"classes"})

    in_channels: int
    hidden_channels: int
    classes: int
    size: int
    activation: str

    def parts(self) -> dict[str, Part]:
        return {
            "conv": conv_part(self.in_channels, self.hidden_channels, 1, self.size, self.size),
            "classifier": linear_part(self.hidden_channels, self.classes),
        }
