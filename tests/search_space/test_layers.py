"""Layer specs against numbers worked out by hand."""

from dataclasses import replace

import pytest

from search_space.layers import ConvSpec, HeadSpec, LayerSpec, MBConvSpec, MixingSpec, linear_part

# 3x3, 3 -> 16 channels, stride 2 on 9x9 pixels: out 5x5, 16*3*9 = 432 weights, 2*16 scales and shifts.
CONV = ConvSpec(in_channels=3, out_channels=16, kernel=3, stride=2, size=9, activation="ReLU")

# On 7x7 pixels with stride 2: out 4x4.
#   expand    8*24    = 192 weights + 48, 192*49 =  9,408 MACs
#   depthwise 24*5*5  = 600 weights + 48, 600*16 =  9,600 MACs
#   project   24*16   = 384 weights + 32, 384*16 =  6,144 MACs
#   shortcut  8*16    = 128 weights +  0, 128*16 =  2,048 MACs
MBCONV = MBConvSpec(
    in_channels=8,
    hidden_channels=24,
    out_channels=16,
    kernel=5,
    stride=2,
    size=7,
    activation="ReLU",
    expand=True,
    project_shortcut=True,
)

# depthwise 8*9 = 72 + 16, 72*16 MACs; project 64 + 16, 64*16 MACs; no other part.
PLAIN_MBCONV = MBConvSpec(
    in_channels=8,
    hidden_channels=8,
    out_channels=8,
    kernel=3,
    stride=1,
    size=4,
    activation="ReLU",
    expand=False,
    project_shortcut=False,
)

# 1x1 on 2x2 pixels: 16*32 = 512 + 64, 2,048 MACs; classifier 320 weights, 10 biases, 320 MACs.
HEAD = HeadSpec(in_channels=16, hidden_channels=32, classes=10, size=2, activation="ReLU")

# On 7x7 pixels with stride 2: out 4x4.
#   reduce    8*12  =  96 weights + 24,  96*49 = 4,704 MACs
#   depthwise 12*9  = 108 weights + 24, 108*16 = 1,728 MACs
#   pointwise 12*12 = 144 weights + 24, 144*16 = 2,304 MACs
#   expand    12*16 = 192 weights + 32, 192*16 = 3,072 MACs
MIXING = MixingSpec(8, 12, 16, "separable", 3, 1, 2, 7, "ReLU", shortcut=False)
# Reduce and expand alone; the latter works on 49 positions where nothing has a stride.
POOLED = replace(MIXING, operation="max_pool")
NOTHING = replace(MIXING, operation="identity", kernel=1, stride=1)


@pytest.mark.parametrize(
    ("spec", "params", "macs"), [(MIXING, 644, 11_808), (POOLED, 344, 7_776), (NOTHING, 344, 4_704 + 192 * 49)]
)
def test_a_bottleneck_counts_what_its_operation_has(spec, params, macs):
    assert (spec.params(), spec.macs()) == (params, macs)
    # Maps of the middle: 12 channels on 7x7 and on 4x4 positions.
    assert spec.parts().get("pool") == (POOLED.parts()["pool"] if spec is POOLED else None)
    assert POOLED.peak_activations() == max((8 + 12) * 49, 12 * (49 + 16), (12 + 16) * 16)


@pytest.mark.parametrize(("spec", "params"), [(CONV, 464), (MBCONV, 1432), (PLAIN_MBCONV, 168), (HEAD, 906)])
def test_params_count_weights_biases_scales_and_shifts(spec, params):
    assert spec.params() == params


@pytest.mark.parametrize(("spec", "macs"), [(CONV, 10_800), (MBCONV, 27_200), (PLAIN_MBCONV, 2_176), (HEAD, 2_368)])
def test_macs_count_one_sample(spec, macs):
    assert spec.macs() == macs


@pytest.mark.parametrize("spec", [CONV, MBCONV, PLAIN_MBCONV, HEAD])
def test_weight_bytes_at_32_bits_are_four_per_parameter(spec):
    assert spec.weight_bytes() == 4 * spec.params()


