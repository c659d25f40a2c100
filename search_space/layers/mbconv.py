"""The block of mobile networks: inverted residual, with or without squeeze-and-excitation.

Maps are square: a `size` is their height and width in pixels. An `activation` is the name of a class of
`torch.nn`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from search_space.layers.base import LayerSpec, Part, conv_part


@dataclass(frozen=True)
class MBConvSpec(LayerSpec):
    """Inverted residual block of MobileNetV2: expand 1x1, depthwise kxk, project 1x1, add the shortcut.

    Attributes:
        hidden_channels: width between expansion and projection.
        size: size of the input.
        expand: whether there is an expanding convolution; without it `hidden_channels` is `in_channels`.
        project_shortcut: whether the shortcut has a 1x1 convolution (no bias, no normalisation), which it needs
            where the number of channels changes. The capacity of a slot has it if any architecture of the
            space does.
        squeeze_channels: width of squeeze-and-excitation, which comes after the depthwise convolution's
            activation (1x1 with bias, `squeeze_activation`, 1x1 with bias, `gate`); 0 for none.
        shortcut: whether the input, average-pooled where the stride is not 1, is added at the end.
    """

    kind: ClassVar[str] = "mbconv"
    fixed: ClassVar[frozenset[str]] = frozenset({"stride"})
    free: ClassVar[frozenset[str]] = frozenset({"size", "shortcut"})

    in_channels: int
    hidden_channels: int
    out_channels: int
    kernel: int
    stride: int
    size: int
    activation: str
    expand: bool
    project_shortcut: bool
    squeeze_channels: int = 0
    squeeze_activation: str = "ReLU"
    gate: str = "Sigmoid"
    shortcut: bool = True

    @property
    def out_size(self) -> int:
        """Height and width of the output in pixels."""
        return -(-self.size // self.stride)

    def branches(self) -> tuple[str, ...]:
        """All but the shortcut, where that is the input."""
        same = self.stride == 1 and self.in_channels == self.out_channels and not self.project_shortcut
        return ("project_norm",) if self.shortcut and same else ()

    def hands_on(self) -> Literal["other", "same", "padded"]:
        """See `LayerSpec`."""
        return "same" if self.shortcut and not self.project_shortcut else "other"

    def parts(self) -> dict[str, Part]:
        parts: dict[str, Part] = {}
        if self.expand:
            parts["expand"] = conv_part(self.in_channels, self.hidden_channels, 1, self.size, self.size)
        held = self.in_channels * self.size * self.size if self.shortcut else 0
        parts["depthwise"] = conv_part(
            self.hidden_channels,
            self.hidden_channels,
            self.kernel,
            self.size,
            self.out_size,
            groups=self.hidden_channels,
            # Without an expansion the depthwise convolution's own input is what the shortcut keeps.
            held=held if self.expand else 0,
        )
        if self.squeeze_channels:
            beside = held + self.hidden_channels * self.out_size * self.out_size
            for name, inputs, outputs in (
                ("squeeze", self.hidden_channels, self.squeeze_channels),
                ("excite", self.squeeze_channels, self.hidden_channels),
            ):
                parts[name] = conv_part(inputs, outputs, 1, 1, 1, bias=True, norm=False, held=beside)
        parts["project"] = conv_part(
            self.hidden_channels, self.out_channels, 1, self.out_size, self.out_size, held=held
        )
        if self.project_shortcut:
            kept = self.out_channels * self.out_size * self.out_size
            parts["shortcut"] = conv_part(
                self.in_channels, self.out_channels, 1, self.out_size, self.out_size, norm=False, held=kept
            )
        return parts
