"""Scales and zero points against those of ONNX Runtime's quantizer and of torchao."""

import numpy as np
import pytest
import torch
from onnx import TensorProto
from onnxruntime.quantization.quant_utils import compute_scale_zp, get_qmin_qmax_for_qType

from quantization.affine import quantize_bytes, quantize_groups, range_of

ENDS = [(mode, bits) for mode in ("symmetric", "asymmetric") for bits in (7, 8)]
WEIGHTS = (
    torch.randn(12, 7, 3, 3, generator=torch.Generator().manual_seed(0))
    * torch.logspace(-3, 2, 12)[:, None, None, None]
)


def onnxruntimes(least, most, kind, symmetric=False, reduced=False):
    """(zero point, scale) of a tensor of this type, in its reduced range if asked."""
    ends = get_qmin_qmax_for_qType(kind, reduced, symmetric)
    zero, scale = compute_scale_zp(np.float32(least), np.float32(most), *ends, symmetric)
    return int(zero), float(np.float32(scale))


@pytest.mark.parametrize("bits", [7, 8])
@pytest.mark.parametrize("mode", ["symmetric", "asymmetric"])
def test_weights_have_onnxruntimes_scales_and_zero_points(mode, bits):
    stored = quantize_bytes(WEIGHTS, mode, bits)
    for channel in range(len(WEIGHTS)):
        least, most = WEIGHTS[channel].min(), WEIGHTS[channel].max()
        zero, scale = onnxruntimes(least, most, TensorProto.INT8, mode == "symmetric", reduced=bits == 7)
        assert float(stored.scale[channel, 0]) == scale
        assert int(stored.zero_point[channel, 0]) == zero


@pytest.mark.parametrize(
    ("least", "most"), [(-1.5, 3.25), (0.0, 6.0), (-4.0, 0.0), (0.5, 2.0), (-3.0, -1.0), (0.0, 0.0)]
)
def test_activations_have_onnxruntimes_scale_and_zero_point(least, most):
    zero, scale = onnxruntimes(least, most, TensorProto.UINT8)
    assert range_of(least, most).scale == scale
    assert range_of(least, most).zero_point == zero


@pytest.mark.filterwarnings("ignore")
def test_groups_have_torchaos_scales_and_values():
    import logging

    logging.disable(logging.WARNING)  # torchao tells of kernels for other machines when it is imported
    primitives = pytest.importorskip("torchao.quantization.quant_primitives")
    logging.disable(logging.NOTSET)
    weight = WEIGHTS[:, :, 0, 0].repeat(1, 32).contiguous()
    for bits, group in ((8, 0), (8, 32), (4, 32), (4, 16)):
        ours = quantize_groups(weight, bits, group)
        size = (1, group or weight.shape[1])
        least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        scale, zero = primitives.choose_qparams_affine(
            weight, primitives.MappingType.SYMMETRIC, size, torch.int8, least, most
        )
        values = primitives.quantize_affine(weight, size, scale, zero, torch.int8, least, most)
        assert torch.equal(ours.scale.reshape(-1), scale.reshape(-1))
        assert torch.equal(ours.values, values)
        assert not zero.any()


def test_a_stored_weight_is_within_half_a_step():
    for stored in (quantize_bytes(WEIGHTS, mode, bits) for mode, bits in ENDS):
        step = stored.scale[:, :, None, None]
        assert ((stored.dequantized() - WEIGHTS).abs() <= step * 0.5001).all()
    flat = WEIGHTS.flatten(1)  # 63 inputs: the last group is smaller
    stored = quantize_groups(flat, 8, 16)
    assert stored.scale.shape == (12, 4)
    # The most positive value of 255 steps around zero may be cut by half a step.
    assert ((stored.dequantized() - flat).abs() <= stored.scale.repeat_interleave(16, 1)[:, :63] * 0.5001 + 0).all()


def test_zero_stays_zero():
    weight = WEIGHTS.clone()
    weight[:, 0] = 0
    weight[3] = 0
    for stored in (
        *(quantize_bytes(weight, mode, bits) for mode, bits in ENDS),
        quantize_groups(weight, 4, 16),
    ):
        assert not stored.dequantized()[weight == 0].any()
    assert float(range_of(-0.3, 1.0).fake(torch.zeros(1))) == 0


def test_fake_quantization_is_what_storing_and_reading_gives():
    x = torch.linspace(-2, 5, 1001)
    stored = range_of(-1.0, 4.0)
    by_hand = ((x / stored.scale).round() + stored.zero_point).clamp(0, 255).sub(stored.zero_point) * stored.scale
    assert torch.allclose(stored.fake(x), by_hand, atol=1e-6)
