"""Transformers of papers and model cards, counted to the parameter."""

import json

import pytest

from predictors.cost import macs, params
from search_space import SearchSpace
from search_space.adjustments import Adjustments
from search_space.plugins import load_family

# layers, feed-forward width -> parameters (LLaMA-NAS on LLaMA2-7B: its six corners)
CORNERS = {
    (32, 11008): 6_738_415_616,
    (28, 11008): 5_928_882_176,
    (24, 11008): 5_119_348_736,
    (32, 5504): 4_574_154_752,
    (28, 5504): 4_035_153_920,
    (24, 5504): 3_496_153_088,
}


@pytest.mark.parametrize(("corner", "expected"), CORNERS.items())
def test_corners_of_llama_nas(corner, expected):
    depth, ffn = corner
    space = load_family("llama", "llama2_7b", Adjustments({"depth": [depth], "layer*_ffn": [ffn]}))
    assert space.size() == 1
    assert params(space, space.largest()) == expected


def test_size_of_llama_nass_space():
    assert load_family("llama", "llama2_7b").size() == 2**24 + 2**28 + 2**32


def test_llama_2_7b_takes_850_billion_macs_for_128_tokens():
    space = load_family("llama", "llama2_7b")
    assert space.takes.length == 128
    assert macs(space, space.largest()) / 1e9 == pytest.approx(850, abs=0.5)


def of_config(family: str, **config) -> SearchSpace:
    return load_family(family, None, None, config)


# Configurations as published; counts as their model cards and config-based counters give them.
DECODERS = {
    "llama-3-8b": (
        {
            "model_type": "llama",
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
        },
        8_030_261_248,
    ),
    "llama-3.2-1b": (
        {
            "model_type": "llama",
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "tie_word_embeddings": True,
        },
        1_235_814_400,
    ),
    "mistral-7b": (
        {
            "model_type": "mistral",
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
        },
        7_241_732_096,
    ),
    "qwen2-0.5b": (
        {
            "model_type": "qwen2",
            "vocab_size": 151936,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        494_032_768,
    ),
    "qwen3-0.6b": (
        {
            "model_type": "qwen3",
            "vocab_size": 151936,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": True,
        },
        596_049_920,
    ),
}


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_from_their_configuration(name):
    config, expected = DECODERS[name]
    space = of_config("llama", **config)
    assert params(space, space.largest()) == expected


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_equal_transformers_own_count(name):
    """The same configurations in transformers, without allocating a weight."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config, expected = DECODERS[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[config["model_type"]].from_dict(dict(config)))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_bert_base():
    space = load_family("bert", "bert_base")
    assert params(space, space.largest()) == 109_482_240
    # InstaTune gives 11.17 GMACs for 128 tokens.
    assert macs(space, space.largest()) / 1e9 == pytest.approx(11.17, abs=0.005)


def test_a_classifier_on_bert_base_adds_its_own_weights_only():
    space = load_family("bert", "bert_base", Adjustments(classes=2))
    assert params(space, space.largest()) == 109_482_240 + 768 * 2 + 2


def test_vit_b_16():
    space = load_family("vit", "vit_base")
    assert params(space, space.largest()) == 86_567_656
    assert macs(space, space.largest()) / 1e9 == pytest.approx(17.6, abs=0.05)


def test_deit_small():
    narrow = {"embed": [384], "depth": [12], "layer*_heads": [6], "layer*_ffn": [1536]}
    space = load_family("vit", "vit_base", Adjustments(narrow))
    assert params(space, space.largest()) == 22_050_664
    assert macs(space, space.largest()) / 1e9 == pytest.approx(4.61, abs=0.02)


AUTOFORMER_S = json.loads(
    '{"depth":13,"embed":384,"mlp":[3.0,3.5,3.0,3.5,4.0,4.0,4.0,4.0,4.0,4.0,4.0,3.5,4.0],'
    '"heads":[6,6,5,7,5,5,5,6,6,7,7,6,7]}'
)


def test_autoformer_s():
    space = load_family("vit", "autoformer_small")
    layers = enumerate(zip(AUTOFORMER_S["mlp"], AUTOFORMER_S["heads"], strict=True), 1)
    values = {k: v for i, (m, h) in layers for k, v in ((f"layer{i}_ratio", m), (f"layer{i}_heads", h))}
    network = space.architecture(depth=AUTOFORMER_S["depth"], embed=AUTOFORMER_S["embed"], **values)
    assert params(space, network) / 1e6 == pytest.approx(22.9, abs=0.05)


@pytest.mark.parametrize(("preset", "published"), [("tiny", 5.8), ("small", 22.9), ("base", 53.7)])
def test_published_autoformers_lie_within_their_spaces(preset, published):
    space = load_family("vit", f"autoformer_{preset}")
    assert params(space, space.smallest()) / 1e6 < published < params(space, space.largest()) / 1e6
