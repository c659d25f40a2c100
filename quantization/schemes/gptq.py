"""4-bit weights alone that make up for each other's errors (GPTQ); stored and executed as `int4_weight` is.

What a layer takes is seen on the calibration examples, in the network in full precision, so that a weight is rounded
once for all policies.
"""

from __future__ import annotations

from torch import Tensor

from quantization.affine import QuantizedWeight
from quantization.gptq import quantize_gptq
from quantization.layer import Layer, Plan, Statistics
from quantization.schemes.int4_weight import KERNELS as SAME
from search_space.layers import Precision

KERNELS = SAME
# Weights are rounded by what the layer takes.
WANTS_MOMENTS = True


def quantize(weight: Tensor, precision: Precision, moments_II: Tensor) -> QuantizedWeight:
    """Signed numbers around zero."""
    return quantize_gptq(weight, moments_II, 4, precision.group)


def plan(layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
    """Only the weight changes."""
    return Plan(precision, weight, layer.bias)
