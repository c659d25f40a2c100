"""Signed rounding (SignRound, AutoRound; arXiv 2309.05516), for comparison with the schemes that Winnow has.

A weight is stored as clip(round(W / s + V)), with s = a * max|W| / 7.5 for each group of inputs (4 bits). V in
[-0.5, 0.5] and a in [0, 1] are learned block by block: 200 steps of the sign of the gradient of the mean squared
difference between the block's answers and those of the exact one, at a rate of 1 / 200 that falls to zero on a line
(section 3). Of all steps the one with the least difference is kept, as the authors' program does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from quantization.affine import QuantizedWeight
from supernet.inputs import Flow, Inputs
from supernet.network import Network

STEPS, RATE, TOGETHER = 200, 1 / 200, 8


class _Learned:
    """One weight with what is learned of its rounding."""

    def __init__(self, weight_OI: Tensor, bits: int, group: int) -> None:
        self.weight, self.bits, self.group = weight_OI.detach().float(), bits, group or weight_OI.shape[1]
        inputs = weight_OI.shape[1]
        padded = nn.functional.pad(self.weight, (0, -inputs % self.group)).unflatten(1, (-1, self.group))
        self.most_OG = (padded.abs().amax(2) / ((2**bits - 1) / 2)).clamp(min=torch.finfo(torch.float32).tiny)
        self.shift = torch.zeros_like(self.weight).requires_grad_()
        self.shrink = torch.ones_like(self.most_OG).requires_grad_()
        self.best = self.shift.detach().clone(), self.shrink.detach().clone()

    def _parts(self, shift: Tensor, shrink: Tensor) -> tuple[Tensor, Tensor]:
        scale_OI = (self.most_OG * shrink).clamp(min=1e-9).repeat_interleave(self.group, 1)[:, : self.weight.shape[1]]
        real = self.weight / scale_OI + shift
        whole = real + (real.round() - real).detach()  # rounding passes its gradient straight through
        return whole.clamp(-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1), scale_OI

    def rounded(self) -> Tensor:
        """The weight as it would be stored now, with gradients."""
        whole, scale = self._parts(self.shift, self.shrink)
        return whole * scale

    def step(self, rate: float) -> None:
        """Move by the signs of the gradients."""
        with torch.no_grad():
            for tensor, least, most in ((self.shift, -0.5, 0.5), (self.shrink, 0.0, 1.0)):
                assert tensor.grad is not None
                tensor.sub_(rate * tensor.grad.sign()).clamp_(least, most)
                tensor.grad = None

    def keep(self) -> None:
        """Take what is there for the best."""
        self.best = self.shift.detach().clone(), self.shrink.detach().clone()

    def stored(self) -> QuantizedWeight:
        """The best that there was."""
        shift, shrink = self.best
        with torch.no_grad():
            whole, _ = self._parts(shift, shrink)
        scale = (self.most_OG * shrink).clamp(min=1e-9)
        return QuantizedWeight(whole.to(torch.int8), scale, torch.zeros_like(scale, dtype=torch.int8), self.group)


def signed_rounding(
    network: Network,
    paths: Mapping[str, str],
    batches: Callable[[], Iterable[Inputs]],
    bits: int,
    group: int,
    *,
    after_rounded: bool = True,
    steps: int = STEPS,
    seed: int = 0,
) -> dict[str, QuantizedWeight]:
    """Layer name -> its weight, of every linear layer.

    Args:
        paths: layer name -> path of its module.
        group: inputs that share a scale; 0: all.
        after_rounded: whether a block takes what the rounded blocks before it give, as the authors' program does; else
            what the exact ones give, so that a weight does not hang on how the others are stored.
    """
    generator = torch.Generator().manual_seed(seed)
    exact = [network.begin(*batch.values()) for batch in batches()]
    taken = list(exact)
    found: dict[str, QuantizedWeight] = {}
    for slot, block in network.named_children():
        targets = _passed(network, block, exact)
        learned = {
            name: _Learned(layer.weight, bits, group)
            for name, path in paths.items()
            if name.startswith(f"{slot}.") and isinstance(layer := network.get_submodule(path), nn.Linear)
        }
        if learned:
            where = {name: paths[name].removeprefix(f"{slot}.") + ".weight" for name in learned}
            _learn(block, learned, where, taken, targets, steps, generator)
            found |= {name: one.stored() for name, one in learned.items()}
        exact = targets
        if not after_rounded:
            taken = exact
            continue
        weights = {where[name]: found[name].dequantized() for name in learned} if learned else {}
        taken = _passed(network, block, taken, weights)
    return found


def _passed(
    network: Network, block: nn.Module, flows: list[Flow], weights: Mapping[str, Tensor] | None = None
) -> list[Flow]:
    with torch.no_grad():
        if not weights:
            return [network.step(flow, block) for flow in flows]
        return [flow.gave(functional_call(block, dict(weights), (flow.x,))) for flow in flows]


def _learn(
    block: nn.Module,
    learned: Mapping[str, _Learned],
    where: Mapping[str, str],
    taken: list[Flow],
    targets: list[Flow],
    steps: int,
    generator: torch.Generator,
) -> None:
    """Learn the rounding of one block that is given hidden states alone."""
    x = torch.cat([flow.x for flow in taken if flow.x is not None])
    wanted = torch.cat([flow.x for flow in targets if flow.x is not None])
    least = float("inf")
    for step in range(steps):
        rows = torch.randperm(len(x), generator=generator)[:TOGETHER]
        weights = {where[name]: one.rounded() for name, one in learned.items()}
        loss = (functional_call(block, weights, (x[rows],)) - wanted[rows]).square().mean()
        if loss.item() < least:
            least = loss.item()
            for one in learned.values():
                one.keep()
        loss.backward()
        for one in learned.values():
            one.step(RATE * (1 - step / steps))
