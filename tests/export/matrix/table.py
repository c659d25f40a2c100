"""Which family can have which format, with the reason where it cannot: what docs/formats.md says.

`python -m tests.export.matrix.table` prints the table.
"""

from __future__ import annotations

from functools import cache

from job.formats import refusal
from plugins.kinds import FORMATS
from tests.export.random_networks import subjects_of_spec

# Checkpoints of the types that people bring, one of each; the folder's name of a type is its `model_type`.
_BROUGHT = (
    "gemma", "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "granite", "gpt2", "gpt_neox", "mixtral", "qwen3_moe",
    "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "modernbert", "deit", "dinov2", "dinov2-registers",
    "beit", "convnext", "convnextv2", "mobilenet_v2", "efficientnet",
)  # fmt: skip
# A network of each kind: of a checkpoint's type, or of a preset.
ROWS = {
    "llama": "llama",
    "mistral": "mistral",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "bert": "bert",
    "vit": "vit",
    "vit (AutoFormer)": "vit/autoformer_tiny",
    "resnet (ImageNet)": "resnet/resnet50",
    "resnet (CIFAR)": "resnet/cifar",
    "mobilenet": "mobilenet/digits",
    "proxyless": "proxyless/cifar",
    **dict(zip(_BROUGHT, _BROUGHT, strict=True)),
    "resnet (torchvision)": "torchvision/resnet18",
    "mobilenet_v3 (torchvision)": "torchvision/mobilenet_v3_small",
    "efficientnet (timm)": "timm/efficientnet_b0",
    "clip": "clip",
    "siglip": "siglip",
    "beit3 (image and text)": "beit3_retrieval",
    "beit3 (VQA)": "beit3_vqa",
    "stitched (vit)": "stitched/cifar",
}
# One name in the table for one format.
LEFT_OUT = ("safetensors",)


def formats() -> list[str]:
    """Columns."""
    return [name for name in FORMATS.built_in() if name not in LEFT_OUT]


@cache
def answer(name: str, column: str) -> str:
    """`yes`, `alike` (the largest network has it; one whose layers differ may not), or a dash."""
    smallest, largest, drawn = (refusal(column, subject) is None for subject in subjects_of_spec(ROWS[name]))
    if smallest and drawn:
        return "yes"
    return "alike" if largest else "–"


def table() -> str:
    """Markdown: a row for each kind of network, a column for each format."""
    lines = [f"| network | {' | '.join(f'`{name}`' for name in formats())} |", "|---|" + "---|" * len(formats())]
    for name in ROWS:
        lines.append(f"| {name} | {' | '.join(answer(name, column) for column in formats())} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201 - a command
