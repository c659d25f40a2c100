"""Normalises and predicts the next token at every position, with what a type of decoder does to its logits."""

import torch
from torch import Tensor, nn


class FinalNorm(nn.Module):
    """Root-mean-square normalisation, computed in 32 bits; `plus_one`: its weight counts from 1 (Gemma)."""

    def __init__(self, features: int, eps: float, plus_one: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features) if plus_one else torch.ones(features))
        self.eps, self.plus_one = eps, plus_one

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        if self.plus_one:
            return (wide * (1.0 + self.weight.float())).type_as(x)
        return self.weight * wide.to(x.dtype)


class VocabularyHead(nn.Module):
    """`hidden_NTD` to `logits_NTV`."""

    def __init__(
        self,
        embed: int,
        vocab: int,
        tokens: int,
        norm: str,
        eps: float,
        bias: bool,
        divisor: float,
        softcap: float,
        tied_to: str,
    ) -> None:
        super().__init__()
        self.divisor, self.softcap = divisor, softcap
        shifted = norm in ("layer", "unbiased")
        self.norm = (
            nn.LayerNorm(embed, eps, bias=norm == "layer") if shifted else FinalNorm(embed, eps, norm == "rms_plus_one")
        )
        self.output = nn.Linear(embed, vocab, bias=bias)
        nn.init.normal_(self.output.weight, std=0.02)

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        logits_NTV: Tensor = self.output(self.norm(hidden_NTD))
        if self.divisor != 1:
            logits_NTV = logits_NTV / self.divisor
        return self.softcap * torch.tanh(logits_NTV / self.softcap) if self.softcap else logits_NTV


BLOCK = VocabularyHead
