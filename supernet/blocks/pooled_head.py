"""Makes one vector of a text, and perhaps classifies it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN


class PooledHead(nn.Module):
    """`hidden_NTD` to `logits_NK`, or to `pooled_ND` without classes. `mask_NT` is False where there is padding."""

    takes_mask = True

    def __init__(
        self,
        embed: int,
        classes: int,
        tokens: int,
        pool: str,
        first_norm: str,
        dense: bool,
        dense_bias: bool,
        activation: str,
        dense_norm: str,
        eps: float,
        unit: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.pool, self.unit = pool, unit
        self.first_norm = nn.LayerNorm(embed, eps, bias=first_norm == "layer") if first_norm else None
        self.dense = nn.Linear(embed, embed, dense_bias) if dense else None
        self.activation = ACT2FN[activation]
        self.dense_norm = nn.LayerNorm(embed, eps, bias=dense_norm == "layer") if dense_norm else None
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(embed, classes) if classes else None
        for linear in (self.dense, self.classifier):
            if linear is not None:
                nn.init.normal_(linear.weight, std=0.02)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)

    def forward(self, hidden_NTD: Tensor, mask_NT: Tensor | None = None) -> Tensor:
        if self.first_norm is not None:
            hidden_NTD = self.first_norm(hidden_NTD)
        out = self._pooled(hidden_NTD, mask_NT)
        if self.dense is not None:
            out = self.activation(self.dense(out))
        if self.dense_norm is not None:
            out = self.dense_norm(out)
        if self.unit:
            out = F.normalize(out, dim=-1)
        return out if self.classifier is None else self.classifier(self.dropout(out))

    def _pooled(self, hidden_NTD: Tensor, mask_NT: Tensor | None) -> Tensor:
        if self.pool == "first":
            return hidden_NTD[:, 0]
        if mask_NT is None:
            mask_NT = torch.ones_like(hidden_NTD[..., 0], dtype=torch.bool)
        if self.pool == "mean":
            counted_NT1 = mask_NT[..., None].to(hidden_NTD.dtype)
            return (hidden_NTD * counted_NT1).sum(1) / counted_NT1.sum(1)
        if self.pool == "max":
            return hidden_NTD.masked_fill(~mask_NT[..., None], -1e9).amax(1)
        last_N11 = (mask_NT.long() * torch.arange(mask_NT.shape[1], device=mask_NT.device)).amax(1)[:, None, None]
        return hidden_NTD.gather(1, last_N11.expand(-1, 1, hidden_NTD.shape[2]))[:, 0]


BLOCK = PooledHead
