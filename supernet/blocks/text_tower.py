"""Tokens of a network's texts and their positions."""

import torch
from torch import Tensor, nn


class TextTower(nn.Module):
    """`ids_NT` to `hidden_NTD`: the beginning of a tower."""

    # The network's input that it takes (see `supernet.inputs.Flow`).
    reads = "input_ids"
    # Parameters that no weight decay pulls at (see `supernet.optimizers.undecayed`).
    undecayed = ("positions.weight",)

    def __init__(self, vocab: int, embed: int, positions: int, end: int, tokens: int) -> None:
        super().__init__()
        self.end = end
        self.tokens = nn.Embedding(vocab, embed)
        self.positions = nn.Embedding(positions, embed)
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def mask_of(self, ids_NT: Tensor) -> Tensor | None:
        """True up to the token that ends each text: the first `end`, or the largest id (-1); None (-2): all is read."""
        if self.end == -2:
            return None
        found_NT = ids_NT if self.end == -1 else ids_NT == self.end
        last_N = found_NT.int().argmax(1)
        return torch.arange(ids_NT.shape[1], device=ids_NT.device)[None] <= last_N[:, None]

    def forward(self, ids_NT: Tensor) -> Tensor:
        places_T = torch.arange(ids_NT.shape[1], device=ids_NT.device)
        hidden_NTD: Tensor = self.tokens(ids_NT) + self.positions(places_T)
        return hidden_NTD


BLOCK = TextTower
