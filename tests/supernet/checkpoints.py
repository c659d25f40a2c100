"""Small random checkpoints as transformers itself saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from _pytest.mark import ParameterSet
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)
from transformers import logging as transformers_logging

from tests.tiers import mostly_thorough

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

TEXT: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 48,
    "intermediate_size": 88,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "max_position_embeddings": 64,
    "pad_token_id": None,
}
ENCODER = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 6, "intermediate_size": 88}
PIXELS = {"image_size": 32, "patch_size": 8, "num_labels": 7}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}

# name -> (family, class, configuration)
CHECKPOINTS: dict[str, tuple[str, type[PreTrainedModel], Any]] = {
    "llama": ("llama", LlamaForCausalLM, LlamaConfig(**TEXT)),
    "llama-tied": ("llama", LlamaForCausalLM, LlamaConfig(**TEXT, tie_word_embeddings=True)),
    "llama-biases": ("llama", LlamaForCausalLM, LlamaConfig(**TEXT, attention_bias=True, mlp_bias=True)),
    "llama-llama3-rope": ("llama", LlamaForCausalLM, LlamaConfig(**TEXT, rope_parameters=LLAMA3_ROPE)),
    "llama-yarn": ("llama", LlamaForCausalLM, LlamaConfig(**TEXT, rope_parameters=YARN)),
    "llama-head-dim": ("llama", LlamaForCausalLM, LlamaConfig(**TEXT, head_dim=16)),
    "llama-mha": ("llama", LlamaForCausalLM, LlamaConfig(**{**TEXT, "num_key_value_heads": 6})),
    "mistral": ("llama", MistralForCausalLM, MistralConfig(**TEXT, sliding_window=None)),
    "mistral-window": ("llama", MistralForCausalLM, MistralConfig(**TEXT, sliding_window=5)),
    "qwen2": ("llama", Qwen2ForCausalLM, Qwen2Config(**TEXT, tie_word_embeddings=True)),
    "qwen2-window": (
        "llama",
        Qwen2ForCausalLM,
        Qwen2Config(**TEXT, use_sliding_window=True, sliding_window=5, max_window_layers=2),
    ),
    "qwen3": ("llama", Qwen3ForCausalLM, Qwen3Config(**TEXT, head_dim=12)),
    "bert": ("bert", BertForSequenceClassification, BertConfig(**ENCODER, vocab_size=101, num_labels=3)),
    "bert-model": ("bert", BertModel, BertConfig(**ENCODER, vocab_size=101)),
    "vit": ("vit", ViTForImageClassification, ViTConfig(**ENCODER, **PIXELS)),
    "vit-without-bias": ("vit", ViTForImageClassification, ViTConfig(**ENCODER, **PIXELS, qkv_bias=False)),
}
MASKED_BERT = (BertForMaskedLM, BertConfig(**ENCODER, vocab_size=101))


def one_of_each_family(names: list[str]) -> list[ParameterSet]:
    """Checkpoints as parameters; all but a family's first are for the thorough run.

    That each is computed as transformers does is tested for all of them on every run.
    """
    first = {CHECKPOINTS[name][0]: name for name in reversed(names)}
    return mostly_thorough(names, *first.values())


def save(kind: type[PreTrainedModel], config: Any, folder: Path, **saving: Any) -> PreTrainedModel:
    """Write a random network, none of whose numbers is zero or one by construction; return it."""
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
    model.save_pretrained(folder, **saving)
    return model


def inputs(family: str, size: int = 32) -> torch.Tensor:
    """A batch for the checkpoints of a family; `size` is that of images."""
    generator = torch.Generator().manual_seed(1)
    if family in ("vit", "convnext", "mobilenet", "resnet"):
        return torch.randn(3, 3, size, size, generator=generator)
    return torch.randint(1, 101, (3, 17), generator=generator)


def answer(model: PreTrainedModel, batch: torch.Tensor, **more: Any) -> torch.Tensor:
    """What transformers computes: logits, or the pooled output of a bare encoder."""
    with torch.no_grad():
        output = model(batch, **more)
    logits: torch.Tensor = output.logits if "logits" in output else output.pooler_output
    return logits
