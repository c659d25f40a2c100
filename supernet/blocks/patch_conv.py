"""A convolution whose windows do not overlap, with a layer norm over channels before or behind it."""

from torch import Tensor, nn


class PatchConv(nn.Module):
    """`x_NCHW` to `x_NCHW`."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, size: int, norm_first: bool, eps: float
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, kernel)
        self.norm = nn.LayerNorm(in_channels if norm_first else out_channels, eps)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x = x_NCHW if self.norm_first else self.conv(x_NCHW)
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        out: Tensor = self.conv(x) if self.norm_first else x
        return out


BLOCK = PatchConv
