"""A convolution with zeros before and behind its image, batch normalisation and an activation."""

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN


class PaddedConv(nn.Module):
    """`x_NCHW` to `x_NCHW`."""

    # Channels that it takes and gives, for `supernet.importance`: the field, what reads them, every tensor with them.
    takes = ("in_channels", ("conv",), (("conv.weight", 1),))
    gives = ("out_channels", (("conv.weight", 0), ("norm", 0)))

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        before: int,
        after: int,
        size: int,
        activation: str,
        eps: float,
    ) -> None:
        super().__init__()
        self.around = (before, after, before, after)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps)
        self.activation = ACT2FN[activation]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = self.activation(self.norm(self.conv(F.pad(x_NCHW, self.around))))
        return out


BLOCK = PaddedConv
