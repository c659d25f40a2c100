"""Exact costs of an architecture, read from its layer specs. Nothing here is learned or measured."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from search.metrics import OF_GENERATION
from search_space.architecture import Architecture
from search_space.inputs import TokenInput
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


def kv_cache_bytes(space: SearchSpace, architecture: Architecture) -> int:
    """Bytes of keys and values while texts are continued: sum over layers of 2 * heads * width * tokens * batch, at the
    space's float type; sliding layers keep a window of tokens.

    Raises:
        ValueError: its networks do not continue texts.
    """
    check_has(space, "kv_cache_bytes")
    return _kv_cache_bytes(space, space.layers(architecture).values())


def serving_bytes(space: SearchSpace, architecture: Architecture) -> int:
    """Bytes of the weights and of the cache of keys and values.

    Raises:
        ValueError: as `kv_cache_bytes`.
    """
    return weight_bytes(space, architecture) + kv_cache_bytes(space, architecture)


def continues_texts(space: SearchSpace) -> bool:
    """Whether its networks are language models."""
    takes = space.takes
    return isinstance(takes, TokenInput) and takes.classes is None and takes.features is None


def check_has(space: SearchSpace, metric: str) -> None:
    """Refuse a metric of language models in another space.

    Raises:
        ValueError: its networks do not continue texts.
    """
    if metric in OF_GENERATION and not continues_texts(space):
        raise ValueError(f"Networks of {space.name!r} do not continue texts, so they have no {metric}; leave it out.")


def analytic(space: SearchSpace) -> dict[str, Callable[[Architecture], float]]:
    """Every exact cost that networks of a space have."""
    has_cache = continues_texts(space)
    return {
        metric: partial(_as_number, cost, space)
        for metric, cost in ANALYTIC.items()
        if has_cache or metric not in OF_GENERATION
    }


def _as_number(cost: Callable[[SearchSpace, Architecture], int], space: SearchSpace, one: Architecture) -> float:
    return float(cost(space, one))


# Metric -> exact cost. These metrics are never learned and never count as evaluations.
ANALYTIC: dict[str, Callable[[SearchSpace, Architecture], int]] = {
    "macs": macs,
    "params": params,
    "size_bytes": weight_bytes,
    "peak_activation_bytes": peak_activation_bytes,
    "kv_cache_bytes": kv_cache_bytes,
    "serving_bytes": serving_bytes,
}


def costs(space: SearchSpace, architecture: Architecture) -> dict[str, float]:
    """Every analytic metric of an architecture. Its layers are described once, which takes most of the time."""
    layers = space.layers(architecture).values()
    found = {
        "macs": float(_macs(layers)),
        "params": float(_params(layers)),
        "size_bytes": float(_weight_bytes(layers, space.float_bits, space.float_bits)),
        "peak_activation_bytes": float(_peak_activation_bytes(layers, space.float_bits)),
    }
    if continues_texts(space):
        found["kv_cache_bytes"] = float(_kv_cache_bytes(space, layers))
        found["serving_bytes"] = found["size_bytes"] + found["kv_cache_bytes"]
    return found


def _kv_cache_bytes(space: SearchSpace, layers: Collection[LayerSpec]) -> int:
    assert isinstance(space.takes, TokenInput)
    tokens = space.cache_tokens or space.takes.length
    elements = sum(layer.cached_elements(tokens) for layer in layers)
    return space.cache_batch * elements * space.float_bits // 8


def _params(layers: Collection[LayerSpec]) -> int:
    return sum(layer.params() for layer in layers)


def _macs(layers: Collection[LayerSpec]) -> int:
    return sum(layer.macs() for layer in layers)


def _weight_bytes(layers: Collection[LayerSpec], bits: int, extra_bits: int) -> int:
    return sum(layer.weight_bytes(bits, extra_bits) for layer in layers)


def _peak_activation_bytes(layers: Collection[LayerSpec], bits: int) -> int:
    peak = max((layer.peak_activations() for layer in layers), default=0)
    return (peak * bits + 7) // 8
