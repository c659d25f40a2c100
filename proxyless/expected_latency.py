"""Expected latency, made differentiable (1812.00332, section 3.3), and what a search does with it.

Latencies come as plain numbers in ms, one per candidate: who measured or predicted them is not this file's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from search_space.operations import CandidatePrices

# A budget is met when the expected latency is within this share of it.
BUDGET_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Latencies(CandidatePrices):
    """Prices of candidates, and what a distribution over them costs."""

    def expected(self, probabilities: Sequence[Tensor]) -> Tensor:
        """E[latency] in ms = fixed + sum over blocks and options of p * latency; differentiable."""
        terms = [p @ torch.tensor(ms, dtype=p.dtype) for p, ms in zip(probabilities, self.blocks_ms, strict=True)]
        return self.fixed_ms + torch.stack(terms).sum()

    def of_path(self, path: Sequence[int]) -> float:
        """Latency in ms of one network."""
        return self.fixed_ms + sum(ms[option] for ms, option in zip(self.blocks_ms, path, strict=True))

    @property
    def uniform_ms(self) -> float:
        """Expected where every option is as likely."""
        return self.fixed_ms + sum(sum(ms) / len(ms) for ms in self.blocks_ms)


def expected_latency(latencies: Latencies, alphas: Sequence[Tensor], wanted: Sequence[Sequence[int]]) -> Tensor:
    """E[latency] in ms, whose gradient reaches the wanted logits of every block only.

    The value is that of the whole distribution. The gradient is that of the expectation with p normalised over the
    wanted options, as in the paper's two-path mode; with every option wanted it is the exact one,
    dE/dalpha_i = p_i (latency_i - E of the block).
    """
    whole, asked = [], []
    for alpha, options in zip(alphas, wanted, strict=True):
        index = torch.tensor(list(options))
        whole.append(alpha.detach().softmax(0))
        asked.append(torch.zeros_like(alpha).index_put((index,), alpha[index].softmax(0)))
    partial = latencies.expected(asked)
    return latencies.expected(whole) + (partial - partial.detach())


@dataclass(frozen=True, slots=True)
class NoLatency:
    """L = CE: the search looks at accuracy alone, or a budget is kept by `to_budget`."""

    def __call__(self, cross_entropy: Tensor, _latency_ms: Tensor) -> Tensor:
        """The loss."""
        return cross_entropy


@dataclass(frozen=True, slots=True)
class AddLinear:
    """L = CE + weight * (E - reference) / reference: `add#linear` of the paper's code, weight 0.1 there."""

    weight: float
    reference_ms: float

    def __call__(self, cross_entropy: Tensor, latency_ms: Tensor) -> Tensor:
        """The loss."""
        return cross_entropy + self.weight * (latency_ms - self.reference_ms) / self.reference_ms


@dataclass(frozen=True, slots=True)
class MulLog:
    """L = scale * CE * (log E / log reference)^weight: `mul#log` of the paper's code, scale 0.2 and weight 0.3 there.

    Its strength shrinks with the cross-entropy. Latencies must exceed 1 ms, whose logarithm is 0.
    """

    weight: float
    reference_ms: float
    scale: float = 0.2

    def __call__(self, cross_entropy: Tensor, latency_ms: Tensor) -> Tensor:
        """The loss."""
        return self.scale * cross_entropy * (latency_ms.log() / math.log(self.reference_ms)) ** self.weight


LatencyLoss = NoLatency | AddLinear | MulLog


def to_budget(alphas: Sequence[Tensor], latencies: Latencies, budget_ms: float) -> float:
    """Shift logits so that the expected latency is the budget; the shift per ms.

    alpha_i becomes alpha_i - tau * latency_i with the one tau that does it: of all distributions with that expectation,
    this is the one nearest to the old one in Kullback-Leibler divergence (Csiszar's I-projection). E falls
    monotonically in tau, because dE/dtau is minus the variance of the latency, so bisection finds it.

    Raises:
        ValueError: no distribution over the candidates has that expectation.
    """
    if not latencies.cheapest_ms < budget_ms < latencies.dearest_ms:
        raise ValueError(
            f"No network distribution on {latencies.target!r} can expect {budget_ms:g} ms: its networks take "
            f"{latencies.cheapest_ms:.4g} to {latencies.dearest_ms:.4g} ms, the ends excluded."
        )
    logits = [alpha.detach().numpy() for alpha in alphas]
    costs = [np.array(ms) for ms in latencies.blocks_ms]

    def surplus(tau: float) -> float:
        total = latencies.fixed_ms
        for alpha, ms in zip(logits, costs, strict=True):
            shifted = alpha - tau * ms
            p = np.exp(shifted - shifted.max())
            total += float((p * ms).sum() / p.sum())
        return total - budget_ms

    low, high = _bracket(surplus, latencies)
    tau = 0.5 * (low + high)
    while abs(surplus(tau)) > BUDGET_TOLERANCE * budget_ms and high - low > 1e-15 * max(1.0, abs(tau)):
        low, high = (tau, high) if surplus(tau) > 0 else (low, tau)
        tau = 0.5 * (low + high)
    with torch.no_grad():
        for alpha, ms in zip(alphas, costs, strict=True):
            alpha -= tau * torch.from_numpy(ms)
            # The level of a block's logits means nothing; kept at 0 it cannot run away over many shifts.
            alpha -= alpha.mean()
    return tau


def _bracket(surplus: Callable[[float], float], latencies: Latencies) -> tuple[float, float]:
    """Two shifts between which the surplus changes its sign."""
    step = 1 / max(latencies.dearest_ms - latencies.cheapest_ms, 1e-12)
    low, high = -step, step
    while surplus(low) < 0:
        low *= 2
    while surplus(high) > 0:
        high *= 2
    return low, high
