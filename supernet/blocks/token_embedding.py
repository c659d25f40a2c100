"""Token embedding."""

from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """`ids_NT` to `hidden_NTD`."""

    def __init__(self, vocab: int, embed: int, tokens: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab, embed)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids_NT: Tensor) -> Tensor:
        hidden_NTD: Tensor = self.tokens(ids_NT)
        return hidden_NTD


BLOCK = TokenEmbedding
