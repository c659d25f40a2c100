"""4-bit weights alone; activations stay floating point. A scale per group of inputs of an output
channel (torchao's `IntxWeightOnlyConfig`, ONNX Runtime's MatMulNBits)."""

from __future__ import annotations

from torch import Tensor

from quantization.affine import QuantizedWeight, quantize_groups
from quantization.layer import Layer, Plan, Statistics
from search_space.layers import Precision

KERNELS = {
    "cpu-onnxruntime": "MatMulNBits",
    "cpu-torch": "linear, on weights that are turned into numbers when they run",
    "cuda-torch": "linear, on weights that are turned into numbers when they run",
}


def quantize(weight: Tensor, precision: Precision) -> QuantizedWeight:
    """Signed numbers around zero."""
    return quantize_groups(weight, 4, precision.group)


def plan(layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
    """Only the weight changes."""
    return Plan(precision, weight, layer.bias)
