"""Small random checkpoints of the model types that people bring, as transformers itself saves them."""

from __future__ import annotations

from typing import Any

import torch
import transformers as t
from transformers import PreTrainedModel

DECODER: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 48,
    "intermediate_size": 88,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
UNGROUPED = {key: value for key, value in DECODER.items() if key != "num_key_value_heads"}
GPT2 = {"vocab_size": 101, "n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 64, "n_inner": 88}
GPT2 |= {"bos_token_id": 1, "eos_token_id": 2}
TEXT = {
    "vocab_size": 101,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_size": 88,
    "max_position_embeddings": 66,
    "num_labels": 3,
}
MODERN = {**TEXT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
DISTIL = {"vocab_size": 101, "dim": 48, "n_layers": 3, "n_heads": 6, "hidden_dim": 88, "num_labels": 5}
IMAGE = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 7,
}
VIT = {**IMAGE, "intermediate_size": 88}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.1, 1.2, 1.3, 1.4],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}
BY_TYPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
}
HALF = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0, "partial_rotary_factor": 0.5}

# name -> (family, class, configuration)
BROUGHT: dict[str, tuple[str, type[PreTrainedModel], Any]] = {
    "gemma": ("llama", t.GemmaForCausalLM, t.GemmaConfig(**DECODER, head_dim=8)),
    "gemma-untied": (
        "llama",
        t.GemmaForCausalLM,
        t.GemmaConfig(**DECODER, head_dim=12, tie_word_embeddings=False, attention_bias=True),
    ),
    "gemma2": ("llama", t.Gemma2ForCausalLM, t.Gemma2Config(**DECODER, head_dim=8, sliding_window=5)),
    "gemma2-uncapped": (
        "llama",
        t.Gemma2ForCausalLM,
        t.Gemma2Config(
            **DECODER,
            head_dim=16,
            sliding_window=5,
            attn_logit_softcapping=None,
            final_logit_softcapping=None,
            query_pre_attn_scalar=24,
            layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        ),
    ),
    "gemma3": (
        "llama",
        t.Gemma3ForCausalLM,
        t.Gemma3TextConfig(**DECODER, head_dim=8, sliding_window=5, sliding_window_pattern=2, rope_parameters=BY_TYPE),
    ),
    "gemma3-one-group": (
        "llama",
        t.Gemma3ForCausalLM,
        t.Gemma3TextConfig(**{**DECODER, "num_key_value_heads": 1}, head_dim=8, final_logit_softcapping=20.0),
    ),
    "phi3": ("llama", t.Phi3ForCausalLM, t.Phi3Config(**DECODER)),
    "phi3-partial": (
        "llama",
        t.Phi3ForCausalLM,
        t.Phi3Config(**DECODER, partial_rotary_factor=0.75, tie_word_embeddings=True, sliding_window=5),
    ),
    "phi3-long": (
        "llama",
        t.Phi3ForCausalLM,
        t.Phi3Config(**DECODER, rope_parameters={**LONG}, original_max_position_embeddings=16),
    ),
    "smollm3": ("llama", t.SmolLM3ForCausalLM, t.SmolLM3Config(**DECODER, no_rope_layer_interval=2)),
    "smollm3-window": (
        "llama",
        t.SmolLM3ForCausalLM,
        t.SmolLM3Config(
            **DECODER,
            no_rope_layers=[1, 0, 1],
            use_sliding_window=True,
            sliding_window=4,
            tie_word_embeddings=False,
            attention_bias=True,
            mlp_bias=True,
        ),
    ),
    "olmo2": ("llama", t.Olmo2ForCausalLM, t.Olmo2Config(**DECODER)),
    "olmo2-yarn": (
        "llama",
        t.Olmo2ForCausalLM,
        t.Olmo2Config(**DECODER, rope_parameters=YARN, tie_word_embeddings=True, attention_bias=True),
    ),
    "granite": (
        "llama",
        t.GraniteForCausalLM,
        t.GraniteConfig(
            **DECODER,
            embedding_multiplier=12.0,
            logits_scaling=8.0,
            residual_multiplier=0.22,
            attention_multiplier=0.0156,
        ),
    ),
    "gpt2": ("llama", t.GPT2LMHeadModel, t.GPT2Config(**GPT2)),
    "gpt2-odd": (
        "llama",
        t.GPT2LMHeadModel,
        t.GPT2Config(
            **{**GPT2, "n_inner": None},
            tie_word_embeddings=False,
            scale_attn_by_inverse_layer_idx=True,
            activation_function="relu",
        ),
    ),
    "gpt_neox": ("llama", t.GPTNeoXForCausalLM, t.GPTNeoXConfig(**UNGROUPED)),
    "gpt_neox-in-turn": (
        "llama",
        t.GPTNeoXForCausalLM,
        t.GPTNeoXConfig(
            **UNGROUPED,
            use_parallel_residual=False,
            attention_bias=False,
            tie_word_embeddings=True,
            rope_parameters=HALF,
        ),
    ),
    "gpt_neox-odd-share": (
        "llama",
        t.GPTNeoXForCausalLM,
        t.GPTNeoXConfig(**{**UNGROUPED, "hidden_size": 72}, rotary_pct=0.25),
    ),
    "qwen3_moe-dense": (
        "llama",
        t.Qwen3MoeForCausalLM,
        t.Qwen3MoeConfig(**DECODER, num_experts=4, moe_intermediate_size=24, head_dim=8, mlp_only_layers=[0, 1, 2]),
    ),
    "smollm3-no-window": ("llama", t.SmolLM3ForCausalLM, t.SmolLM3Config(**DECODER, sliding_window=4)),
    "mixtral": ("llama", t.MixtralForCausalLM, t.MixtralConfig(**DECODER, num_local_experts=4)),
    "mixtral-window": (
        "llama",
        t.MixtralForCausalLM,
        t.MixtralConfig(**DECODER, num_local_experts=3, num_experts_per_tok=1, sliding_window=4, head_dim=12),
    ),
    "qwen3_moe": (
        "llama",
        t.Qwen3MoeForCausalLM,
        t.Qwen3MoeConfig(**DECODER, num_experts=4, moe_intermediate_size=24, num_experts_per_tok=2, head_dim=8),
    ),
    "qwen3_moe-mixed": (
        "llama",
        t.Qwen3MoeForCausalLM,
        t.Qwen3MoeConfig(
            **DECODER,
            num_experts=4,
            moe_intermediate_size=24,
            num_experts_per_tok=3,
            head_dim=12,
            norm_topk_prob=True,
            mlp_only_layers=[1],
            attention_bias=True,
            use_sliding_window=True,
            sliding_window=5,
        ),
    ),
    "roberta": (
        "bert",
        t.RobertaForSequenceClassification,
        t.RobertaConfig(**TEXT, type_vocab_size=1, layer_norm_eps=1e-5),
    ),
    "roberta-model": ("bert", t.RobertaModel, t.RobertaConfig(**TEXT)),
    "xlm-roberta": (
        "bert",
        t.XLMRobertaForSequenceClassification,
        t.XLMRobertaConfig(**TEXT, classifier_dropout=0.3, hidden_act="gelu_new"),
    ),
    "camembert": ("bert", t.CamembertForSequenceClassification, t.CamembertConfig(**TEXT)),
    "distilbert": (
        "bert",
        t.DistilBertForSequenceClassification,
        t.DistilBertConfig(**DISTIL, sinusoidal_pos_embds=True),
    ),
    "distilbert-model": ("bert", t.DistilBertModel, t.DistilBertConfig(**DISTIL, activation="relu")),
    "electra": ("bert", t.ElectraForSequenceClassification, t.ElectraConfig(**TEXT, embedding_size=16)),
    "electra-one-width": ("bert", t.ElectraForSequenceClassification, t.ElectraConfig(**TEXT, embedding_size=48)),
    "electra-model": ("bert", t.ElectraModel, t.ElectraConfig(**TEXT, embedding_size=16)),
    "modernbert": ("bert", t.ModernBertForSequenceClassification, t.ModernBertConfig(**MODERN, local_attention=6)),
    "modernbert-biases": (
        "bert",
        t.ModernBertForSequenceClassification,
        t.ModernBertConfig(
            **MODERN,
            local_attention=5,
            classifier_pooling="mean",
            norm_bias=True,
            attention_bias=True,
            mlp_bias=True,
            classifier_bias=True,
            classifier_activation="silu",
            hidden_activation="relu",
            norm_eps=1e-3,
            global_attn_every_n_layers=2,
            rope_parameters=BY_TYPE,
        ),
    ),
    "modernbert-model": ("bert", t.ModernBertModel, t.ModernBertConfig(**MODERN)),
    "deit": ("vit", t.DeiTForImageClassification, t.DeiTConfig(**VIT)),
    "deit-teacher": (
        "vit",
        t.DeiTForImageClassificationWithTeacher,
        t.DeiTConfig(**VIT, qkv_bias=False, hidden_act="relu"),
    ),
    "dinov2": ("vit", t.Dinov2ForImageClassification, t.Dinov2Config(**IMAGE, mlp_ratio=2)),
    "dinov2-gated": (
        "vit",
        t.Dinov2ForImageClassification,
        t.Dinov2Config(
            **IMAGE, mlp_ratio=3, use_swiglu_ffn=True, use_mask_token=False, qkv_bias=False, layerscale_value=0.5
        ),
    ),
    "dinov2-model": ("vit", t.Dinov2Model, t.Dinov2Config(**IMAGE)),
    "dinov2-registers": (
        "vit",
        t.Dinov2WithRegistersForImageClassification,
        t.Dinov2WithRegistersConfig(**IMAGE, mlp_ratio=2, num_register_tokens=3),
    ),
    "beit": ("vit", t.BeitForImageClassification, t.BeitConfig(**VIT, use_relative_position_bias=True)),
    "beit-absolute": (
        "vit",
        t.BeitForImageClassification,
        t.BeitConfig(
            **VIT,
            use_absolute_position_embeddings=True,
            use_mask_token=True,
            use_mean_pooling=False,
            layer_scale_init_value=0.0,
        ),
    ),
    "beit-model": ("vit", t.BeitModel, t.BeitConfig(**VIT, use_relative_position_bias=True)),
}


