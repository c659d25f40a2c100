"""Full precision: nothing is quantized."""

from __future__ import annotations

from torch import Tensor

from quantization.affine import QuantizedWeight
from quantization.layer import Layer, Plan, Statistics
from search_space.layers import Precision

KERNELS = {
    "cpu-onnxruntime": "Conv, MatMul",
    "cpu-torch": "conv2d, linear",
    "cuda-torch": "conv2d, linear",
}


def quantize(weight: Tensor, precision: Precision) -> QuantizedWeight | None:
    """Nothing is stored in integers."""
    return None


def plan(layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
    """The layer as it is."""
    return Plan(precision, None, layer.bias)
