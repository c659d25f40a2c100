"""Maximum over windows of pixels."""

import torch.nn.functional as F
from torch import Tensor, nn


class MaxPoolBlock(nn.Module):
    """`x_NCHW` to `x_NCHW`, padded so that a stride of 1 keeps the size."""

    # It has no tensor along its channels (`supernet.importance`).
    takes = ("channels", (), ())
    gives = ("channels", ())

    def __init__(self, channels: int, kernel: int, stride: int, size: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.max_pool2d(x_NCHW, self.kernel, self.stride, self.kernel // 2)


BLOCK = MaxPoolBlock
