"""Inverted residual block: expand 1x1, depthwise kxk, project 1x1, add the shortcut."""

import torch.nn.functional as F
from torch import Tensor, nn


class MBConvBlock(nn.Module):
    """`x_NCHW` to `x_NCHW`. The shortcut averages over the stride and projects where widths differ."""

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
        self.project = nn.Conv2d(hidden_channels, out_channels, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(out_channels)
        if project_shortcut:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.activation = getattr(nn, activation)()
        self.has_expand, self.has_shortcut = expand, project_shortcut

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = x_NCHW
        if self.has_expand:
            out = self.activation(self.expand_norm(self.expand(out)))
        out = self.activation(self.depthwise_norm(self.depthwise(out)))
        out = self.project_norm(self.project(out))
        shortcut = x_NCHW
        if self.stride > 1:
            shortcut = F.avg_pool2d(shortcut, self.stride, ceil_mode=True)
        if self.has_shortcut:
            shortcut = self.shortcut(shortcut)
        return out + shortcut

    def zero_last_scale(self) -> None:
        """Make the residual branch zero: with it, a block starts as its shortcut (BigNAS, 3.1)."""
        nn.init.zeros_(self.project_norm.weight)


BLOCK = MBConvBlock
