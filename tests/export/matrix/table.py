"""Which family can have which format, with the reason where it cannot: what docs/formats.md says.

`python -m tests.export.matrix.table` prints the table.
"""

from __future__ import annotations

from job.formats import Subject, refusal
from plugins.kinds import FORMATS
from tests.export.random_networks import subject_of_spec

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
}
# One name in the table for one format.
LEFT_OUT = ("safetensors",)


def formats() -> list[str]:
    """Columns."""
    return [name for name in FORMATS.built_in() if name not in LEFT_OUT]


def subject(name: str) -> Subject:
    """The smallest network of a row's space."""
    return subject_of_spec(ROWS[name])


def table() -> str:
    """Markdown: a row for each kind of network, a column for each format."""
    lines = [f"| network | {' | '.join(f'`{name}`' for name in formats())} |", "|---|" + "---|" * len(formats())]
    for name in ROWS:
        able = ["yes" if refusal(column, subject(name)) is None else "–" for column in formats()]
        lines.append(f"| {name} | {' | '.join(able)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201 - a command
