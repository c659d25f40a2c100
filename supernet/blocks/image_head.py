"""Makes one vector of an image, and perhaps classifies it."""

import torch
from torch import Tensor, nn


class ImageHead(nn.Module):
    """`hidden_NTD` to `logits_NK`, or to `pooled_ND` without classes."""

    def __init__(
        self, embed: int, classes: int, tokens: int, extra: int, pool: str, norm_first: bool, eps: float
    ) -> None:
        super().__init__()
        self.pool, self.extra, self.norm_first = pool, extra, norm_first
        features = 2 * embed if pool == "both" else embed
        self.norm = nn.LayerNorm(embed, eps)
        self.classifier = nn.Linear(features, classes) if classes else None
        self.second = nn.Linear(features, classes) if classes and pool == "two" else None
        for linear in (self.classifier, self.second):
            if linear is not None:
                nn.init.trunc_normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        if self.norm_first:
            hidden_NTD = self.norm(hidden_NTD)
        if self.pool == "mean":
            out = hidden_NTD[:, 1 + self.extra :].mean(1)
        elif self.pool == "both":
            out = torch.cat((hidden_NTD[:, 0], hidden_NTD[:, 1 + self.extra :].mean(1)), dim=-1)
        else:
            out = hidden_NTD[:, 0]
        if not self.norm_first:
            out = self.norm(out)
        if self.classifier is None:
            return out
        logits_NK: Tensor = self.classifier(out)
        return logits_NK if self.second is None else (logits_NK + self.second(hidden_NTD[:, 1])) / 2


BLOCK = ImageHead
