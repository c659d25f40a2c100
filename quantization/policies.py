"""Quantization: which policies a search may choose from, and what a width means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from predictors.targets import DEFAULT_TARGET, RUNTIMES, TargetName
from search_space.layers import Precision
from search_space.layers.precision import BY_BYTES, DEFAULT_SCHEMES, EMBEDDING, EMBEDDING_SCHEMES, SCHEMES, refusal


@dataclass(frozen=True, slots=True)
class Quantization:
    """Which policies a search may choose from.

    Attributes:
        bits: widths of a layer, from 4, 8, 16 and 32.
        schemes: width -> scheme, where it is not the usual one (`DEFAULT_SCHEMES`).
        modes: modes of the weights of schemes that have several; two are searched.
        group: inputs that share a scale, for schemes with groups; 0: the scheme's usual one.
        tie: what has one choice together: every `layer`, a `block`, a `stage`, or a `kind` of layer.
        layers: pattern of layer names -> their widths instead of `bits`.
        pinned: layer name or pattern, `first` or `last` -> the one width that it keeps.
        embeddings: widths of tables of words; empty: they are no part of a policy and keep full precision.
        weight_bits: bits of weights that kernels multiply with bytes, see `Precision`.
    """

    bits: tuple[int, ...]
    schemes: Mapping[int, str] = field(default_factory=dict)
    modes: tuple[str, ...] = ("symmetric",)
    group: int = 0
    tie: str = "layer"
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    pinned: Mapping[str, int] = field(default_factory=dict)
    embeddings: tuple[int, ...] = ()
    weight_bits: int = 7

    def precision(self, bits: int, mode: str, operation: str = "") -> Precision:
        """What a width means for a layer.

        Args:
            operation: operation of the layer; tables of words have schemes of their own.

        Raises:
            ValueError: nothing has that width, or the scheme is of another one.
        """
        usual = EMBEDDING_SCHEMES if operation == EMBEDDING else DEFAULT_SCHEMES
        own = {} if operation == EMBEDDING else self.schemes
        name = dict(own).get(bits, usual.get(bits))
        if name is None:
            known = ", ".join(map(str, sorted(usual)))
            raise ValueError(f"There are no kernels for {bits} bits. Possible widths: {known}.")
        if name not in SCHEMES:
            raise ValueError(f"No quantization scheme named {name!r}. Known: {', '.join(SCHEMES)}.")
        scheme = SCHEMES[name]
        if scheme.bits != bits:
            right = ", ".join(n for n, s in SCHEMES.items() if s.bits == bits) or "none"
            raise ValueError(f"Scheme {name!r} has {scheme.bits} bits, not {bits}. Schemes of {bits} bits: {right}.")
        group = self.group if max(scheme.groups) and (self.group or 0 in scheme.groups) else min(32, max(scheme.groups))
        weight_bits = self.weight_bits if name in BY_BYTES else 7
        return Precision(name, mode if mode in scheme.modes else scheme.modes[0], group, weight_bits)

    def check_target(self, target: str | None) -> None:
        """Refuse schemes that the runtime that measures a job's networks cannot execute.

        Args:
            target: the job's; None: finalists are measured in ONNX Runtime on this machine. What a registered machine
                has is known when it measures.

        Raises:
            ValueError: with the scheme, the target, and what it has kernels for.
        """
        runtime = RUNTIMES.get(TargetName.parse(target or DEFAULT_TARGET).runtime or "")
        if runtime is None:
            return
        for bits in sorted({*self.bits, *self.pinned.values(), *(b for many in self.layers.values() for b in many)}):
            reason = refusal(self.precision(bits, self.modes[0]).scheme, f"{runtime.device}-{runtime.engine}")
            if reason is not None:
                raise ValueError(f"{reason} Leave {bits} out of quantization.bits, or name another target.")

    def can(self, bits: int, operation: str) -> bool:
        """Whether the scheme of this width has kernels for an operation."""
        return operation in SCHEMES[self.precision(bits, "symmetric", operation).scheme].operations or bits == 32
