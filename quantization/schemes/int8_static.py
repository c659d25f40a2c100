"""8-bit weights and activations, scales of activations from calibration (Jacob et al., 1712.05877).

Weights have a scale and a zero point per output channel, activations one of each per tensor. Convolutions answer in
bytes, because the kernels do; their bias is rounded to whole multiples of input scale times weight scale. Linear layers
answer in floating point.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quantization.affine import QuantizedWeight, Range, quantize_bytes, range_of
from quantization.layer import Layer, Plan, Statistics
from search_space.layers import Precision

KERNELS = {"cpu-onnxruntime": "QLinearConv, MatMulIntegerToFloat"}


def quantize(weight: Tensor, precision: Precision) -> QuantizedWeight:
    """Signed bytes, per output channel."""
    return quantize_bytes(weight, precision.mode, precision.weight_bits)


def plan(layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
    """Input in bytes, and of a convolution the output too.

    Raises:
        ValueError: the layer was not calibrated.
    """
    if seen is None:
        raise ValueError("Scheme 'int8_static' needs calibration of the layer's activations; there is none.")
    assert weight is not None
    inputs = range_of(*seen.inputs)
    if isinstance(layer, nn.Linear):
        return Plan(precision, weight, layer.bias, inputs)
    bias = None if layer.bias is None else whole_bias(layer.bias, inputs, weight)[0]
    return Plan(precision, weight, bias, inputs, range_of(*seen.outputs), activation=seen.activation)


def whole_bias(bias: Tensor, inputs: Range, weight: QuantizedWeight) -> tuple[Tensor, Tensor, Tensor]:
    """(bias as added, int32 that is stored, its scale per output channel)."""
    scale = weight.scale[:, 0].to(bias.device) * inputs.scale
    limit = torch.iinfo(torch.int32).max
    whole = (bias.detach().double() / scale.double()).round().clamp(-limit, limit)
    return (whole * scale).to(bias.dtype), whole.to(torch.int32), scale
