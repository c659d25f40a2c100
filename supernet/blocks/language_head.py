"""Normalises and predicts the next token at every position."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, computed in 32 bits as Llama's."""

    def __init__(self, features: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.eps = eps

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        wide_NTD = hidden_NTD.float()
        wide_NTD = wide_NTD * torch.rsqrt(wide_NTD.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide_NTD.to(hidden_NTD.dtype)


class LanguageHead(nn.Module):
    """`hidden_NTD` to `logits_NTV`."""

    def __init__(self, embed: int, vocab: int, tokens: int, eps: float, tied_to: str) -> None:
        super().__init__()
        self.norm = RMSNorm(embed, eps)
        self.output = nn.Linear(embed, vocab, bias=False)
        nn.init.normal_(self.output.weight, std=0.02)

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        logits_NTV: Tensor = self.output(self.norm(hidden_NTD))
        return logits_NTV


BLOCK = LanguageHead
