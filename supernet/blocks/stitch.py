"""A linear layer from the hidden states of one network to those of another, at every position."""

from torch import Tensor, nn


class Stitch(nn.Module):
    """`hidden_NTD` to `hidden_NTE`. Fresh weights are small; `supernet.stitching` fits them by least squares."""

    def __init__(self, embed: int, out: int, tokens: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embed, out)
        nn.init.trunc_normal_(self.linear.weight, std=embed**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        hidden_NTE: Tensor = self.linear(hidden_NTD)
        return hidden_NTE


BLOCK = Stitch
