"""Layers of image networks: what stands before and after their blocks.

Maps are square: a `size` is their height and width in pixels. An `activation` is the name of a class of
`torch.nn`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from search_space.layers.base import LayerSpec, Part, conv_part, linear_part


@dataclass(frozen=True)
class ResizeSpec(LayerSpec):
    """Bicubic resize to `size` of images that have another size: the first layer of a network whose resolution
    is elastic, so that one crop serves every sub-network (BigNAS, 4.1)."""

    kind: ClassVar[str] = "resize"
    free: ClassVar[frozenset[str]] = frozenset({"size"})

    channels: int
    size: int

    def hands_on(self) -> Literal["other", "same", "padded"]:
        """See `LayerSpec`."""
        return "same"

    def parts(self) -> dict[str, Part]:
        return {}


@dataclass(frozen=True)
class ConvSpec(LayerSpec):
    """Convolution, batch normalisation, activation: the stem of an image network.

    Attributes:
        size: size of the input.
        residual: whether the input is added at the end; then stride is 1 and the channels stay.
    """

    kind: ClassVar[str] = "conv"
    fixed: ClassVar[frozenset[str]] = frozenset({"stride", "residual"})
    free: ClassVar[frozenset[str]] = frozenset({"size"})

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    size: int
    activation: str
    residual: bool = False

    @property
    def out_size(self) -> int:
        """Height and width of the output in pixels."""
        return -(-self.size // self.stride)

    def branches(self) -> tuple[str, ...]:
        """Everything but the sum."""
        return ("activation",) if self.residual else ()

    def hands_on(self) -> Literal["other", "same", "padded"]:
        """See `LayerSpec`."""
        return "same" if self.residual else "other"

    def parts(self) -> dict[str, Part]:
        return {"conv": conv_part(self.in_channels, self.out_channels, self.kernel, self.size, self.out_size)}


@dataclass(frozen=True)
class MaxPoolSpec(LayerSpec):
    """Maximum over windows of `kernel` by `kernel` pixels: the second half of a ResNet's stem for large images.

    `size` is that of the input.
    """

    kind: ClassVar[str] = "max_pool"
    fixed: ClassVar[frozenset[str]] = frozenset({"kernel", "stride"})
    free: ClassVar[frozenset[str]] = frozenset({"size"})

    channels: int
    kernel: int
    stride: int
    size: int

    @property
    def out_size(self) -> int:
        """Height and width of the output in pixels."""
        return -(-self.size // self.stride)

    def hands_on(self) -> Literal["other", "same", "padded"]:
        """See `LayerSpec`."""
        return "same"

    def parts(self) -> dict[str, Part]:
        return {"pool": Part(0, 0, 0, self.channels * (self.size**2 + self.out_size**2))}


@dataclass(frozen=True)
class HeadSpec(LayerSpec):
    """Classifier of a MobileNet: 1x1 convolution, global average pooling, linear layer.

    Attributes:
        size: size of the input.
        mix_channels: outputs of one more fully connected layer, with an activation and no normalisation,
            between pooling and classifier, as in MobileNetV3 and AttentiveNAS; 0 for none.
        mix_bias: whether that layer has a bias (MobileNetV3's has, AttentiveNAS's has not).
    """

    kind: ClassVar[str] = "head"
    fixed: ClassVar[frozenset[str]] = frozenset({"classes", "mix_bias"})
    free: ClassVar[frozenset[str]] = frozenset({"size"})

    in_channels: int
    hidden_channels: int
    classes: int
    size: int
    activation: str
    mix_channels: int = 0
    mix_bias: bool = False

    def parts(self) -> dict[str, Part]:
        parts = {"conv": conv_part(self.in_channels, self.hidden_channels, 1, self.size, self.size)}
        if self.mix_channels:
            parts["mix"] = linear_part(self.hidden_channels, self.mix_channels, bias=self.mix_bias)
        parts["classifier"] = linear_part(self.mix_channels or self.hidden_channels, self.classes)
        return parts


@dataclass(frozen=True)
class ClassifierSpec(LayerSpec):
    """Classifier of a ResNet: global average pooling, linear layer. `size` is that of the input."""

    kind: ClassVar[str] = "classifier"
    fixed: ClassVar[frozenset[str]] = frozenset({"classes"})
    free: ClassVar[frozenset[str]] = frozenset({"size"})

    in_channels: int
    classes: int
    size: int

    def parts(self) -> dict[str, Part]:
        # The pooled map is small; what is in memory at most is the map that is being pooled.
        pooled = self.in_channels
        return {
            "pool": Part(0, 0, 0, self.in_channels * self.size * self.size + pooled),
            "classifier": linear_part(self.in_channels, self.classes),
        }
