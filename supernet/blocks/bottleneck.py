"""Bottleneck residual block: 1x1, 3x3 and 1x1 convolution and a shortcut."""

import torch.nn.functional as F
from torch import Tensor, nn


class BottleneckBlock(nn.Module):
    """`x_NCHW` to `x_NCHW`. For `shortcut`, see the layer's spec: `conv`, `pool` or `pad`."""

    # Axes that may be permuted without changing what the block computes (`supernet.importance`).
    axes = (
        (
            "hidden_channels",
            "conv2",
            (
                ("conv1.weight", 0),
                ("norm1", 0),
                ("conv2.weight", 1),
            ),
        ),
        (
            "hidden_channels",
            "conv3",
            (
                ("conv2.weight", 0),
                ("norm2", 0),
                ("conv3.weight", 1),
            ),
        ),
    )

    # The same for channels that it takes and gives: the field, what reads them, and every tensor that has them.
    takes = ("in_channels", ("conv1", "projection"), (("conv1.weight", 1), ("projection.weight", 1)))
    gives = (
        "out_channels",
        (
            ("conv3.weight", 0),
            ("projection.weight", 0),
            ("norm3", 0),
            ("projection_norm", 0),
        ),
    )

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        stride: int,
        size: int,
        activation: str,
        shortcut: str,
        project_shortcut: bool,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, hidden_channels, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden_channels)
        self.conv2 = nn.Conv2d(hidden_channels, hidden_channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden_channels)
        self.conv3 = nn.Conv2d(hidden_channels, out_channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_channels)
        if project_shortcut:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, 1 if shortcut == "pool" else stride, bias=False)
            self.projection_norm = nn.BatchNorm2d(out_channels)
        self.activation = getattr(nn, activation)()
        self.stride, self.out_channels = stride, out_channels
        self.kind, self.has_projection = shortcut, project_shortcut

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out_NCHW = self.activation(self.norm1(self.conv1(x_NCHW)))
        out_NCHW = self.activation(self.norm2(self.conv2(out_NCHW)))
        out_NCHW = self.norm3(self.conv3(out_NCHW))
        out: Tensor = self.activation(out_NCHW + self._shortcut(x_NCHW))
        return out

    def _shortcut(self, x_NCHW: Tensor) -> Tensor:
        if self.kind == "pad":
            kept_NCHW = x_NCHW[:, : self.out_channels, :: self.stride, :: self.stride]
            missing = self.out_channels - kept_NCHW.shape[1]
            return F.pad(kept_NCHW, (0, 0, 0, 0, 0, missing)) if missing else kept_NCHW
        if not self.has_projection:
            return x_NCHW
        if self.kind == "pool" and self.stride > 1:
            x_NCHW = F.avg_pool2d(x_NCHW, self.stride, ceil_mode=True)
        out: Tensor = self.projection_norm(self.projection(x_NCHW))
        return out

    def zero_last_scale(self) -> None:
        """Make the residual branch zero: with it, a block starts as its shortcut (BigNAS, 3.1)."""
        nn.init.zeros_(self.norm3.weight)


BLOCK = BottleneckBlock
