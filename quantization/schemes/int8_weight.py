"""8-bit weights alone; activations stay floating point.

For layers that wait for memory, such as those of a language model that writes token by token. There is a scale per
output channel (torchao's `Int8WeightOnlyConfig`) or per group of inputs.
"""

from __future__ import annotations

from torch import Tensor

from quantization.affine import QuantizedWeight, quantize_groups
from quantization.layer import Layer, Plan, Statistics
from search_space.layers import Precision

KERNELS = {
    # Without groups the file has DequantizeLinear and MatMul. ONNX Runtime makes MatMulNBits of them, which also stores
    # activations in bytes while it runs, unless session.qdq_matmulnbits_accuracy_level is 1.
    "cpu-onnxruntime": "MatMulNBits",
    "cpu-torch": "linear, on weights that are turned into numbers when they run",
    "cuda-torch": "linear, on weights that are turned into numbers when they run",
}


def quantize(weight: Tensor, precision: Precision) -> QuantizedWeight:
    """Signed numbers around zero."""
    return quantize_groups(weight, 8, precision.group)


def plan(layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
    """Only the weight changes."""
    return Plan(precision, weight, layer.bias)
