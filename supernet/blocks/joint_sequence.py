"""Puts the tokens of a text behind those of an image."""

from torch import Tensor, nn


class JointSequence(nn.Module):
    """`hidden_NTD` of both, which whoever runs the network has put one behind the other."""

    # It takes what was made of all inputs, one behind the other (see `supernet.inputs.Flow`).
    chains = True

    def __init__(self, embed: int, tokens: int) -> None:
        super().__init__()

    def forward(self, hidden_NTD: Tensor) -> Tensor:
        return hidden_NTD


BLOCK = JointSequence
