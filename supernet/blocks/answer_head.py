"""Classifies a pair of image and text by its first token, as BEiT-3 answers questions."""

import torch
from torch import Tensor, nn


class AnswerHead(nn.Module):
    """`hidden_NTD` to `logits_NK`."""

    def __init__(self, embed: int, classes: int, eps: float) -> None:
        super().__init__()
        self.norm, self.pooler = nn.LayerNorm(embed, eps), nn.Linear(embed, embed)
        self.wide, self.wide_norm = nn.Linear(embed, 2 * embed), nn.LayerNorm(2 * embed, eps)
        self.activation, self.classifier = nn.GELU(), nn.Linear(2 * embed, classes)
        for layer in (self.pooler, self.wide, self.classifier):
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        pooled_ND = torch.tanh(self.pooler(self.norm(hidden_NTD[:, 0])))
        logits_NK: Tensor = self.classifier(self.activation(self.wide_norm(self.wide(pooled_ND))))
        return logits_NK


BLOCK = AnswerHead
