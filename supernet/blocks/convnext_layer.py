"""Layer of ConvNeXt: depthwise convolution, layer norm, two linear layers at every pixel, and a shortcut."""

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN


class GlobalResponse(nn.Module):
    """ConvNeXt V2's normalisation of each channel's norm over the image by the mean of all channels'."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x_NHWC: Tensor) -> Tensor:
        norms_N11C = torch.linalg.vector_norm(x_NHWC, ord=2, dim=(1, 2), keepdim=True)
        shares_N11C = norms_N11C / (norms_N11C.mean(dim=-1, keepdim=True) + 1e-6)
        out_NHWC: Tensor = self.weight * (x_NHWC * shares_N11C) + self.bias + x_NHWC
        return out_NHWC


class ConvNextLayer(nn.Module):
    """`x_NCHW` to `x_NCHW`."""

    # Axes that may be permuted without changing what the layer computes (`supernet.importance`).
    axes = (
        (
            "hidden",
            "project",
            (
                ("expand.weight", 0),
                ("expand.bias", 0),
                ("response.weight", 0),
                ("response.bias", 0),
                ("project.weight", 1),
            ),
        ),
    )

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel: int,
        size: int,
        activation: str,
        eps: float,
        layer_scale: bool,
        response: bool,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps)
        self.expand = nn.Linear(channels, hidden)
        self.activation = ACT2FN[activation]
        self.response = GlobalResponse(hidden) if response else None
        self.project = nn.Linear(hidden, channels)
        self.scale = nn.Parameter(torch.ones(channels)) if layer_scale else None
        for linear in (self.expand, self.project):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NHWC = self.norm(self.depthwise(x_NCHW).permute(0, 2, 3, 1))
        x_NHWC = self.activation(self.expand(x_NHWC))
        if self.response is not None:
            x_NHWC = self.response(x_NHWC)
        x_NHWC = self.project(x_NHWC)
        if self.scale is not None:
            x_NHWC = self.scale * x_NHWC
        out_NCHW: Tensor = x_NCHW + x_NHWC.permute(0, 3, 1, 2)
        return out_NCHW


BLOCK = ConvNextLayer
