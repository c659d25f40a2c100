"""Patches of an image as tokens, with a class token and learned positions."""

import torch
from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """`x_NCHW` to `hidden_NTD`; position 0 is the class token."""

    # Parameters that no weight decay pulls at (see `supernet.optimizers.undecayed`).
    undecayed = ("positions",)

    def __init__(self, channels: int, embed: int, patch: int, size: int, dropout: float) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, embed, patch, patch, bias=True)
        self.class_token = nn.Parameter(torch.empty(embed))
        self.positions = nn.Parameter(torch.empty((size // patch) ** 2 + 1, embed))
        self.dropout = nn.Dropout(dropout)
        # LeCun's: patches come out as large as the images go in.
        nn.init.trunc_normal_(self.patches.weight, std=(channels * patch * patch) ** -0.5)
        for tensor in (self.class_token, self.positions):
            nn.init.trunc_normal_(tensor, std=0.02)
        if self.patches.bias is not None:
            nn.init.zeros_(self.patches.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        patches_NTD = self.patches(x_NCHW).flatten(2).transpose(1, 2)
        first_N1D = self.class_token.expand(patches_NTD.shape[0], 1, -1)
        hidden_NTD: Tensor = self.dropout(torch.cat((first_N1D, patches_NTD), dim=1) + self.positions)
        return hidden_NTD


BLOCK = PatchEmbedding
