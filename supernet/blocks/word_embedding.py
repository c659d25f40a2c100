"""Tokens, and perhaps positions and segments, summed, perhaps normalised and widened."""

import torch
from torch import Tensor, nn


class WordEmbedding(nn.Module):
    """`ids_NT` to `hidden_NTD`; every token has segment 0."""

    def __init__(
        self,
        vocab: int,
        embed: int,
        width: int,
        positions: int,
        pad: int,
        segments: int,
        norm: str,
        eps: float,
        scale: float,
        tokens: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.pad, self.scale = pad, scale
        # Parameters that no weight decay pulls at (see `supernet.optimizers.undecayed`).
        self.undecayed = ("positions.weight",) if positions else ()
        self.tokens = nn.Embedding(vocab, width)
        self.positions = nn.Embedding(positions, width) if positions else None
        self.segments = nn.Embedding(segments, width) if segments else None
        self.norm = nn.LayerNorm(width, eps, bias=norm == "layer") if norm else None
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(width, embed) if width != embed else None
        for embedding in (self.tokens, self.positions, self.segments):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, ids_NT: Tensor) -> Tensor:
        # The order of the sums is transformers', so that a loaded checkpoint gives its own numbers.
        hidden_NTD: Tensor = self.tokens(ids_NT)
        if self.scale != 1:
            # In the weights' own type, whose rounding the network was trained with.
            hidden_NTD = hidden_NTD * torch.tensor(self.scale, dtype=hidden_NTD.dtype, device=hidden_NTD.device)
        if self.segments is not None:
            hidden_NTD = hidden_NTD + self.segments(torch.zeros_like(ids_NT))
        if self.positions is not None:
            hidden_NTD = hidden_NTD + self.positions(self._places(ids_NT))
        if self.norm is not None:
            hidden_NTD = self.norm(hidden_NTD)
        hidden_NTD = self.dropout(hidden_NTD)
        return hidden_NTD if self.projection is None else self.projection(hidden_NTD)

    def _places(self, ids_NT: Tensor) -> Tensor:
        """Positions count from 0; behind a padding token's own place only tokens count, which stand at `pad`."""
        if self.pad < 0:
            return torch.arange(ids_NT.shape[1], device=ids_NT.device)
        is_token_NT = (ids_NT != self.pad).long()
        return is_token_NT.cumsum(1) * is_token_NT + self.pad


BLOCK = WordEmbedding
