"""What the export format `gguf` is, and which networks can have it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from search_space.checkpoint import CheckpointError
from search_space.layers import DecoderLayerSpec, without_a_half
from search_space.plugins import FAMILIES

if TYPE_CHECKING:
    from job.formats import Subject

MEANING = "Language models for llama.cpp, Ollama and LM Studio: `model-f16.gguf` and `model-q8_0.gguf`."

WHEN_ASKED = True

LOADS = """
llama-cli -m gguf/model-q8_0.gguf -p "Once upon a time"      # llama.cpp
printf 'FROM ./gguf/model-q8_0.gguf' > Modelfile && ollama create mine -f Modelfile
"""

# Scaling of rotary positions that llama.cpp computes as transformers does.
ROTARY = ("default", "linear", "llama3", "yarn", "dynamic")

WRITES = "this writer fills every layer of llama.cpp's models"


def refusal(subject: Subject) -> str | None:
    """Why llama.cpp has no architecture for a network; None: it has one."""
    family = FAMILIES.load(subject.space.split("/")[0])
    decoders = [layer for layer in subject.layers.values() if isinstance(layer, DecoderLayerSpec)]
    if not decoders or not hasattr(family, "config_of"):
        return "it holds language models of decoder layers"
    if subject.quantized:
        return "its weights are integers of a policy; llama.cpp has schemes of its own"
    try:
        config: dict[str, Any] = family.config_of(subject.layers)
    except CheckpointError as error:
        return str(error)
    if (lacking := without_a_half(decoders)) is not None:
        return f"{lacking}, and {WRITES}; huggingface writes it with zeros there, which give the same answers"
    first = decoders[0]
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        return f"llama.cpp's llamas have the activation silu, and this network {config['hidden_act']}"
    if config["model_type"] == "qwen3" and (first.qkv_bias or first.output_bias):
        return "llama.cpp's qwen3 has no biases"
    window, most = max(layer.window for layer in decoders), config.get("max_position_embeddings", 0)
    if window and window < most:
        return f"llama.cpp reads no sliding window of such models, and this one sees {window} of {most} tokens"
    return _rotary(json.loads(first.config))


def _rotary(config: dict[str, Any]) -> str | None:
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in ROTARY:
        return f"its rotary scaling {kind!r} is not one that this writer knows; known: {', '.join(ROTARY)}"
    own = [key for key in ("attention_factor", "mscale", "mscale_all_dim", "truncate") if given.get(key) is not None]
    if kind == "yarn" and own:
        return f"its rotary scaling says {own[0]!r}, which llama.cpp works out by itself"
    return None
