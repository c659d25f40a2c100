"""Token, position and segment embeddings, summed and normalised."""

import torch
from torch import Tensor, nn


class TextEmbedding(nn.Module):
    """`ids_NT` to `hidden_NTD`; every token has segment 0."""

    # Parameters that no weight decay pulls at (see `supernet.optimizers.undecayed`).
    undecayed = ("positions.weight",)

    def __init__(
        self, vocab: int, embed: int, positions: int, segments: int, tokens: int, eps: float, dropout: float
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab, embed)
        self.positions = nn.Embedding(positions, embed)
        self.segments = nn.Embedding(segments, embed)
        self.norm = nn.LayerNorm(embed, eps)
        self.dropout = nn.Dropout(dropout)
        for embedding in (self.tokens, self.positions, self.segments):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, ids_NT: Tensor) -> Tensor:
        places_T = torch.arange(ids_NT.shape[1], device=ids_NT.device)
        # The order of the sums is BERT's, so that a loaded checkpoint gives its own numbers.
        sum_NTD = self.tokens(ids_NT) + self.segments(torch.zeros_like(ids_NT)) + self.positions(places_T)
        hidden_NTD: Tensor = self.dropout(self.norm(sum_NTD))
        return hidden_NTD


BLOCK = TextEmbedding
