"""4-bit rows of a table of words, with a scale per group of a row's numbers (ONNX Runtime's GatherBlockQuantized)."""

from __future__ import annotations

from torch import Tensor

from quantization.affine import QuantizedWeight, quantize_groups
from quantization.layer import Layer, Plan, Statistics
from search_space.layers import Precision

KERNELS = {
    "cpu-onnxruntime": "GatherBlockQuantized",
    "cpu-torch": "embedding of stored rows, which are turned into numbers",
    "cuda-torch": "embedding of stored rows, which are turned into numbers",
}


def quantize(weight: Tensor, precision: Precision) -> QuantizedWeight:
    """Signed numbers around zero."""
    return quantize_groups(weight, 4, precision.group)


def plan(layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
    """Only the table changes."""
    return Plan(precision, weight, None)
