"""Published networks of the model types that people bring, counted to the parameter from their configurations.

Counts are those of transformers 5.24 without storage: unique parameters, tied ones once, no buffers.
"""

import pytest

from predictors.cost import macs, params
from search_space.plugins import family_of, load_family

GEMMA2 = {"hidden_size": 2304, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4}
GEMMA2 |= {"intermediate_size": 9216, "vocab_size": 256000}
LLAMA = {"hidden_size": 2048, "num_attention_heads": 32}

# name -> (class, configuration, parameters)
PUBLISHED = {
    "roberta-base": (
        "RobertaModel",
        {"model_type": "roberta", "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
        124_645_632,
    ),
    "xlm-roberta-base": (
        "XLMRobertaModel",
        {"model_type": "xlm-roberta", "vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1},
        278_043_648,
    ),
    "distilbert-base-uncased": ("DistilBertModel", {"model_type": "distilbert"}, 66_362_880),
    "distilbert-sst2": ("DistilBertForSequenceClassification", {"model_type": "distilbert"}, 66_955_010),
    "all-MiniLM-L6-v2": (
        "BertModel",
        {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
        22_713_216,
    ),
    "bge-small": (
        "BertModel",
        {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 12, "intermediate_size": 1536},
        33_360_000,
    ),
    "electra-base": (
        "ElectraModel",
        {
            "model_type": "electra",
            "embedding_size": 768,
            "hidden_size": 768,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
        },
        108_891_648,
    ),
    "ModernBERT-base": ("ModernBertModel", {"model_type": "modernbert"}, 149_014_272),
    "deit-base-distilled": (
        "DeiTForImageClassificationWithTeacher",
        {"model_type": "deit", "num_labels": 1000},
        87_338_192,
    ),
    "dinov2-base": ("Dinov2Model", {"model_type": "dinov2", "image_size": 518}, 86_580_480),
    "dinov2-with-registers-base": (
        "Dinov2WithRegistersModel",
        {"model_type": "dinov2_with_registers", "image_size": 518, "patch_size": 14},
        86_583_552,
    ),
    "beit-base": (
        "BeitForImageClassification",
        {"model_type": "beit", "use_relative_position_bias": True, "num_labels": 1000},
        86_530_984,
    ),
    "convnext-tiny": ("ConvNextForImageClassification", {"model_type": "convnext", "num_labels": 1000}, 28_589_128),
    "convnextv2-tiny": (
        "ConvNextV2ForImageClassification",
        {"model_type": "convnextv2", "num_labels": 1000},
        28_635_496,
    ),
    "mobilenet_v2_1.0_224": (
        "MobileNetV2ForImageClassification",
        {"model_type": "mobilenet_v2", "num_labels": 1001},
        3_506_153,
    ),
    "efficientnet-b0": (
        "EfficientNetForImageClassification",
        {
            "model_type": "efficientnet",
            "width_coefficient": 1.0,
            "depth_coefficient": 1.0,
            "hidden_dim": 1280,
            "image_size": 224,
            "num_labels": 1000,
        },
        5_288_548,
    ),
    "gemma-2-2b": ("Gemma2ForCausalLM", {"model_type": "gemma2", **GEMMA2}, 2_614_341_888),
    "gemma-3-1b": (
        "Gemma3ForCausalLM",
        {
            "model_type": "gemma3_text",
            "hidden_size": 1152,
            "intermediate_size": 6912,
            "num_hidden_layers": 26,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "vocab_size": 262144,
        },
        999_885_952,
    ),
    "gemma-3-270m": (
        "Gemma3ForCausalLM",
        {
            "model_type": "gemma3_text",
            "hidden_size": 640,
            "intermediate_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "vocab_size": 262144,
        },
        268_098_176,
    ),
    "Phi-3-mini-4k": (
        "Phi3ForCausalLM",
        {
            "model_type": "phi3",
            "vocab_size": 32064,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        },
        3_821_079_552,
    ),
    "Phi-4-mini": (
        "Phi3ForCausalLM",
        {
            "model_type": "phi3",
            "vocab_size": 200064,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 24,
            "num_key_value_heads": 8,
            "partial_rotary_factor": 0.75,
            "tie_word_embeddings": True,
        },
        3_836_021_760,
    ),
    "SmolLM2-135M": (
        "LlamaForCausalLM",
        {
            "model_type": "llama",
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "tie_word_embeddings": True,
        },
        134_515_008,
    ),
    "SmolLM3-3B": (
        "SmolLM3ForCausalLM",
        {
            "model_type": "smollm3",
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
        },
        3_075_098_624,
    ),
    "OLMo-2-1124-7B": (
        "Olmo2ForCausalLM",
        {
            "model_type": "olmo2",
            "vocab_size": 100352,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        },
        7_298_617_344,
    ),
    "granite-3.1-2b": (
        "GraniteForCausalLM",
        {
            "model_type": "granite",
            **LLAMA,
            "vocab_size": 49155,
            "intermediate_size": 8192,
            "num_hidden_layers": 40,
            "num_key_value_heads": 8,
            "tie_word_embeddings": True,
        },
        2_533_531_648,
    ),
    "gpt2": ("GPT2LMHeadModel", {"model_type": "gpt2"}, 124_439_808),
    "pythia-160m": (
        "GPTNeoXForCausalLM",
        {
            "model_type": "gpt_neox",
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "vocab_size": 50304,
        },
        162_322_944,
    ),
    "Qwen3-30B-A3B": (
        "Qwen3MoeForCausalLM",
        {
            "model_type": "qwen3_moe",
            **LLAMA,
            "vocab_size": 151936,
            "intermediate_size": 6144,
            "num_hidden_layers": 48,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "num_experts": 128,
            "moe_intermediate_size": 768,
        },
        30_532_122_624,
    ),
    "Mixtral-8x7B": (
        "MixtralForCausalLM",
        {
            "model_type": "mixtral",
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        },
        46_702_792_704,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_to_the_parameter(name):
    task, config, expected = PUBLISHED[name]
    config = {**config, "architectures": [task]}
    space = load_family(family_of(config), None, None, config)
    assert params(space, space.largest()) == expected
    assert params(space, space.smallest()) < expected


def test_a_token_pays_for_the_experts_that_it_uses():
    """Mixtral-8x7B: 12.9 billion of its 46.7 billion parameters work for a token (arXiv 2401.04088)."""
    task, config, _ = PUBLISHED["Mixtral-8x7B"]
    space = load_family("llama", None, None, {**config, "architectures": [task]})
    attention = 2 * 128 * 4096 * 32
    used = macs(space, space.largest()) / 128 - attention + 32000 * 4096
    assert used / 1e9 == pytest.approx(12.9, abs=0.05)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_transformers_writes_of_a_type_is_not_refused(name):
    """Every key that transformers' own class of configurations saves is read, or means nothing."""
    from transformers import CONFIG_MAPPING

    task, config, expected = PUBLISHED[name]
    written = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config)).to_dict()
    space = load_family(family_of(config), None, None, {**written, "architectures": [task]})
    assert params(space, space.largest()) == expected
