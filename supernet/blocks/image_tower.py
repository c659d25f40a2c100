"""Patches of a network's images, perhaps behind a class token, with learned positions."""

import torch
from torch import Tensor, nn


class ImageTower(nn.Module):
    """`x_NCHW` to `hidden_NTD`: the beginning of a tower."""

    # The network's input that it takes (see `supernet.inputs.Flow`).
    reads = "pixel_values"
    # Parameters that no weight decay pulls at (see `supernet.optimizers.undecayed`).
    undecayed = ("positions",)

    def __init__(
        self, channels: int, embed: int, patch: int, size: int, class_token: bool, bias: bool, norm: bool, eps: float
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, embed, patch, patch, bias=bias)
        self.class_token = nn.Parameter(torch.empty(embed)) if class_token else None
        self.positions = nn.Parameter(torch.empty((size // patch) ** 2 + class_token, embed))
        self.norm = nn.LayerNorm(embed, eps) if norm else None
        nn.init.trunc_normal_(self.patches.weight, std=(channels * patch * patch) ** -0.5)
        if self.patches.bias is not None:
            nn.init.zeros_(self.patches.bias)
        for tensor in (self.class_token, self.positions):
            if tensor is not None:
                nn.init.trunc_normal_(tensor, std=0.02)

    @staticmethod
    def mask_of(x_NCHW: Tensor) -> Tensor | None:
        """Every patch counts."""
        return None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        hidden_NTD: Tensor = self.patches(x_NCHW).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            hidden_NTD = torch.cat((self.class_token.expand(hidden_NTD.shape[0], 1, -1), hidden_NTD), dim=1)
        hidden_NTD = hidden_NTD + self.positions
        if self.norm is not None:
            hidden_NTD = self.norm(hidden_NTD)
        return hidden_NTD


BLOCK = ImageTower