def answered(model: PreTrainedModel, batch: torch.Tensor, **more: Any) -> torch.Tensor:
    """What transformers computes: logits, a pooled output, or the first token's numbers of an encoder without one."""
    with torch.no_grad():
        output = model(batch, **more)
    if "logits" in output:
        logits: torch.Tensor = output.logits
        return logits
    pooled: torch.Tensor | None = getattr(output, "pooler_output", None)
    first: torch.Tensor = output.last_hidden_state[:, 0]
    return first if pooled is None else pooled


CNN = {"image_size": 64, "num_labels": 7}
NEXT = {**CNN, "hidden_sizes": [12, 20, 28], "depths": [2, 3, 2], "num_stages": 3, "patch_size": 2}
EFFICIENT = {
    **CNN,
    "width_coefficient": 0.5,
    "depth_coefficient": 1.2,
    "hidden_dim": 640,
    "in_channels": [32, 16, 24],
    "out_channels": [16, 24, 40],
    "kernel_sizes": [3, 3, 5],
    "strides": [1, 2, 2],
    "num_block_repeats": [1, 2, 2],
    "expand_ratios": [1, 6, 4],
}
BROUGHT |= {
    "convnext": ("convnext", t.ConvNextForImageClassification, t.ConvNextConfig(**NEXT, layer_scale_init_value=0.1)),
    "convnext-unscaled": (
        "convnext",
        t.ConvNextForImageClassification,
        t.ConvNextConfig(**NEXT, layer_scale_init_value=0.0, hidden_act="relu", layer_norm_eps=1e-3),
    ),
    "convnext-model": ("convnext", t.ConvNextModel, t.ConvNextConfig(**NEXT)),
    "convnextv2": ("convnext", t.ConvNextV2ForImageClassification, t.ConvNextV2Config(**NEXT)),
    "mobilenet_v2": (
        "mobilenet",
        t.MobileNetV2ForImageClassification,
        t.MobileNetV2Config(**CNN, depth_multiplier=0.35),
    ),
    "mobilenet_v2-odd": (
        "mobilenet",
        t.MobileNetV2ForImageClassification,
        t.MobileNetV2Config(
            num_labels=7,
            image_size=63,
            depth_multiplier=0.5,
            tf_padding=False,
            first_layer_is_expansion=False,
            finegrained_output=False,
            output_stride=16,
            expand_ratio=3.0,
            hidden_act="relu",
        ),
    ),
    "mobilenet_v2-model": ("mobilenet", t.MobileNetV2Model, t.MobileNetV2Config(**CNN, depth_multiplier=0.35)),
    "efficientnet": ("mobilenet", t.EfficientNetForImageClassification, t.EfficientNetConfig(**EFFICIENT)),
    "efficientnet-odd": (
        "mobilenet",
        t.EfficientNetForImageClassification,
        t.EfficientNetConfig(
            **{**EFFICIENT, "image_size": 61}, depthwise_padding=[1, 3], pooling_type="max", hidden_act="relu"
        ),
    ),
}
RESNET = {"embedding_size": 12, "hidden_sizes": [16, 24], "depths": [2, 3], "num_labels": 7}
BROUGHT |= {
    "resnet": ("resnet", t.ResNetForImageClassification, t.ResNetConfig(**RESNET)),
    "resnet-basic": (
        "resnet",
        t.ResNetForImageClassification,
        t.ResNetConfig(**RESNET, layer_type="basic", downsample_in_first_stage=True),
    ),
}
