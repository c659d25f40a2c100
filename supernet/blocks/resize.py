"""Resize of images to a network's own resolution."""

import torch.nn.functional as F
from torch import Tensor, nn


class ResizeBlock(nn.Module):
    """`x_NCHW` of any size to `x_NCHW` of `size` pixels a side; images of that size pass as they are."""

    # It has no tensor along its channels (`supernet.importance`).
    takes = ("channels", (), ())
    gives = ("channels", ())

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if x_NCHW.shape[-2:] == (self.size, self.size):
            return x_NCHW
        return F.interpolate(x_NCHW, (self.size, self.size), mode="bicubic", align_corners=False, antialias=True)


BLOCK = ResizeBlock
