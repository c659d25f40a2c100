"""Layers of image networks against numbers worked out by hand (the older ones are in test_layers.py)."""

from dataclasses import replace

import pytest

from search_space.layers import (
    BasicSpec,
    BottleneckSpec,
    ClassifierSpec,
    ConvSpec,
    HeadSpec,
    MaxPoolSpec,
    MBConvSpec,
    ResizeSpec,
)

# On 4x4 pixels: expand 8*16 + 32; depthwise 16*9 + 32; squeeze 16*2 + 2; excite 2*16 + 16; project 16*8 + 16.
# MACs: 128*16 + 144*16 + 32 + 32 + 128*16. Most is live in `excite`: 2 + 16, the map of 16*16, the input of 8*16.
SQUEEZED = MBConvSpec(8, 16, 8, 3, 1, 4, "SiLU", expand=True, project_shortcut=False, squeeze_channels=2)

# On 8x8 pixels with stride 2: conv1 4*6*9 + 12; conv2 6*8*9 + 16; projection 4*8 + 16. Maps after conv1 are 4x4.
BASIC = BasicSpec(4, 6, 8, 2, 8, "ReLU", "conv", project_shortcut=True)

# On 8x8 pixels with stride 2: conv1 16*4 + 8 on 8x8; conv2 4*4*9 + 8 on 4x4; conv3 4*32 + 64; projection 16*32 + 64.
BOTTLENECK = BottleneckSpec(16, 4, 32, 2, 8, "ReLU", "conv", project_shortcut=True)

# conv 8*16 + 32 on 2x2; mix 16*20 + 20; classifier 20*10 + 10.
MIXED = HeadSpec(8, 16, 10, 2, "Hardswish", mix_channels=20, mix_bias=True)


@pytest.mark.parametrize(
    ("spec", "params", "macs"),
    [
        (SQUEEZED, 160 + 176 + 34 + 48 + 144, 2048 + 2304 + 32 + 32 + 2048),
        (replace(SQUEEZED, squeeze_channels=0), 160 + 176 + 144, 2048 + 2304 + 2048),
        (replace(SQUEEZED, shortcut=False), 160 + 176 + 34 + 48 + 144, 2048 + 2304 + 32 + 32 + 2048),
        (BASIC, 228 + 448 + 48, 216 * 16 + 432 * 16 + 32 * 16),
        (replace(BASIC, shortcut="pool"), 228 + 448 + 48, 216 * 16 + 432 * 16 + 32 * 16),
        (replace(BASIC, shortcut="pad", project_shortcut=False), 228 + 448, 216 * 16 + 432 * 16),
        (BOTTLENECK, 72 + 152 + 192 + 576, 64 * 64 + 144 * 16 + 128 * 16 + 512 * 16),
        (MIXED, 160 + 340 + 210, 128 * 4 + 320 + 200),
        (replace(MIXED, mix_bias=False), 160 + 320 + 210, 128 * 4 + 320 + 200),
        (ClassifierSpec(8, 10, 4), 90, 80),
        (MaxPoolSpec(8, 3, 2, 9), 0, 0),
        (ResizeSpec(3, 32), 0, 0),
    ],
)
def test_params_and_macs(spec, params, macs):
    assert (spec.params(), spec.macs()) == (params, macs)


@pytest.mark.parametrize(
    ("spec", "live"),
    [
        # `excite`: its own input and output, the map that it scales, and the block's input for the shortcut.
        (SQUEEZED, max(2 + 16 + 256 + 128, 256 + 256 + 128)),
        # Without a shortcut the block's input need not be kept.
        (replace(SQUEEZED, shortcut=False), 256 + 256),
        # `projection` reads the 8x8 input and writes a 4x4 map while the branch's 4x4 map waits.
        (BASIC, 4 * 64 + 8 * 16 + 8 * 16),
        # `conv2` of the bottleneck: 4 channels on 8x8 and on 4x4, while the input of 16 on 8x8 waits; `projection`
        # needs more: the input and twice the output.
        (BOTTLENECK, 16 * 64 + 32 * 16 + 32 * 16),
        (MaxPoolSpec(8, 3, 2, 9), 8 * (81 + 25)),
        (ClassifierSpec(8, 10, 4), 8 * 16 + 8),
    ],
)
def test_peak_activations(spec, live):
    assert spec.peak_activations() == live


def test_squeeze_and_excitation_comes_before_the_projection():
    assert list(SQUEEZED.parts()) == ["expand", "depthwise", "squeeze", "excite", "project"]


@pytest.mark.parametrize(("size", "out_size"), [(8, 4), (9, 5), (1, 1)])
def test_out_size_rounds_up(size, out_size):
    for spec in (BASIC, BOTTLENECK, MaxPoolSpec(8, 3, 2, 8)):
        assert replace(spec, size=size).out_size == out_size


@pytest.mark.parametrize("spec", [BASIC, BOTTLENECK])
def test_a_block_without_projection_fits_in_one_with_it_and_not_the_other_way(spec):
    without = replace(spec, project_shortcut=False)
    assert without.fits_in(spec)
    assert not spec.fits_in(without)


@pytest.mark.parametrize("spec", [BASIC, BOTTLENECK])
@pytest.mark.parametrize("changed", [{"shortcut": "pad"}, {"stride": 1}, {"hidden_channels": 7}])
def test_a_residual_block_does_not_fit_where_it_is_another(spec, changed):
    assert not replace(spec, **changed).fits_in(spec)


def test_whether_a_mobile_block_has_a_shortcut_does_not_concern_its_weights():
    without = replace(SQUEEZED, shortcut=False)
    assert without.fits_in(SQUEEZED)
    assert SQUEEZED.fits_in(without)


def test_a_block_without_expansion_fits_in_one_with_it():
    without = replace(SQUEEZED, hidden_channels=8, expand=False)
    assert without.fits_in(SQUEEZED)
    assert not SQUEEZED.fits_in(without)


def test_a_residual_convolution_does_not_fit_in_a_plain_one():
    plain = ConvSpec(8, 8, 3, 1, 4, "ReLU")
    assert not replace(plain, residual=True).fits_in(plain)
