"""Inverted residual block: expand 1x1, depthwise kxk, squeeze and excite, project 1x1, add the shortcut."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class MBConvBlock(nn.Module):
    """`x_NCHW` to `x_NCHW`. A shortcut averages over the stride and projects where widths differ."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        size: int,
        activation: str,
        expand: bool,
        project_shortcut: bool,
        squeeze_channels: int = 0,
        squeeze_activation: str = "ReLU",
        gate: str = "Sigmoid",
        shortcut: bool = True,
    ) -> None:
        super().__init__()
        self.stride = stride
        if expand:
            self.expand = nn.Conv2d(in_channels, hidden_channels, 1, bias=False)
            self.expand_norm = nn.BatchNorm2d(hidden_channels)
        self.depthwise = nn.Conv2d(
            hidden_channels, hidden_channels, kernel, stride, kernel // 2, groups=hidden_channels, bias=False
        )
        self.depthwise_norm = nn.BatchNorm2d(hidden_channels)
        if squeeze_channels > 0:
            self.squeeze = nn.Conv2d(hidden_channels, squeeze_channels, 1)
            self.squeeze_activation = getattr(nn, squeeze_activation)()
            self.excite = nn.Conv2d(squeeze_channels, hidden_channels, 1)
            self.gate = getattr(nn, gate)()
        self.project = nn.Conv2d(hidden_channels, out_channels, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(out_channels)
        if project_shortcut:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.activation = getattr(nn, activation)()
        self.has_expand, self.has_squeeze = expand, squeeze_channels > 0
        self.has_shortcut, self.has_projection = shortcut, project_shortcut
        # Axes that may be permuted without changing what the block computes (`supernet.importance`), and channels that
        # it takes and gives: the field, what reads them, and every tensor that has them. Without an expansion the
        # channels inside are those that it takes.
        inside: tuple[tuple[str, int], ...] = (("depthwise.weight", 0), ("depthwise_norm", 0), ("squeeze.weight", 1))
        inside += (("excite.weight", 0), ("excite.bias", 0), ("project.weight", 1))
        middle = (("squeeze.weight", 0), ("squeeze.bias", 0), ("excite.weight", 1))
        self.axes: list[Any] = [("squeeze_channels", "excite", middle)] if self.has_squeeze else []
        read: tuple[str, ...] = ("project",)
        if expand:
            outer = (("expand.weight", 0), ("expand_norm", 0))
            self.axes.append(("hidden_channels", "project", (*outer, *inside)))
            read, inside = ("expand",), (("expand.weight", 1),)
        self.takes = ("in_channels", (*read, "shortcut"), (*inside, ("shortcut.weight", 1)))
        self.gives = ("out_channels", (("project.weight", 0), ("project_norm", 0), ("shortcut.weight", 0)))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = x_NCHW
        if self.has_expand:
            out = self.activation(self.expand_norm(self.expand(out)))
        out = self.activation(self.depthwise_norm(self.depthwise(out)))
        if self.has_squeeze:
            squeezed_NC11 = self.squeeze_activation(self.squeeze(out.mean((2, 3), keepdim=True)))
            out = out * self.gate(self.excite(squeezed_NC11))
        out = self.project_norm(self.project(out))
        if not self.has_shortcut:
            return out
        shortcut = x_NCHW
        if self.stride > 1:
            shortcut = F.avg_pool2d(shortcut, self.stride, ceil_mode=True)
        if self.has_projection:
            shortcut = self.shortcut(shortcut)
        return out + shortcut

    def zero_last_scale(self) -> None:
        """Make the residual branch zero: with it, a block starts as its shortcut (BigNAS, 3.1).

        A block without a shortcut has nothing else to say and keeps its scale.
        """
        if self.has_shortcut:
            nn.init.zeros_(self.project_norm.weight)


BLOCK = MBConvBlock
