"""Makes a tower's vector: normalises, pools, projects."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN


class TowerHead(nn.Module):
    """`hidden_NTD` to `vector_NW`. `mask_NT` is True up to the token at whose place the text's vector is."""

    # Of the pooling by attention alone.
    query: Any
    key: Any
    value: Any
    output: Any

    def __init__(
        self,
        embed: int,
        width: int,
        tokens: int,
        pool: str,
        projects: bool,
        bias: bool,
        heads: int,
        ffn: int,
        activation: str,
        eps: float,
    ) -> None:
        super().__init__()
        self.pool, self.heads = pool, heads
        self.takes_mask = pool == "end"
        # Parameters that no weight decay pulls at (see `supernet.optimizers.undecayed`).
        self.undecayed = ("probe",) if pool == "attention" else ()
        self.norm = nn.LayerNorm(embed, eps)
        if pool == "attention":
            self.probe = nn.Parameter(torch.empty(1, embed))
            for name in ("query", "key", "value", "output"):
                setattr(self, name, nn.Linear(embed, embed))
            self.ffn_in, self.ffn_out = nn.Linear(embed, ffn), nn.Linear(ffn, embed)
            self.pooled_norm = nn.LayerNorm(embed, eps)
            self.activation = ACT2FN[activation]
            nn.init.trunc_normal_(self.probe, std=0.02)
        self.projection = nn.Linear(embed, width, bias) if projects else None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, hidden_NTD: Tensor, mask_NT: Tensor | None = None) -> Tensor:
        vector_NW: Tensor = self._pooled(hidden_NTD, mask_NT)
        return vector_NW if self.projection is None else self.projection(vector_NW)

    def _pooled(self, hidden_NTD: Tensor, mask_NT: Tensor | None) -> Tensor:
        if self.pool == "attention":
            return self._attended(self.norm(hidden_NTD))
        if self.pool == "class_token":
            pooled_ND = hidden_NTD[:, 0]
        elif mask_NT is None:
            pooled_ND = hidden_NTD[:, -1]
        else:
            last_N11 = (mask_NT.long().sum(1) - 1)[:, None, None]
            pooled_ND = hidden_NTD.gather(1, last_N11.expand(-1, 1, hidden_NTD.shape[2]))[:, 0]
        out: Tensor = self.norm(pooled_ND)
        return out

    def _attended(self, hidden_NTD: Tensor) -> Tensor:
        """What a learned query sees of all tokens, and a feed-forward network with a shortcut."""
        probe_N1D = self.query(self.probe)[None].expand(hidden_NTD.shape[0], -1, -1)
        q_NHTC, k_NHTC, v_NHTC = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (probe_N1D, self.key(hidden_NTD), self.value(hidden_NTD))
        )
        seen_NHTC = F.scaled_dot_product_attention(q_NHTC, k_NHTC, v_NHTC)
        out_ND: Tensor = self.output(seen_NHTC.transpose(1, 2).flatten(2))[:, 0]
        fed_ND: Tensor = self.ffn_out(self.activation(self.ffn_in(self.pooled_norm(out_ND))))
        return out_ND + fed_ND


BLOCK = TowerHead
