"""One quantized layer: what a scheme makes of a convolution or a linear layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from plugins.kinds import SCHEMES
from quantization.affine import QuantizedWeight, Range
from quantization.portable import fake_per_example
from search_space.layers import Precision

Layer = nn.Conv2d | nn.Linear
# And tables of rows, which have schemes of their own.
Stored = Layer | nn.Embedding


@dataclass(frozen=True, slots=True)
class Statistics:
    """What calibration saw of one layer.

    Attributes:
        inputs: least and most value that its input is stored with.
        outputs: the same of its output, after the activation that follows if that only cuts values off.
        activation: `ReLU` or `ReLU6` if one follows, else empty.
    """

    inputs: tuple[float, float]
    outputs: tuple[float, float]
    activation: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one layer is executed: all that an evaluation or an exporter needs to know.

    Attributes:
        weight: None where the weight is not quantized to integers (bf16).
        bias: as kernels add it, float32; None without a bias.
        inputs, outputs: how activations are stored in bytes; None where they stay floating point.
        dynamic: whether the input's range is worked out for every example.
    """

    precision: Precision
    weight: QuantizedWeight | None
    bias: Tensor | None
    inputs: Range | None = None
    outputs: Range | None = None
    dynamic: bool = False
    activation: str = ""


class SchemeFile(Protocol):
    """What every file of `quantization/schemes` has.

    KERNELS: target -> the kernels that execute the scheme there. A target that is not named cannot.
    WANTS_MOMENTS: true where `quantize` takes, as a third argument, the sum of x x^T over what the layer takes on
    calibration data; may be left out.
    """

    KERNELS: dict[str, str]

    def plan(self, layer: Layer, precision: Precision, weight: QuantizedWeight | None, seen: Statistics | None) -> Plan:
        """How this layer is executed."""

    def quantize(self, weight: Tensor, precision: Precision, *moments_II: Tensor) -> QuantizedWeight | None:
        """The weight as it is stored; None if it is not stored in integers."""


def scheme(name: str) -> SchemeFile:
    """A scheme by the name of its file.

    Raises:
        UnknownPluginError: there is no such file.
    """
    loaded: SchemeFile = SCHEMES.load(name)
    return loaded


class FakeQuantized(nn.Module):
    """A layer that computes in floating point what the kernels of its scheme compute in integers.

    Args:
        layer: the convolution, linear layer or table of rows; its weight is replaced, everything else of it is used.
    """

    def __init__(self, layer: Stored, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.layer = [layer]  # in a list: not a submodule, so its full weight is no parameter of this one
        weight = layer.weight if plan.weight is None else plan.weight.dequantized()
        if plan.precision.scheme == "bf16":
            weight = weight.bfloat16()
        self.weight = nn.Parameter(weight.detach().to(layer.weight.device), requires_grad=False)
        self.bias = None if plan.bias is None else nn.Parameter(plan.bias.detach(), requires_grad=False)
        self.is_conv = isinstance(layer, nn.Conv2d)

    def forward(self, x: Tensor) -> Tensor:
        plan, layer = self.plan, self.layer[0]
        if isinstance(layer, nn.Embedding):
            return nn.functional.embedding(x, self.weight)
        given = x.dtype
        if plan.inputs is not None:
            x = plan.inputs.fake(x)
        elif plan.dynamic:
            x = fake_per_example(x)
        elif self.weight.dtype == torch.bfloat16:
            x = x.bfloat16()
        if isinstance(layer, nn.Conv2d):
            out = layer._conv_forward(x, self.weight, self.bias)
        else:
            out = nn.functional.linear(x, self.weight, self.bias)
        if plan.outputs is not None:
            if plan.activation:
                out = out.clamp(min=0.0, max=6.0 if plan.activation == "ReLU6" else None)
            out = plan.outputs.fake(out)
        answer: Tensor = out.to(given)
        return answer
