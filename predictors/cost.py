"""Exact costs of an architecture, read from its layer specs. Nothing here is learned or measured."""

from __future__ import annotations

from collections.abc import Callable

from search_space.architecture import Architecture
from search_space.space import SearchSpace


def params(space: SearchSpace, architecture: Architecture) -> int:
    """Number of trainable parameters (normalisation scale and shift included, running statistics not)."""
    return sum(layer.params() for layer in space.layers(architecture).values())


def macs(space: SearchSpace, architecture: Architecture) -> int:
    """Multiply-accumulates of one sample's forward pass."""
    return sum(layer.macs() for layer in space.layers(architecture).values())


def weight_bytes(space: SearchSpace, architecture: Architecture, bits: int = 32) -> int:
    """Bytes of the stored weights, weight tensors at `bits` and everything else at 32 bits."""
    return sum(layer.weight_bytes(bits) for layer in space.layers(architecture).values())


def peak_activation_bytes(space: SearchSpace, architecture: Architecture, bits: int = 32) -> int:
    """Most bytes of activations that are in memory at once during one sample's forward pass.

    Counted as an inference runtime keeps them (see `search_space.layers`): a layer's input, its output and
    what a shortcut needs later; normalisation and activation functions work in place.
    """
    peak = max((layer.peak_activations() for layer in space.layers(architecture).values()), default=0)
    return (peak * bits + 7) // 8


# Metric -> exact cost. These metrics are never learned and never count as evaluations.
ANALYTIC: dict[str, Callable[[SearchSpace, Architecture], int]] = {
    "macs": macs,
    "params": params,
    "size_bytes": weight_bytes,
    "peak_activation_bytes": peak_activation_bytes,
}


def costs(space: SearchSpace, architecture: Architecture) -> dict[str, float]:
    """Every analytic metric of an architecture."""
    return {metric: float(cost(space, architecture)) for metric, cost in ANALYTIC.items()}
