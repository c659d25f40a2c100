"""Expand 1x1, depthwise, squeeze and excite, project 1x1, perhaps a shortcut, padded as checkpoints want it."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN


class InvertedResidual(nn.Module):
    """`x_NCHW` to `x_NCHW`."""

    # Axes that may be permuted without changing what the block computes (`supernet.importance`).
    axes: tuple[Any, ...] = (
        (
            "hidden",
            "project",
            (
                ("expand.weight", 0),
                ("expand_norm", 0),
                ("depthwise_norm", 0),
                ("depthwise.weight", 0),
                ("squeeze.weight", 1),
                ("excite.weight", 0),
                ("excite.bias", 0),
                ("project.weight", 1),
            ),
        ),
    )

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        kernel: int,
        stride: int,
        before: int,
        after: int,
        dilation: int,
        size: int,
        activation: str,
        expand: bool,
        squeeze: int,
        eps: float,
        shortcut: bool,
        squeeze_activation: str = "",
        gate: str = "",
    ) -> None:
        super().__init__()
        self.around, self.has_shortcut = (before, after, before, after), shortcut
        if expand:
            self.expand = nn.Conv2d(in_channels, hidden, 1, bias=False)
            self.expand_norm = nn.BatchNorm2d(hidden, eps)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, stride, dilation=dilation, groups=hidden, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(hidden, eps)
        if squeeze:
            self.squeeze = nn.Conv2d(hidden, squeeze, 1)
            self.excite = nn.Conv2d(squeeze, hidden, 1)
            self.squeeze_activation = ACT2FN[squeeze_activation or activation]
            self.gate = getattr(nn, gate or "Sigmoid")()
        self.project = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(out_channels, eps)
        self.activation = ACT2FN[activation]
        self.has_expand, self.has_squeeze = expand, squeeze > 0
        # Channels that it takes and gives: the field, what reads them, and every tensor that has them.
        self.takes: tuple[Any, ...] = ("in_channels", ("expand",), (("expand.weight", 1),))
        if not expand:  # the channels inside are those that come in
            _, reader, members = self.axes[0]
            self.takes, self.axes = ("in_channels", (reader,), members), ()
        self.gives = ("out_channels", (("project.weight", 0), ("project_norm", 0)))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = x_NCHW
        if self.has_expand:
            out = self.activation(self.expand_norm(self.expand(out)))
        out = self.activation(self.depthwise_norm(self.depthwise(F.pad(out, self.around))))
        if self.has_squeeze:
            inner_NC11 = self.squeeze_activation(self.squeeze(out.mean((2, 3), keepdim=True)))
            out = out * self.gate(self.excite(inner_NC11))
        out = self.project_norm(self.project(out))
        return out + x_NCHW if self.has_shortcut else out

    def zero_last_scale(self) -> None:
        """Make the residual branch zero: with it, a block starts as its shortcut (BigNAS, 3.1)."""
        if self.has_shortcut:
            nn.init.zeros_(self.project_norm.weight)


BLOCK = InvertedResidual
