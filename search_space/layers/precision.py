"""Precision: how the numbers of one layer are stored and computed; and the bytes that follow from it.

A scheme is a way to quantize that a runtime has kernels for. What it computes is in `quantization/schemes`, one file
each; what it stores is here, because sizes must be counted without torch. The counts are those of the written file:

- normalisation that follows a convolution is folded into it, so what stays of it is a bias;
- `int8_static` has an 8-bit weight, a scale (32 bits) and a zero point (8 bits) per output channel, and a scale and a
  zero point of its input; a convolution also of its output, and its bias is 32-bit integers with scales;
- `int8_dynamic` works out the input's scale while it runs, so it stores nothing of it;
- weight-only schemes have a scale per output channel, or per group of inputs of each;
- an embedding has a scale for each of its rows, or per group of a row's numbers. A head that is tied to it reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

FULL = "fp32"
SCALE_BYTES, ZERO_POINT_BYTES, BIAS_BYTES = 4, 1, 4


@dataclass(frozen=True, slots=True)
class Scheme:
    """What a scheme stores, and which operations it can stand for.

    Attributes:
        bits: bits of one weight.
        operations: those that there are kernels for.
        activations: `float`, or quantized with a `static` or `dynamic` scale.
        zero_points: whether every scale of the weights has a zero point beside it.
        modes: `symmetric` and, where weights may have a zero point that is not the middle, `asymmetric`.
        groups: sizes of the groups of inputs that may share a scale; 0: all inputs of an output channel.
        targets: devices and runtimes that have kernels for it; which, is said in its file.
        meaning: one sentence for people.
    """

    bits: int
    operations: tuple[str, ...]
    activations: str
    zero_points: bool
    modes: tuple[str, ...]
    groups: tuple[int, ...]
    targets: tuple[str, ...]
    meaning: str

    def modes_for(self, operation: str) -> tuple[str, ...]:
        """Modes that kernels of an operation are made for.

        ONNX Runtime's depthwise kernels have one zero point for all channels. With one for each it multiplies channel
        by channel, and a block takes 9 to 38 times as long (docs/decisions/0070).
        """
        return self.modes[:1] if operation == "depthwise" else self.modes


ALL = ("conv", "depthwise", "linear")
# Tables of rows: what a policy says of them, it says apart from the others (`embeddings` of a job).
EMBEDDING = "embedding"
# What ONNX Runtime's MatMulNBits has.
GROUPS = (16, 32, 64, 128, 256)
BOTH = ("symmetric", "asymmetric")
ONNXRUNTIME, TORCH = ("cpu-onnxruntime",), ("cpu-torch", "cuda-torch")
SCHEMES: dict[str, Scheme] = {
    FULL: Scheme(32, ALL, "float", False, ("symmetric",), (0,), ONNXRUNTIME + TORCH, "32-bit floating point."),
    "bf16": Scheme(16, ALL, "float", False, ("symmetric",), (0,), TORCH, "16-bit brain floating point."),
    "int8_static": Scheme(
        8, ALL, "static", True, BOTH, (0,), ONNXRUNTIME, "8-bit weights and activations; ranges from calibration."
    ),
    "int8_dynamic": Scheme(
        8, ("linear",), "dynamic", True, BOTH, (0,), ONNXRUNTIME, "8-bit weights and activations; ranges per input."
    ),
    "int8_weight": Scheme(
        8, ("linear",), "float", False, ("symmetric",), (0, *GROUPS), ONNXRUNTIME + TORCH, "8-bit weights alone."
    ),
    "int4_weight": Scheme(
        4, ("linear",), "float", False, ("symmetric",), GROUPS, ONNXRUNTIME + TORCH, "4-bit weights alone, in groups."
    ),
    "gptq": Scheme(
        4,
        ("linear",),
        "float",
        False,
        ("symmetric",),
        GROUPS,
        ONNXRUNTIME + TORCH,
        "4-bit weights alone, in groups, rounded so that they make up for each other's errors on calibration data.",
    ),
    "int8_embedding": Scheme(
        8, (EMBEDDING,), "float", False, ("symmetric",), (0,), ONNXRUNTIME + TORCH, "8-bit rows of an embedding."
    ),
    "int4_embedding": Scheme(
        4, (EMBEDDING,), "float", False, ("symmetric",), GROUPS, ONNXRUNTIME + TORCH, "4-bit rows, in groups."
    ),
}
# Schemes whose kernels multiply weights with bytes. On processors without VNNI those are right for weights of 7 bits
# and saturate for 8 (docs/decisions/0149).
BY_BYTES = tuple(name for name, scheme in SCHEMES.items() if scheme.activations != "float")
# What a width means where a job does not say it.
DEFAULT_SCHEMES = {32: FULL, 16: "bf16", 8: "int8_static", 4: "int4_weight"}
# And of an embedding.
EMBEDDING_SCHEMES = {32: FULL, 8: "int8_embedding", 4: "int4_embedding"}


@dataclass(frozen=True, slots=True)
class Precision:
    """One scheme with its settings.

    Attributes:
        scheme: a key of `SCHEMES`.
        mode: whether the weights' range lies around zero (`symmetric`) or where the weights are (`asymmetric`).
        group: inputs that share a scale; 0: all inputs of an output channel.
        weight_bits: 7 or 8: how much of their byte weights of `BY_BYTES` use; it says nothing of other schemes.

    Raises:
        ValueError: no such scheme, or a setting that it does not have.
    """

    scheme: str = FULL
    mode: str = "symmetric"
    group: int = 0
    weight_bits: int = 7

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"No quantization scheme named {self.scheme!r}. Known: {', '.join(SCHEMES)}.")
        known = SCHEMES[self.scheme]
        if self.mode not in known.modes:
            raise ValueError(f"Scheme {self.scheme!r} has no {self.mode!r} weights; it has {', '.join(known.modes)}.")
        if self.weight_bits not in ((7, 8) if self.scheme in BY_BYTES else (7,)):
            raise ValueError(
                f"Scheme {self.scheme!r} has no weights of {self.weight_bits} bits in their bytes; "
                f"{', '.join(BY_BYTES)} have 7 or 8."
            )
        if self.group not in known.groups:
            sizes = ", ".join(map(str, known.groups))
            raise ValueError(f"Scheme {self.scheme!r} has no groups of {self.group}; possible are {sizes}.")

    @property
    def bits(self) -> int:
        """Bits of one weight."""
        return SCHEMES[self.scheme].bits

    def of(self, operation: str) -> Precision:
        """What an operation has of it: full precision without kernels, the usual mode without kernels of this one."""
        scheme = SCHEMES[self.scheme]
        if operation not in scheme.operations:
            return Precision()
        modes = scheme.modes_for(operation)
        return self if self.mode in modes else replace(self, mode=modes[0])

    @property
    def is_full(self) -> bool:
        """Whether nothing is quantized."""
        return self.scheme == FULL

    def stored_bytes(self, operation: str, weights: int, outputs: int, bias: bool) -> int:
        """Bytes of an operation that is stored this way.

        Args:
            weights: elements of its weight tensor.
            bias: whether it has a bias once normalisation is folded into it.
        """
        scheme = SCHEMES[self.scheme]
        if self.is_full or self.scheme == "bf16":
            return (weights + (outputs if bias else 0)) * scheme.bits // 8
        inputs = weights // outputs
        groups = -(-inputs // self.group) if self.group else 1
        # A last group that is not full is stored full.
        stored = outputs * groups * self.group if self.group else weights
        total = stored * scheme.bits // 8 + outputs * groups * SCALE_BYTES + (outputs * BIAS_BYTES if bias else 0)
        if scheme.zero_points:
            total += outputs * groups * ZERO_POINT_BYTES
        if scheme.activations == "static":
            total += SCALE_BYTES + ZERO_POINT_BYTES
            if operation != "linear":
                # Kernels of convolutions answer in 8 bits, and their bias has scales of its own.
                total += SCALE_BYTES + ZERO_POINT_BYTES + (outputs * SCALE_BYTES if bias else 0)
        return total

    def __str__(self) -> str:
        details = [self.scheme]
        if len(SCHEMES[self.scheme].modes) > 1:
            details.append(self.mode)
        if self.group:
            details.append(f"groups of {self.group}")
        if self.weight_bits > 7:
            details.append(f"{self.weight_bits} bits of weights")
        return ", ".join(details)


# Part -> precision, in the order of the parts.
Policy: TypeAlias = tuple[tuple[str, Precision], ...]


def refusal(name: str, target: str) -> str | None:
    """Why a target cannot execute a scheme; None if it can."""
    if name == FULL or target in SCHEMES[name].targets:
        return None
    can = [other for other, scheme in SCHEMES.items() if target in scheme.targets]
    return f"Target {target!r} has no kernels for scheme {name!r} ({SCHEMES[name].bits} bits); " + (
        f"it has them for {', '.join(can)}." if can else "it has none for any scheme."
    )
