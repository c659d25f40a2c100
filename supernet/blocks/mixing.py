"""Bottleneck whose spatial operation is one of a set: 1x1, the operation, 1x1, and the shortcut."""

import torch.nn.functional as F
from torch import Tensor, nn


class MixingBlock(nn.Module):
    """`x_NCHW` to `x_NCHW`. Padding keeps the size, but for the stride."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        operation: str,
        kernel: int,
        dilation: int,
        stride: int,
        size: int,
        activation: str,
        shortcut: bool,
    ) -> None:
        super().__init__()
        self.operation, self.kernel, self.stride, self.has_shortcut = operation, kernel, stride, shortcut
        self.reduce = nn.Conv2d(in_channels, hidden_channels, 1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(hidden_channels)
        if operation == "separable":
            self.depthwise = nn.Conv2d(
                hidden_channels,
                hidden_channels,
                kernel,
                stride,
                dilation * (kernel // 2),
                dilation,
                groups=hidden_channels,
                bias=False,
            )
            self.depthwise_norm = nn.BatchNorm2d(hidden_channels)
            self.pointwise = nn.Conv2d(hidden_channels, hidden_channels, 1, bias=False)
            self.pointwise_norm = nn.BatchNorm2d(hidden_channels)
        self.expand = nn.Conv2d(hidden_channels, out_channels, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(out_channels)
        self.activation = getattr(nn, activation)()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = self.activation(self.reduce_norm(self.reduce(x_NCHW)))
        if self.operation == "separable":
            out = self.activation(self.depthwise_norm(self.depthwise(out)))
            out = self.activation(self.pointwise_norm(self.pointwise(out)))
        elif self.operation == "avg_pool":
            # Without the zeros around the image, as in DARTS: they would darken its rim.
            out = F.avg_pool2d(out, self.kernel, self.stride, self.kernel // 2, count_include_pad=False)
        elif self.operation == "max_pool":
            out = F.max_pool2d(out, self.kernel, self.stride, self.kernel // 2)
        out = self.expand_norm(self.expand(out))
        return out + x_NCHW if self.has_shortcut else out

    def zero_last_scale(self) -> None:
        """Make the residual branch zero: with it, a block starts as its shortcut (BigNAS, 3.1)."""
        if self.has_shortcut:
            nn.init.zeros_(self.expand_norm.weight)


BLOCK = MixingBlock
