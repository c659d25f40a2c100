"""Transformer encoder layer: self-attention and a feed-forward network, each with a shortcut."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RelativePositions(nn.Module):
    """AutoFormer's embeddings of the vertical and horizontal distance between two patches, summed.

    Distances are clipped to `largest`; row 0 is for pairs that involve the class token.
    """

    # Parameters that no weight decay pulls at (see `supernet.optimizers.undecayed`).
    undecayed = ("vertical", "horizontal")

    def __init__(self, largest: int, head_dim: int) -> None:
        super().__init__()
        self.largest = largest
        self.vertical = nn.Parameter(torch.empty(2 * largest + 2, head_dim))
        self.horizontal = nn.Parameter(torch.empty(2 * largest + 2, head_dim))
        nn.init.trunc_normal_(self.vertical, std=0.02)
        nn.init.trunc_normal_(self.horizontal, std=0.02)

    def forward(self, tokens: int) -> Tensor:
        """`embedding_TTC` for a square grid of patches after the class token."""
        side = round((tokens - 1) ** 0.5)
        place = torch.arange(tokens - 1, device=self.vertical.device)
        rows, columns = place // side, place % side
        vertical = (rows[None] - rows[:, None]).clamp(-self.largest, self.largest) + self.largest + 1
        horizontal = (columns[None] - columns[:, None]).clamp(-self.largest, self.largest) + self.largest + 1
        return self.vertical[F.pad(vertical, (1, 0, 1, 0))] + self.horizontal[F.pad(horizontal, (1, 0, 1, 0))]


class EncoderLayer(nn.Module):
    """`hidden_NTD` to `hidden_NTD`. `mask_NT` is False where a position is padding."""

    takes_mask = True
    # Axes that may be permuted without changing what the layer computes: the spec's field that counts the
    # groups, the module that reads them, and every tensor that has them, with the dimension.
    axes = (
        ("ffn", "ffn_out", (("ffn_in.weight", 0), ("ffn_in.bias", 0), ("ffn_out.weight", 1))),
        (
            "heads",
            "output",
            (
                ("query.weight", 0),
                ("query.bias", 0),
                ("key.weight", 0),
                ("key.bias", 0),
                ("value.weight", 0),
                ("value.bias", 0),
                ("output.weight", 1),
            ),
        ),
    )

    def __init__(
        self,
        embed: int,
        heads: int,
        head_dim: int,
        ffn: int,
        tokens: int,
        norm_first: bool,
        activation: str,
        qkv_bias: bool,
        relative: int,
        eps: float,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.heads, self.norm_first, self.attention_dropout = heads, norm_first, attention_dropout
        width = heads * head_dim
        self.attention_norm = nn.LayerNorm(embed, eps)
        self.query = nn.Linear(embed, width, qkv_bias)
        self.key = nn.Linear(embed, width, qkv_bias)
        self.value = nn.Linear(embed, width, qkv_bias)
        self.output = nn.Linear(width, embed)
        self.ffn_norm = nn.LayerNorm(embed, eps)
        self.ffn_in = nn.Linear(embed, ffn)
        self.activation = nn.GELU(approximate="tanh") if activation == "GELUTanh" else getattr(nn, activation)()
        self.ffn_out = nn.Linear(ffn, embed)
        self.dropout = nn.Dropout(dropout)
        self.keys_at = RelativePositions(relative, head_dim) if relative else None
        self.values_at = RelativePositions(relative, head_dim) if relative else None
        for linear in (self.query, self.key, self.value, self.output, self.ffn_in, self.ffn_out):
            # As the authors' codes start ViT and BERT. BERT's constant suits its widths: in a ViT of 128 channels it is
            # a quarter of what ViT's rule gives, and the network learns much more slowly (docs/log.md).
            if norm_first:
                nn.init.xavier_uniform_(linear.weight)
            else:
                nn.init.trunc_normal_(linear.weight, std=0.02)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(self, hidden_NTD: Tensor, mask_NT: Tensor | None = None) -> Tensor:
        if self.norm_first:
            hidden_NTD = hidden_NTD + self.dropout(self._attend(self.attention_norm(hidden_NTD), mask_NT))
            hidden_NTD = hidden_NTD + self.dropout(self._feed(self.ffn_norm(hidden_NTD)))
        else:
            hidden_NTD = self.attention_norm(hidden_NTD + self.dropout(self._attend(hidden_NTD, mask_NT)))
            hidden_NTD = self.ffn_norm(hidden_NTD + self.dropout(self._feed(hidden_NTD)))
        return hidden_NTD

    def _feed(self, hidden_NTD: Tensor) -> Tensor:
        out_NTD: Tensor = self.ffn_out(self.activation(self.ffn_in(hidden_NTD)))
        return out_NTD

    def _attend(self, hidden_NTD: Tensor, mask_NT: Tensor | None) -> Tensor:
        q_NHTC, k_NHTC, v_NHTC = (
            linear(hidden_NTD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        mask = None if mask_NT is None else mask_NT[:, None, None, :]
        dropout = self.attention_dropout if self.training else 0.0
        if self.keys_at is None or self.values_at is None:
            out_NHTC = F.scaled_dot_product_attention(q_NHTC, k_NHTC, v_NHTC, mask, dropout)
        else:
            tokens = hidden_NTD.shape[1]
            scores = q_NHTC @ k_NHTC.transpose(2, 3)
            scores = scores + torch.einsum("nhtc,tsc->nhts", q_NHTC, self.keys_at(tokens))
            scores = scores * q_NHTC.shape[-1] ** -0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, float("-inf"))
            shares = F.dropout(scores.softmax(-1), dropout)
            out_NHTC = shares @ v_NHTC + torch.einsum("nhts,tsc->nhtc", shares, self.values_at(tokens))
        out_NTD: Tensor = self.output(out_NHTC.transpose(1, 2).flatten(2))
        return out_NTD


BLOCK = EncoderLayer