@pytest.mark.parametrize(
    ("spec", "size_bytes"),
    [(CONV, 432 + 32 * 4), (MBCONV, 1304 + 128 * 4), (PLAIN_MBCONV, 136 + 32 * 4), (HEAD, 832 + 74 * 4)],
)
def test_weight_bytes_at_8_bits_keep_everything_but_weights_at_32(spec, size_bytes):
    assert spec.weight_bytes(8) == size_bytes


def test_weight_bytes_round_up_to_whole_bytes():
    # 3 * 3 * 3 = 27 weights of 3 bits are 81 bits, so 11 bytes; two extras of four bytes.
    spec = ConvSpec(in_channels=3, out_channels=1, kernel=3, stride=1, size=4, activation="ReLU")
    assert spec.weight_bytes(3) == 11 + 2 * 4


@pytest.mark.parametrize(("size", "stride", "out_size"), [(8, 1, 8), (8, 2, 4), (9, 2, 5), (1, 2, 1)])
def test_out_size_rounds_up(size, stride, out_size):
    assert replace(CONV, size=size, stride=stride).out_size == out_size
    assert replace(MBCONV, size=size, stride=stride).out_size == out_size


def test_the_parts_of_a_layer_are_in_forward_order():
    assert list(MBCONV.parts()) == ["expand", "depthwise", "project", "shortcut"]
    assert list(PLAIN_MBCONV.parts()) == ["depthwise", "project"]


def test_a_linear_part_without_bias_has_only_weights():
    part = linear_part(7, 5, bias=False)
    assert (part.weights, part.extras, part.macs) == (35, 0, 35)


def test_fields_are_the_constructor_arguments():
    assert HeadSpec(**HEAD.fields()) == HEAD


@pytest.mark.parametrize("spec", [CONV, MBCONV, HEAD])
def test_a_layer_fits_in_itself(spec):
    assert spec.fits_in(spec)


@pytest.mark.parametrize("field", ["in_channels", "hidden_channels", "out_channels", "kernel"])
def test_a_smaller_layer_fits_and_a_larger_does_not(field):
    smaller = replace(MBCONV, **{field: getattr(MBCONV, field) - 2})
    assert smaller.fits_in(MBCONV)
    assert not MBCONV.fits_in(smaller)


@pytest.mark.parametrize("spec", [CONV, MBCONV, HEAD])
def test_a_layer_fits_whatever_the_size_of_its_maps(spec):
    """A shallow network may have larger maps where a deep one has strided further; weights are the same."""
    assert replace(spec, size=spec.size + 8).fits_in(spec)
    assert spec.fits_in(replace(spec, size=spec.size + 8))


def test_a_layer_without_the_shortcut_fits_in_one_with_it_and_not_the_other_way():
    without = replace(MBCONV, project_shortcut=False)
    assert without.fits_in(MBCONV)
    assert not MBCONV.fits_in(without)


@pytest.mark.parametrize(
    ("spec", "changed"),
    [
        (CONV, {"stride": 1}),
        (CONV, {"residual": True}),
        (CONV, {"activation": "Hardswish"}),
        (MBCONV, {"stride": 1}),
        (MBCONV, {"gate": "Hardsigmoid"}),
        (MBCONV, {"activation": "Hardswish"}),
        (HEAD, {"classes": 5}),
    ],
)
def test_a_layer_does_not_fit_where_a_fixed_field_differs(spec, changed):
    assert not replace(spec, **changed).fits_in(spec)


def test_a_layer_does_not_fit_in_one_of_another_kind():
    assert not CONV.fits_in(HEAD)


def test_specs_with_equal_fields_are_equal_and_hash_equally():
    twin = replace(MBCONV)
    assert twin == MBCONV
    assert hash(twin) == hash(MBCONV)


def test_a_spec_without_parts_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        LayerSpec()
