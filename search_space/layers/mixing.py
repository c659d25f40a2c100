"""A bottleneck whose spatial operation is one of a set: the candidates of ProxylessNAS's space for CIFAR-10."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from search_space.layers.base import LayerSpec, Part, conv_part


@dataclass(frozen=True)
class MixingSpec(LayerSpec):
    """1x1 convolution, `operation` over neighbouring positions, 1x1 convolution, and the shortcut.

    The middle is what an edge of ProxylessNAS's cells holds (1812.00332, 4.1): a separable convolution (depthwise
    and 1x1, each normalised and activated), a pooling, or nothing. Maps are square.

    Attributes:
        hidden_channels: width of the middle.
        operation: `separable`, `avg_pool`, `max_pool` or `identity`, which has a stride of 1.
        kernel: kernel of the middle; 1 for `identity`.
        dilation: dilation of a separable convolution's kernel.
        size: size of the input, height and width in pixels.
        activation: name of a class of `torch.nn`.
        shortcut: whether the input is added at the end, which needs equal widths and a stride of 1.
    """

    kind: ClassVar[str] = "mixing"
    fixed: ClassVar[frozenset[str]] = frozenset({"stride", "shortcut"})
    # An operation without weights leaves those of the slot alone.
    free: ClassVar[frozenset[str]] = frozenset({"size", "operation", "dilation"})

    in_channels: int
    hidden_channels: int
    out_channels: int
    operation: str
    kernel: int
    dilation: int
    stride: int
    size: int
    activation: str
    shortcut: bool

    @property
    def out_size(self) -> int:
        """Height and width of the output in pixels."""
        return -(-self.size // self.stride)

    def branches(self) -> tuple[str, ...]:
        """The bottleneck, where its input is added."""
        return ("expand_norm",) if self.shortcut else ()

    def parts(self) -> dict[str, Part]:
        hidden, size, out_size = self.hidden_channels, self.size, self.out_size
        held = self.in_channels * size * size if self.shortcut else 0
        parts = {"reduce": conv_part(self.in_channels, hidden, 1, size, size)}
        if self.operation == "separable":
            parts["depthwise"] = conv_part(hidden, hidden, self.kernel, size, out_size, groups=hidden, held=held)
            parts["pointwise"] = conv_part(hidden, hidden, 1, out_size, out_size, held=held)
        elif self.operation != "identity":
            parts["pool"] = Part(0, 0, 0, hidden * (size * size + out_size * out_size) + held)
        parts["expand"] = conv_part(hidden, self.out_channels, 1, out_size, out_size, held=held)
        return parts
