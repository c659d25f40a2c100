"""LayerSpec: what one layer is, in numbers, and the elementary parts that every count follows from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Part:
    """One elementary operation.

    Attributes:
        weights: elements of its weight tensor (the part that a bit width applies to).
        extras: elements that stay in full precision: biases, normalisation scale and shift.
        macs: multiply-accumulates for one sample.
        live: activation elements, for one sample, that are in memory while it runs: its inputs, its
            outputs, and what the layer keeps for later, such as the input of a shortcut.
    """

    weights: int
    extras: int
    macs: int
    live: int


def conv_part(
    in_channels: int,
    out_channels: int,
    kernel: int,
    in_size: int,
    out_size: int,
    *,
    groups: int = 1,
    bias: bool = False,
    norm: bool = True,
    held: int = 0,
) -> Part:
    """A convolution on square maps, with the normalisation that follows it if `norm`.

    Args:
        in_size, out_size: height and width of its input and output in pixels.
        held: activation elements that the layer keeps meanwhile.
    """
    weights = out_channels * (in_channels // groups) * kernel * kernel
    extras = (out_channels if bias else 0) + (2 * out_channels if norm else 0)
    live = in_channels * in_size * in_size + out_channels * out_size * out_size + held
    return Part(weights, extras, weights * out_size * out_size, live)


def linear_part(in_features: int, out_features: int, bias: bool = True, tokens: int = 1, held: int = 0) -> Part:
    """A fully connected layer, applied to each of `tokens` positions."""
    weights = in_features * out_features
    live = (in_features + out_features) * tokens + held
    return Part(weights, out_features if bias else 0, weights * tokens, live)


def norm_part(features: int, bias: bool = True, tokens: int = 1, held: int = 0) -> Part:
    """A normalisation with a scale, and a shift if `bias`, that is not fused into a convolution."""
    return Part(0, (2 if bias else 1) * features, 0, 2 * features * tokens + held)


def attention_part(heads: int, kv_heads: int, head_dim: int, tokens: int, held: int = 0) -> Part:
    """The two products of attention: queries with keys, and probabilities with values.

    MACs are those of all pairs of positions, also under a causal mask, as torch counts them. Live
    elements are queries, keys, values and outputs: the scores are not stored whole.
    """
    macs = 2 * tokens * tokens * heads * head_dim
    return Part(0, 0, macs, 2 * (heads + kv_heads) * head_dim * tokens + held)


class LayerSpec(ABC):
    """What one layer is. Subclasses are frozen dataclasses, hashable and comparable by value.

    `kind` names the file of `supernet/blocks` that builds the layer; the fields of the dataclass are
    that block's constructor arguments.
    """

    kind: ClassVar[str]
    # Fields that must be equal, not smaller, for a layer to be a slice of another one.
    fixed: ClassVar[frozenset[str]] = frozenset()
    # Fields that say nothing about weights and may differ.
    free: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def parts(self) -> dict[str, Part]:
        """Elementary operations by name, in forward order."""

    def ties(self) -> dict[str, tuple[str, str]]:
        """Parameters that are another slot's: name here -> (that slot, name there). They are not counted."""
        return {}

    def params(self) -> int:
        """Number of trainable parameters."""
        return self.totals[0]

    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return self.totals[1]

    def weight_bytes(self, bits: int = 32) -> int:
        """Bytes of the stored weights, with weight tensors at `bits` and everything else at 32 bits."""
        params, _, weights, _ = self.totals
        return (weights * bits + 7) // 8 + (params - weights) * 4

    def peak_activations(self) -> int:
        """Most activation elements that are in memory at once, for one sample."""
        return self.totals[3]

    @cached_property
    def totals(self) -> tuple[int, int, int, int]:
        """(params, macs, weight elements, peak activations)."""
        parts = self.parts().values()
        weights = sum(part.weights for part in parts)
        params = weights + sum(part.extras for part in parts)
        return params, sum(part.macs for part in parts), weights, max((part.live for part in parts), default=0)

    def fields(self) -> dict[str, int | str | bool]:
        """The dataclass's fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def fits_in(self, other: LayerSpec) -> bool:
        """Whether this layer's weights are a slice of the other's."""
        if type(self) is not type(other):
            return False
        mine, theirs = self.fields(), other.fields()
        return all(
            value == theirs[name] if name in self.fixed or isinstance(value, str) else value <= theirs[name]  # type: ignore[operator]
            for name, value in mine.items()
            if name not in self.free
        )
