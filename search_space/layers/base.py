"""LayerSpec: what one layer is, in numbers, and the elementary parts that every count follows from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from search_space.layers.precision import EMBEDDING, Policy, Precision


@dataclass(frozen=True, slots=True)
class Part:
    """One elementary operation.

    Attributes:
        weights: elements of its weight tensor (the part that a bit width applies to).
        extras: elements that stay in full precision: biases, normalisation scale and shift.
        macs: multiply-accumulates for one sample.
        live: activation elements, for one sample, that are in memory while it runs: its inputs, its
            outputs, and what the layer keeps for later, such as the input of a shortcut.
        operation: `conv`, `depthwise`, `linear` or `embedding` for what can be quantized; empty for everything else.
        outputs: its output channels, or an embedding's rows, each of which has scales of its own; 0 where there is no
            operation.
    """

    weights: int
    extras: int
    macs: int
    live: int
    operation: str = ""
    outputs: int = 0

    @property
    def out_elements(self) -> int:
        """Elements of its output for one sample; 0 where there is no operation."""
        # Every weight works once for every position of the output.
        return self.outputs * self.macs // self.weights if self.operation and self.weights else 0


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
    operation = "depthwise" if groups > 1 else "conv"
    return Part(weights, extras, weights * out_size * out_size, live, operation, out_channels)


def linear_part(in_features: int, out_features: int, bias: bool = True, tokens: int = 1, held: int = 0) -> Part:
    """A fully connected layer, applied to each of `tokens` positions."""
    weights = in_features * out_features
    live = (in_features + out_features) * tokens + held
    return Part(weights, out_features if bias else 0, weights * tokens, live, "linear", out_features)


def embedding_part(rows: int, width: int, live: int) -> Part:
    """A table of which rows are looked up."""
    return Part(rows * width, 0, 0, live, EMBEDDING, rows)


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


@dataclass(frozen=True)
class LayerSpec(ABC):
    """What one layer is. Subclasses are frozen dataclasses, hashable and comparable by value.

    `kind` names the file of `supernet/blocks` that builds the layer; the fields of the dataclass, but for the
    policy, are that block's constructor arguments.

    Attributes:
        policy: the precision of those parts that a quantization policy speaks of, in the parts' order; empty
            where nobody has said anything, which is full precision. It changes bytes and latency, not the block.
    """

    kind: ClassVar[str]
    # Fields that must be equal, not smaller, for a layer to be a slice of another one.
    fixed: ClassVar[frozenset[str]] = frozenset()
    # Fields that say nothing about weights and may differ.
    free: ClassVar[frozenset[str]] = frozenset()
    # Fields that are probabilities of the block's own dropouts.
    dropouts: ClassVar[frozenset[str]] = frozenset()

    policy: Policy = field(default=(), kw_only=True, repr=False)

    @abstractmethod
    def parts(self) -> dict[str, Part]:
        """Elementary operations by name, in forward order."""

    def ties(self) -> dict[str, tuple[str, str]]:
        """Parameters that are another slot's: name here -> (that slot, name there). They are not counted."""
        return {}

    def branches(self) -> tuple[str, ...]:
        """Modules of its block whose output is added to a shortcut that is the input itself, by their names.

        Without them the input goes on unchanged (normalised, where a norm follows the sum), so stochastic depth may
        leave them out. Empty: there is no such shortcut.
        """
        return ()

    def hands_on(self) -> Literal["other", "same", "padded"]:
        """What the channels that it gives are to those that it takes.

        `same`: number by number the ones that came in, with or without something added; `padded`: those, and zeros
        behind them, or the first of them; `other`: of its own.
        """
        return "other"

    def without_dropout(self) -> Self:
        """The same layer whose block drops nothing out by itself; this object itself if nothing is dropped anyway."""
        off: dict[str, Any] = {name: 0.0 for name in self.dropouts if getattr(self, name)}
        return replace(self, **off) if off else self

    def params(self) -> int:
        """Number of trainable parameters."""
        return self.totals[0]

    def cached_elements(self, tokens: int) -> int:
        """Numbers that it keeps of a text of so many tokens while the text is continued: keys and values."""
        return 0

    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return self.totals[1]

    def weight_bytes(self, bits: int = 32, extra_bits: int = 32) -> int:
        """Bytes of the stored weights, with weight tensors at `bits` and everything else at `extra_bits`.

        A part of the policy is counted as its scheme stores it instead, scales and zero points included
        (`search_space.layers.precision`).
        """
        chosen, weights, extras = self._stored
        return chosen + (weights * bits + 7) // 8 + (extras * extra_bits + 7) // 8

    @cached_property
    def _stored(self) -> tuple[int, int, int]:
        """(bytes of the policy's parts, weight elements elsewhere, other elements elsewhere)."""
        if not self.policy:
            return 0, self.totals[2], self.totals[0] - self.totals[2]
        chosen, stored, weights, extras = dict(self.policy), 0, 0, 0
        for name, part in self.parts().items():
            if name in chosen:
                stored += chosen[name].stored_bytes(part.operation, part.weights, part.outputs, part.extras > 0)
            else:
                weights, extras = weights + part.weights, extras + part.extras
        return stored, weights, extras

    def quantizable(self, *, embeddings: bool = False) -> dict[str, Part]:
        """Parts that a policy may speak of: convolutions and linear layers with a weight of their own.

        Args:
            embeddings: whether tables of rows are among them.
        """
        return {
            name: part
            for name, part in self.parts().items()
            if part.operation and part.weights and (embeddings or part.operation != EMBEDDING)
        }

    def with_policy(self, policy: Policy) -> Self:
        """The same layer at these precisions.

        Raises:
            ValueError: the policy names a part that the layer does not have or that cannot be quantized.
        """
        able = self.quantizable(embeddings=True)
        unknown = [name for name, _ in policy if name not in able]
        if unknown:
            known = ", ".join(able) or "none"
            raise ValueError(f"A {self.kind} layer has no quantizable part {unknown[0]!r}. Its parts: {known}.")
        return replace(self, policy=policy)

    def uniform(self, precision: Precision) -> Self:
        """The same layer with every part at this precision, or as near as its kernels come: see `Precision.of`.

        Tables of rows stay as they are.
        """
        return self.with_policy(
            tuple((name, precision.of(part.operation)) for name, part in self.quantizable().items())
        )

    def precision(self, part: str) -> Precision | None:
        """What the policy says of a part; None if nothing."""
        return dict(self.policy).get(part)

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
        """The dataclass's fields by name: what its block is built from, so without the policy."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "policy"}

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


def fits_untied(spec: LayerSpec, other: LayerSpec) -> bool:
    """`LayerSpec.fits_in` of heads whose weight may be an embedding's (`tied_to`): one with a weight of its own is a
    slice of a tied one, whose values it starts with; a tied one is none of a head with other values."""
    own = not spec.fields().get("tied_to", "")
    alike: Any = replace(spec, tied_to=other.fields()["tied_to"]) if own and type(spec) is type(other) else spec  # type: ignore[call-arg]
    return LayerSpec.fits_in(alike, other)
