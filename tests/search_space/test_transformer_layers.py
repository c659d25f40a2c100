"""Transformer specs against numbers worked out by hand."""

from dataclasses import replace

import pytest

from search_space.layers import (
    DecoderLayerSpec,
    EncoderLayerSpec,
    LanguageHeadSpec,
    PatchEmbeddingSpec,
    PatchHeadSpec,
    TextEmbeddingSpec,
    TextHeadSpec,
    TokenEmbeddingSpec,
)

# 4 heads of 8 on 32 features, 5 positions, FFN of 64.
#   query, key, value: 32*32 weights + 32 biases each; output 1024 + 32; FFN 2048 + 64 and 2048 + 32; norms 2 * 64
ENCODER = EncoderLayerSpec(32, 4, 8, 64, 5, True, "GELU", True, 0, 1e-6, 0.0, 0.0)
# 6 query heads on 2 key-value heads of 8, 32 features: q 48*32, k and v 16*32, o 32*48; SwiGLU 3 * 32*64; norms 2*32
DECODER = DecoderLayerSpec("{}", 32, 6, 2, 8, 64, 5, 0, False, False, False, False)


def test_parameters_of_an_encoder_layer():
    assert ENCODER.params() == 4 * (1024 + 32) + (2048 + 64) + (2048 + 32) + 128


def test_macs_of_an_encoder_layer_include_the_products_of_attention():
    linear = 5 * (4 * 1024 + 2 * 2048)
    assert ENCODER.macs() == linear + 2 * 5 * 5 * 32


def test_relative_positions_add_tables_and_products():
    relative = replace(ENCODER, relative=3)
    assert relative.params() == ENCODER.params() + 4 * 8 * 8
    assert relative.macs() == ENCODER.macs() + 2 * 5 * 5 * 32


def test_parameters_of_a_decoder_layer():
    assert DECODER.params() == 48 * 32 + 2 * 16 * 32 + 32 * 48 + 3 * 32 * 64 + 64


def test_biases_and_norms_of_heads_are_counted():
    assert replace(DECODER, qkv_bias=True).params() == DECODER.params() + 48 + 2 * 16
    assert replace(DECODER, output_bias=True).params() == DECODER.params() + 32
    assert replace(DECODER, ffn_bias=True).params() == DECODER.params() + 64 + 64 + 32
    assert replace(DECODER, qk_norm=True).params() == DECODER.params() + 2 * 8


def test_macs_of_a_decoder_layer():
    assert DECODER.macs() == 5 * (48 * 32 * 2 + 16 * 32 * 2 + 3 * 32 * 64) + 2 * 5 * 5 * 48


def test_whole_groups_fit_and_parts_of_a_group_do_not():
    assert replace(DECODER, heads=3, kv_heads=1).fits_in(DECODER)
    assert not replace(DECODER, heads=4, kv_heads=2).fits_in(DECODER)
    assert not replace(DECODER, heads=6, kv_heads=1).fits_in(DECODER)


@pytest.mark.parametrize("change", [{"qk_norm": True}, {"config": "{ }"}, {"embed": 16}, {"ffn": 65}])
def test_a_layer_of_another_kind_does_not_fit(change):
    assert not replace(DECODER, **change).fits_in(DECODER)


def test_a_layer_of_another_length_has_the_same_weights():
    longer = replace(DECODER, tokens=50)
    assert longer.fits_in(DECODER)
    assert longer.params() == DECODER.params()


def test_an_encoder_layer_with_a_narrower_embedding_fits():
    assert replace(ENCODER, embed=16, heads=1, ffn=8).fits_in(ENCODER)
    assert not replace(ENCODER, norm_first=False).fits_in(ENCODER)


def test_parameters_of_embeddings_and_heads():
    assert PatchEmbeddingSpec(3, 32, 4, 16, 0.0).params() == 3 * 16 * 32 + 32 + 32 + 17 * 32
    assert PatchEmbeddingSpec(3, 32, 4, 16, 0.0).macs() == 16 * 3 * 16 * 32
    assert TextEmbeddingSpec(50, 32, 20, 2, 5, 1e-12, 0.1).params() == (50 + 20 + 2) * 32 + 64
    assert TokenEmbeddingSpec(50, 32, 5).params() == 1600
    assert PatchHeadSpec(32, 7, 17, "mean", 1e-6).params() == 64 + 32 * 7 + 7
    assert TextHeadSpec(32, 3, 0.1).params() == 32 * 32 + 32 + 32 * 3 + 3
    assert TextHeadSpec(32, 0, 0.1).params() == 32 * 32 + 32


def test_a_tied_head_costs_no_parameters_and_the_same_macs():
    own, tied = LanguageHeadSpec(32, 50, 5, 1e-6, ""), LanguageHeadSpec(32, 50, 5, 1e-6, "embedding")
    assert own.params() == 32 + 1600
    assert tied.params() == 32
    assert tied.macs() == own.macs() == 5 * 1600
    assert tied.ties() == {"output.weight": ("embedding", "tokens.weight")}


def test_bytes_keep_norms_and_biases_in_full_precision():
    weights = 48 * 32 + 2 * 16 * 32 + 32 * 48 + 3 * 32 * 64
    assert DECODER.weight_bytes(4) == weights // 2 + 64 * 4


def test_most_activations_live_where_both_wide_halves_of_the_feed_forward_network_do():
    # Input of the shortcut, normalised input, gate and up projections: (32 + 32 + 64 + 64) features at 5 positions.
    assert DECODER.peak_activations() == 5 * (32 + 32 + 64 + 64)
