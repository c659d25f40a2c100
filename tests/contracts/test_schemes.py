"""Every file of `quantization/schemes` keeps the contract, and is counted as it stores."""

import pytest
import torch
from torch import nn

from plugins import kinds
from quantization.layer import FakeQuantized, Statistics, scheme
from quantization.quantizable import wants_moments
from search_space.layers import SCHEMES, Precision
from search_space.layers.precision import refusal

NAMES = kinds.SCHEMES.names()
TARGETS = ("cpu-onnxruntime", "cpu-torch", "cuda-torch")


def layers():
    torch.manual_seed(0)
    yield "conv", nn.Conv2d(6, 10, 3, padding=1)
    yield "depthwise", nn.Conv2d(6, 6, 5, padding=2, groups=6)
    yield "linear", nn.Linear(70, 12)


def precisions(name):
    known = SCHEMES[name]
    return [Precision(name, mode, group) for mode in known.modes for group in known.groups]


def test_every_scheme_is_described_and_every_description_has_a_scheme():
    assert set(NAMES) == set(SCHEMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_scheme_says_what_executes_it(name):
    kernels = scheme(name).KERNELS
    assert kernels
    assert tuple(kernels) == SCHEMES[name].targets
    assert all(kernels.values())
    for target in TARGETS:
        reason = refusal(name, target)
        assert (reason is None) == (target in kernels)
        if reason:
            assert target in reason
            assert name in reason


@pytest.mark.parametrize("name", NAMES)
def test_what_it_stores_weighs_what_is_counted_and_computes_almost_the_same(name):
    for operation, layer in layers():
        if operation not in SCHEMES[name].operations:
            continue
        shape = (4, layer.in_features) if operation == "linear" else (4, layer.in_channels, 8, 8)
        x = torch.randn(shape)
        with torch.no_grad():
            full = layer(x)
        seen = Statistics(tuple(map(float, x.aminmax())), tuple(map(float, full.aminmax())))
        for precision in precisions(name):
            moments = (x.T @ x,) if wants_moments(precision) else ()  # of linear layers alone
            weight = scheme(name).quantize(layer.weight, precision, *moments)
            plan = scheme(name).plan(layer, precision, weight, seen)
            with torch.no_grad():
                got = FakeQuantized(layer, plan)(x)
            assert got.dtype == x.dtype
            noise = float((got - full).square().mean().sqrt() / full.square().mean().sqrt())
            assert noise <= {32: 0.0, 16: 0.01, 8: 0.03, 4: 0.2}[precision.bits], precision
            counted = precision.stored_bytes(operation, layer.weight.numel(), layer.weight.shape[0], True)
            assert counted == stored_bytes(operation, plan, layer)


def stored_bytes(operation, plan, layer):
    """What the plan's tensors take, written by hand."""
    outputs, bits = layer.weight.shape[0], plan.precision.bits
    if plan.weight is None:
        return (layer.weight.numel() + outputs) * bits // 8
    padded = plan.weight.scale.numel() * (plan.weight.group or layer.weight[0].numel())
    total = padded * bits // 8 + 4 * plan.weight.scale.numel() + 4 * outputs
    assert plan.precision.mode == "asymmetric" or not plan.weight.zero_point.any()
    if SCHEMES[plan.precision.scheme].zero_points:
        total += plan.weight.zero_point.numel()
    for activation in (plan.inputs, plan.outputs):
        total += 5 if activation is not None else 0
    if operation != "linear":
        total += 4 * outputs  # scales of the bias
    return total
