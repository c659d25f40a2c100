"""Layer specs: what one layer is, in numbers. The only description of a layer in the code base.

Costs, latency tables, the supernet's blocks and the exporters all read these specs. A spec is the
layer of one slot: a convolution, an inverted residual block, a classifier. It lists its `parts`, the
elementary operations with weights, from which every count follows.

Counting rules: one multiply-accumulate is one MAC; MACs are for one sample; normalisation and
activations count no MACs; parameters include normalisation scale and shift but not running statistics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import ClassVar


@dataclass(frozen=True)
class Part:
    """One elementary operation with weights.

    Attributes:
        weights: elements of its weight tensor (the part that a bit width applies to).
        extras: elements that stay in full precision: biases, normalisation scale and shift.
        macs: multiply-accumulates for one sample.
    """

    weights: int
    extras: int
    macs: int


def conv_part(
    in_channels: int,
    out_channels: int,
    kernel: int,
    out_size: int,
    groups: int = 1,
    bias: bool = False,
    norm: bool = True,
) -> Part:
    """A convolution, with the normalisation that follows it if `norm`."""
    weights = out_channels * (in_channels // groups) * kernel * kernel
    extras = (out_channels if bias else 0) + (2 * out_channels if norm else 0)
    return Part(weights, extras, weights * out_size * out_size)


def linear_part(in_features: int, out_features: int, bias: bool = True) -> Part:
    """A fully connected layer applied once."""
    weights = in_features * out_features
    return Part(weights, out_features if bias else 0, weights)


class LayerSpec(ABC):
    """What one layer is. Subclasses are frozen dataclasses, hashable and comparable by value.

    `kind` names the file of `supernet/blocks` that builds the layer; the fields of the dataclass are
    that block's constructor arguments. An `activation` is the name of a class of `torch.nn`.
    """

    kind: ClassVar[str]
    # Fields that must be equal, not smaller, for a layer to be a slice of another one.
    fixed: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def parts(self) -> dict[str, Part]:
        """Elementary operations by name, in forward order."""

    def params(self) -> int:
        """Number of trainable parameters."""
        return _totals(self)[0]

    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return _totals(self)[1]

    def weight_bytes(self, bits: int = 32) -> int:
        """Bytes of the stored weights, with weight tensors at `bits` and everything else at 32 bits."""
        weights = _totals(self)[2]
        return (weights * bits + 7) // 8 + (self.params() - weights) * 4

    def fields(self) -> dict[str, int | str | bool]:
        """The dataclass's fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def fits_in(self, other: LayerSpec) -> bool:
        """Whether this layer's weights are a slice of the other's."""
        if type(self) is not type(other):
            return False
        mine, theirs = self.fields(), other.fields()
        return all(
            value == theirs[name] if name in self.fixed or isinstance(value, str) else value <= theirs[name]  # type: ignore[operator]
            for name, value in mine.items()
        )


@lru_cache(maxsize=65536)
def _totals(spec: LayerSpec) -> tuple[int, int, int]:
    """(params, macs, weight elements); cached because spaces repeat few distinct layers very often."""
    parts = spec.parts().values()
    weights = sum(part.weights for part in parts)
    return weights + sum(part.extras for part in parts), sum(part.macs for part in parts), weights


@dataclass(frozen=True)
class ConvSpec(LayerSpec):
    """Convolution, batch normalisation, activation: the stem of an image network.

    `size` is the height and width of the input in pixels.
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
        return {"conv": conv_part(self.in_channels, self.out_channels, self.kernel, self.out_size)}


@dataclass(frozen=True)
class MBConvSpec(LayerSpec):
    """Inverted residual block of MobileNetV2: expand 1x1, depthwise kxk, project 1x1, add the input.

    As in BigNAS every block has a shortcut: average pooling where the stride is not 1, and a 1x1
    convolution (no bias, no normalisation) where the number of channels changes, so that a block whose
    last scale is zero is the identity as nearly as shapes allow (bignas.md, 1.1).

    Attributes:
        hidden_channels: width between expansion and projection. Equal to `in_channels` together with
            `expand=False` for a block without the expanding convolution.
        size: height and width of the input in pixels.
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
        parts: dict[str, Part] = {}
        if self.expand:
            parts["expand"] = conv_part(self.in_channels, self.hidden_channels, 1, self.size)
        parts["depthwise"] = conv_part(
            self.hidden_channels,
            self.hidden_channels,
            self.kernel,
            self.out_size,
            groups=self.hidden_channels,
        )
        parts["project"] = conv_part(self.hidden_channels, self.out_channels, 1, self.out_size)
        if self.project_shortcut:
            parts["shortcut"] = conv_part(self.in_channels, self.out_channels, 1, self.out_size, norm=False)
        return parts


@dataclass(frozen=True)
class HeadSpec(LayerSpec):
    """Classifier of an image network: 1x1 convolution, global average pooling, linear layer.

    `size` is the height and width of the input in pixels.
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
            "conv": conv_part(self.in_channels, self.hidden_channels, 1, self.size),
            "classifier": linear_part(self.hidden_channels, self.classes),
        }
