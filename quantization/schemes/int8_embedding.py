"""8-bit rows of a table of words, with a scale each; what is looked up is turned into numbers, and nothing else.

The table is most of the bytes of a small encoder of text: 47 of the 50 MB of an all-MiniLM in INT8.
"""

from __future__ import annotations

from torch import Tensor

from quantization.affine import QuantizedWeight, quantize_groups
from quantization.layer import Layer, Plan, Statistics
from search_space.layers import Precision

KERNELS = {
    "cpu-onnxruntime": "Gather of rows and scales, Mul",
    "cpu-torch": "embedding of stored rows, which are turned into numbers",
    "cuda-torch": "embedding of stored rows, which are turned into numbers",
}


def quantize(weight: Tensor, precision: Precision) -> QuantizedWeight:
    """Signed numbers around zero."""
    return quantize_groups(weight, 8, precision.group)


def plan(layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
    """Only the table changes."""
    return Plan(precision, weight, None)
