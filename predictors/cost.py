"""Exact costs of an architecture, read from its layer specs. Nothing here is learned or measured."""

from __future__ import annotations

from collections.abc import Callable, Collection

from search_space.architecture import Architecture
from search_space.layers import LayerSpec
from search_space.space import SearchSpace


def params(space: SearchSpace, architecture: Architecture) -> int:
    """Number of trainable parameters (normalisation scale and shift included, running statistics not)."""
    return _params(space.layers(architecture).values())


def macs(space: SearchSpace, architecture: Architecture) -> int:
    """Multiply-accumulates of one sample's forward pass."""
    return _macs(space.layers(architecture).values())


def weight_bytes(space: SearchSpace, architecture: Architecture, bits: int | None = None) -> int:
    """Bytes of the stored weights: weight tensors at `bits` (None: the space's own), everything else at the space's."""
    return _weight_bytes(space.layers(architecture).values(), bits or space.float_bits, space.float_bits)


def peak_activation_bytes(space: SearchSpace, architecture: Architecture, bits: int | None = None) -> int:
    """Most bytes of activations that are in memory at once during one sample's forward pass.

    Counted as an inference runtime keeps them (see `search_space.layers`): a layer's input, its output and
    what a shortcut needs later; normalisation and activation functions work in place.
    """
    return _peak_activation_bytes(space.layers(architecture).values(), bits or space.float_bits)


# Metric -> exact cost. These metrics are never learned and never count as evaluations.
ANALYTIC: dict[str, Callable[[SearchSpace, Architecture], int]] = {
    "macs": macs,
    "params": params,
    "size_bytes": weight_bytes,
    "peak_activation_bytes": peak_activation_bytes,
}


def costs(space: SearchSpace, architecture: Architecture) -> dict[str, float]:
    """Every analytic metric of an architecture. Its layers are described once, which takes most of the time."""
    layers = space.layers(architecture).values()
    return {
        "macs": float(_macs(layers)),
        "params": float(_params(layers)),
        "size_bytes": float(_weight_bytes(layers, space.float_bits, space.float_bits)),
        "peak_activation_bytes": float(_peak_activation_bytes(layers, space.float_bits)),
    }


def _params(layers: Collection[LayerSpec]) -> int:
    return sum(layer.params() for layer in layers)


def _macs(layers: Collection[LayerSpec]) -> int:
    return sum(layer.macs() for layer in layers)


def _weight_bytes(layers: Collection[LayerSpec], bits: int, extra_bits: int) -> int:
    return sum(layer.weight_bytes(bits, extra_bits) for layer in layers)


def _peak_activation_bytes(layers: Collection[LayerSpec], bits: int) -> int:
    peak = max((layer.peak_activations() for layer in layers), default=0)
    return (peak * bits + 7) // 8
