"""What the export format `huggingface` is, and which networks can have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_space.checkpoint import CheckpointError
from search_space.plugins import FAMILIES

if TYPE_CHECKING:
    from job.formats import Subject

MEANING = (
    "A folder that transformers' `from_pretrained` loads without remote code: config.json, safetensors, tokenizer."
)

WHEN_ASKED = True

LOADS = """
from transformers import AutoConfig, AutoModel
# or AutoModelForCausalLM, AutoModelForSequenceClassification, AutoModelForImageClassification: see config.json
model = AutoModel.from_pretrained("huggingface")
"""


def refusal(subject: Subject) -> str | None:
    """Why transformers has no class for a network; None: it has one."""
    family = FAMILIES.load(subject.space.split("/")[0])
    if not hasattr(family, "config_of"):
        return "transformers has no class of such networks"
    if subject.quantized:
        return "its weights are integers of a policy, and this folder holds floating-point weights"
    try:
        family.config_of(subject.layers, subject.facts.get("checkpoint"))
    except CheckpointError as error:
        return str(error)
    return None
