"""Compares the vectors of two towers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PairHead(nn.Module):
    """Two vectors of each pair, `(N, 2, W)`, to two whose products are logits, `(N, 2, W + 1)`."""

    # It takes what all towers gave (see `supernet.inputs.Flow`).
    joins = True

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        # As their papers start: logits of 1 / 0.07 times the cosine (CLIP); of 10 times it, less 10 (SigLIP, 3.2).
        self.scale = nn.Parameter(torch.tensor(10.0 if bias else 1 / 0.07).log())
        self.bias = nn.Parameter(torch.tensor(-10.0)) if bias else None

    def forward(self, vectors_N2W: Tensor) -> Tensor:
        image_NW, text_NW = F.normalize(vectors_N2W, dim=-1).unbind(1)
        image_NW = F.pad(self.scale.exp() * image_NW, (0, 1))
        if self.bias is not None:
            image_NW = torch.cat((image_NW[:, :-1], self.bias.expand(image_NW.shape[0], 1)), dim=1)
        return torch.stack((image_NW, F.pad(text_NW, (0, 1), value=1.0)), dim=1)


BLOCK = PairHead
