"""8-bit weights and activations, the scale of activations worked out for every input: needs no calibration.

The range is that of one example, as the runtime has it at batch one.
"""

from __future__ import annotations

from torch import Tensor

from quantization.affine import QuantizedWeight, quantize_bytes
from quantization.layer import Layer, Plan, Statistics
from search_space.layers import Precision

KERNELS = {"cpu-onnxruntime": "DynamicQuantizeMatMul"}


def quantize(weight: Tensor, precision: Precision) -> QuantizedWeight:
    """Signed bytes, per output channel."""
    return quantize_bytes(weight, precision.mode, precision.weight_bits)


def plan(layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
    """Input in bytes; the answer is floating point."""
    return Plan(precision, weight, layer.bias, dynamic=True)
