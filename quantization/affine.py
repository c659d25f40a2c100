"""Affine quantization: real = scale * (stored - zero point). The numbers that every scheme is made of.

Rounding is to the nearest, halves to even, as in ONNX's QuantizeLinear and in torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Activations are unsigned bytes.
LEAST, MOST = 0, 255
# Ends of weights by bits and mode, which are ONNX Runtime's. Kernels for processors without VNNI add pairs of products
# in 16 bits: 2 * 255 * 64 still fits, the whole range does not and saturates silently. See docs/decisions/0149.
ENDS = {
    (7, "symmetric"): (-64, 64),
    (7, "asymmetric"): (-64, 64),
    (8, "symmetric"): (-127, 127),
    (8, "asymmetric"): (-128, 127),
}


@dataclass(frozen=True, slots=True)
class Range:
    """Scale and zero point of a whole tensor of bytes."""

    scale: float
    zero_point: int

    def fake(self, x: Tensor) -> Tensor:
        """`x` as it is after being stored in bytes and read back."""
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, LEAST, MOST)


def range_of(least: float, most: float) -> Range:
    """The range of bytes for values from `least` to `most`; zero is always represented exactly.

    A range of nothing but zeros has scale 1, as in ONNX Runtime.
    """
    least, most = min(least, 0.0), max(most, 0.0)
    # In 32 bits as it is stored, so that evaluation and file have the same number.
    scale = float(torch.tensor((most - least) / (MOST - LEAST), dtype=torch.float32))
    if scale < torch.finfo(torch.float32).tiny:
        return Range(1.0, 0)
    return Range(scale, int(torch.tensor(LEAST - least / scale).round().clamp(LEAST, MOST)))


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A weight as it is stored.

    Attributes:
        values: what is stored, in the weight's shape, int8: less the zero point it is multiplied by the scale. 4-bit
            values are one per byte: packing is the file's business.
        scale: shape (outputs, groups), float32.
        zero_point: like `scale`, of the type of `values`.
        group: inputs that share a scale; 0: all of an output channel.
    """

    values: Tensor
    scale: Tensor
    zero_point: Tensor
    group: int

    def dequantized(self) -> Tensor:
        """The weight that a kernel computes with, float32."""
        outputs = self.values.shape[0]
        flat = self.values.reshape(outputs, -1)
        size = self.group or flat.shape[1]
        scale = self.scale.repeat_interleave(size, dim=1)[:, : flat.shape[1]]
        zero = self.zero_point.repeat_interleave(size, dim=1)[:, : flat.shape[1]]
        return ((flat.float() - zero.float()) * scale).reshape(self.values.shape)


def quantize_bytes(weight: Tensor, mode: str, bits: int) -> QuantizedWeight:
    """A weight in signed bytes with a scale and a zero point for each output channel, from its extremes.

    `symmetric`: scale = max|w| / 64 around 0, with 8 bits / 127; `asymmetric`: scale = (max - min) / 128, with 8 bits
    / 255. They are ONNX Runtime's for its reduced range (7 bits) and for its whole one.

    Args:
        bits: 7 or 8.
    """
    lowest, highest = ENDS[bits, mode]
    flat = weight.detach().reshape(weight.shape[0], -1).double()
    least, most = flat.amin(1).clamp(max=0), flat.amax(1).clamp(min=0)
    if mode == "symmetric":
        scale = torch.maximum(-least, most) / highest
        zero = torch.zeros_like(scale)
    else:
        scale = (most - least) / (highest - lowest)
        zero = (lowest - least / scale).round().clamp(lowest, highest)
    empty = scale < torch.finfo(torch.float32).tiny
    scale, zero = scale.masked_fill(empty, 1.0).float(), zero.masked_fill(empty, 0)
    stored = (flat / scale[:, None].double()).round() + zero[:, None]
    values = stored.clamp(lowest, highest).to(torch.int8).reshape(weight.shape)
    return QuantizedWeight(values, scale[:, None], zero.to(torch.int8)[:, None], 0)


def quantize_groups(weight: Tensor, bits: int, group: int) -> QuantizedWeight:
    """A weight in signed numbers of `bits` bits around zero, with a scale for each group of inputs of an output.

    scale = max|w| / ((2^bits - 1) / 2), which is torchao's for symmetric weights.

    Args:
        group: inputs that share a scale; 0: all. The last group may be smaller.
    """
    outputs = weight.shape[0]
    flat = weight.detach().reshape(outputs, -1).float()
    size = group or flat.shape[1]
    missing = -flat.shape[1] % size
    grouped = torch.nn.functional.pad(flat, (0, missing)).reshape(outputs, -1, size)
    half = (2**bits - 1) / 2
    scale = (grouped.abs().amax(2) / half).clamp(min=torch.finfo(torch.float32).tiny)
    # By the reciprocal, as torchao does it: the largest weight of a group is a tie.
    values = (grouped * (1.0 / scale[..., None])).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    values = values.to(torch.int8).reshape(outputs, -1)[:, : flat.shape[1]].reshape(weight.shape).contiguous()
    return QuantizedWeight(values, scale, torch.zeros_like(scale, dtype=torch.int8), group)
