"""Convolution, batch normalisation, activation."""

from torch import Tensor, nn


class ConvBlock(nn.Module):
    """`x_NCHW` to `x_NCHW`, padded so that a stride of 1 keeps the size; adds its input if `residual`."""

    # Channels that it takes and gives, for `supernet.importance`: the field, what reads them, every tensor with them.
    takes = ("in_channels", ("conv",), (("conv.weight", 1),))
    gives = ("out_channels", (("conv.weight", 0), ("norm", 0)))

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        size: int,
        activation: str,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = getattr(nn, activation)()
        self.residual = residual

    def forward(self, x_NCHW: Tensor) -> Tensor:
        out: Tensor = self.activation(self.norm(self.conv(x_NCHW)))
        return x_NCHW + out if self.residual else out


BLOCK = ConvBlock
