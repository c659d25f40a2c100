"""16-bit brain floating point: weights and activations of a layer; it answers in the type it was given."""

from __future__ import annotations

from torch import Tensor

from quantization.affine import QuantizedWeight
from quantization.layer import Layer, Plan, Statistics
from search_space.layers import Precision

# ONNX Runtime's CPU provider has no Conv or MatMul for bfloat16.
KERNELS = {"cpu-torch": "conv2d, linear in bfloat16", "cuda-torch": "conv2d, linear in bfloat16"}


def quantize(weight: Tensor, precision: Precision) -> QuantizedWeight | None:
    """Nothing is stored in integers."""
    return None


def plan(layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
    """The layer with rounded weights and bias."""
    bias = None if layer.bias is None else layer.bias.bfloat16()
    return Plan(precision, None, bias)
