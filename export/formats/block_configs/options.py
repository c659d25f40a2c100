"""What the export format `block_configs` is, and which networks can have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search_space.checkpoint import CheckpointError
from search_space.layers import DecoderLayerSpec
from search_space.plugins import FAMILIES

if TYPE_CHECKING:
    from job.formats import Subject

MEANING = "Llamas whose layers differ, as `nemotron-nas` with `block_configs`, for vLLM, SGLang and TensorRT-LLM."

WHEN_ASKED = True

LOADS = """
vllm serve ./block_configs --trust-remote-code
"""


def refusal(subject: Subject) -> str | None:
    """Why those engines cannot run a network; None: they can."""
    family = FAMILIES.load(subject.space.split("/")[0])
    decoders = [layer for layer in subject.layers.values() if isinstance(layer, DecoderLayerSpec)]
    if not decoders or not hasattr(family, "config_of"):
        return "it holds language models of decoder layers"
    if subject.quantized:
        return "its weights are integers of a policy, and this folder holds floating-point weights"
    try:
        config: dict[str, Any] = family.config_of(subject.layers)
    except CheckpointError as error:
        return str(error)
    first = decoders[0]
    if not first.heads:
        return "its first layer has no attention, and engines read from the first layer how attention is stored"
    if config["model_type"] not in ("llama", "mistral"):
        return f"block_configs describes llamas, and this network is a {config['model_type']}"
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        return f"its activation is {config['hidden_act']}, and engines compute silu"
    if any(layer.window for layer in decoders):
        return "engines read no sliding window of such models"
    most = max(layer.heads for layer in decoders)
    if first.embed % first.head_dim or most * first.head_dim > first.embed:
        return (
            f"heads of {first.head_dim} numbers do not fill a hidden size of {first.embed}, as engines take for granted"
        )
    return None
