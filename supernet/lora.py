"""Low-rank updates: train two thin matrices beside every large one (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LowRankUpdate:
    """Weights `W = W0 + (alpha / rank) B A`, of which only the thin `A` and `B` are trained.

    Networks hold plain weights at all times, so sub-networks, exports and evaluation know nothing of this.
    The chain rule gives the factors' gradients from that of the weight, G:

        dB = (alpha / rank) G A^T        dA = (alpha / rank) B^T G

    This is exact also where G comes from a slice of W and is zero elsewhere. What is saved is the
    optimizer's state, two thirds of the memory of AdamW; the weights' own gradient is still needed.

    Args:
        module: its matrices of two dimensions, both larger than the rank, get an update; everything else
            is frozen.
        generator: for the initial `A`; `B` starts at zero, so that nothing changes at first.

    Raises:
        ValueError: no matrix is large enough.
    """

    def __init__(self, module: nn.Module, rank: int, alpha: float, generator: torch.Generator) -> None:
        self.scale = alpha / rank
        self.weights = [
            weight for weight in dict.fromkeys(module.parameters()) if weight.dim() == 2 and min(weight.shape) > rank
        ]
        if not self.weights:
            raise ValueError(f"training.lora_rank is {rank}, but no matrix of the supernet is larger; take less.")
        self.base = [weight.detach().clone() for weight in self.weights]
        self.factors: list[nn.Parameter] = []
        for weight in self.weights:
            rows, columns = weight.shape
            bound = 1 / math.sqrt(columns)
            a = torch.empty(rank, columns).uniform_(-bound, bound, generator=generator)
            self.factors += [nn.Parameter(a.to(weight)), nn.Parameter(torch.zeros(rows, rank).to(weight))]

    def pull(self) -> None:
        """Give the factors the gradients that follow from their weights'; weights without one leave theirs empty."""
        for weight, a, b in zip(self.weights, self.factors[::2], self.factors[1::2], strict=True):
            a.grad = b.grad = None
            if weight.grad is not None:
                b.grad = self.scale * (weight.grad @ a.detach().T)
                a.grad = self.scale * (b.detach().T @ weight.grad)

    @torch.no_grad()
    def push(self) -> None:
        """Write what the factors say into the weights."""
        for weight, base, a, b in zip(self.weights, self.base, self.factors[::2], self.factors[1::2], strict=True):
            weight.copy_(torch.addmm(base, b, a, alpha=self.scale))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint stores."""
        named = {f"factor.{i}": factor.detach() for i, factor in enumerate(self.factors)}
        return named | {f"base.{i}": base for i, base in enumerate(self.base)}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `tensors` gave."""
        for kind, mine in (("factor", self.factors), ("base", self.base)):
            for i, tensor in enumerate(mine):
                tensor.copy_(tensors[f"{kind}.{i}"])
        self.push()
