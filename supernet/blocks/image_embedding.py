"""Patches of an image with tokens before them, and perhaps learned positions."""

import torch
from torch import Tensor, nn


class ImageEmbedding(nn.Module):
    """`x_NCHW` to `hidden_NTD`: the class token, further ones, the patches."""

    def __init__(
        self,
        channels: int,
        embed: int,
        patch: int,
        size: int,
        extra: int,
        placed: str,
        mask_token: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.placed = placed
        # Parameters that no weight decay pulls at (see `supernet.optimizers.undecayed`).
        self.undecayed = ("positions",) if placed else ()
        places = (size // patch) ** 2 + 1 + (extra if placed == "all" else 0)
        self.patches = nn.Conv2d(channels, embed, patch, patch, bias=True)
        self.class_token = nn.Parameter(torch.empty(embed))
        self.extra_tokens = nn.Parameter(torch.empty(extra, embed)) if extra else None
        self.positions = nn.Parameter(torch.empty(places, embed)) if placed else None
        # Of the pretraining; nothing here masks patches.
        self.mask_token = nn.Parameter(torch.zeros(1, embed), requires_grad=False) if mask_token else None
        self.dropout = nn.Dropout(dropout)
        nn.init.trunc_normal_(self.patches.weight, std=(channels * patch * patch) ** -0.5)
        for tensor in (self.class_token, self.extra_tokens, self.positions):
            if tensor is not None:
                nn.init.trunc_normal_(tensor, std=0.02)
        if self.patches.bias is not None:
            nn.init.zeros_(self.patches.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        patches_NTD = self.patches(x_NCHW).flatten(2).transpose(1, 2)
        batch = patches_NTD.shape[0]
        tokens = [self.class_token.expand(batch, 1, -1)]
        extra = [] if self.extra_tokens is None else [self.extra_tokens.expand(batch, -1, -1)]
        if self.placed == "all":
            tokens, extra = tokens + extra, []
        hidden_NTD = torch.cat((*tokens, patches_NTD), dim=1)
        if self.positions is not None:
            hidden_NTD = hidden_NTD + self.positions
        if extra:
            hidden_NTD = torch.cat((hidden_NTD[:, :1], *extra, hidden_NTD[:, 1:]), dim=1)
        out_NTD: Tensor = self.dropout(hidden_NTD)
        return out_NTD


BLOCK = ImageEmbedding
