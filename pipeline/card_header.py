"""The head of a model card, as the Hugging Face Hub reads it: licence, base model, data, metrics; and the paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from job.spec import JobSpec
from plugins.kinds import RECIPES
from search_space.joined import PARTS
from supernet.data import Dataset

UNKNOWN = "other"
TASKS = {
    "llama": "text-generation",
    "bert": "text-classification",
    "two_tower": "zero-shot-image-classification",
    "multiway": "visual-question-answering",
}
# How recipes name the paper that they are of, at the beginning of their text.
PAPER = re.compile(r"(?P<name>[^\n(]+) \(arXiv (?P<number>\d{4}\.\d{4,5})\)")
# A licence is a word of the Hub's list.
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")


def licence_of(spec: JobSpec) -> str | None:
    """The licence that the checkpoint's own card names; None where it names none, or several name different ones."""
    found = {_licence(Path(folder) / "README.md") for folder in spec.supernet.folders}
    return found.pop() if len(found) == 1 else None


def _licence(card: Path) -> str | None:
    if not card.is_file():
        return None
    with card.open(encoding="utf-8", errors="replace") as file:
        text = file.read(1 << 16)
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    try:
        said = yaml.safe_load(head.group(1)) if head else None
    except yaml.YAMLError:
        return None
    found = said.get("license") if isinstance(said, dict) else None
    return found if isinstance(found, str) and WORD.fullmatch(found) else None


def card_header(spec: JobSpec, data: Dataset, formats: Sequence[str]) -> str:
    """The YAML between two lines of dashes."""
    checkpoint = spec.supernet.checkpoint or {}
    own = spec.supernet.folders
    said: dict[str, Any] = {
        "license": licence_of(spec) or UNKNOWN,
        "library_name": "transformers" if "huggingface" in formats else "pytorch",
        "pipeline_tag": TASKS.get(spec.supernet.family, "image-classification"),
        "tags": ["winnow", "neural-architecture-search", *formats],
        "datasets": [spec.data.source],
        "metrics": [data.metric],
    }
    configs = checkpoint.get(PARTS) or [checkpoint]
    names = [str(one.get("_name_or_path") or Path(folder).name) for one, folder in zip(configs, own, strict=False)]
    if names:
        said["base_model"] = names if len(names) > 1 else names[0]
    return f"---\n{yaml.safe_dump(said, sort_keys=False, allow_unicode=True)}---\n\n"


def cited(spec: JobSpec) -> list[str]:
    """The paper that a job's recipe is of, as lines of Markdown; none where the recipe names none."""
    name = spec.recipe.value
    paper = PAPER.match(RECIPES.load(name).__doc__ or "")
    if paper is None:
        return [f"Winnow's recipe `{name}`, with the options below."]
    link = f"[arXiv:{paper['number']}](https://arxiv.org/abs/{paper['number']})"
    return [f"Winnow's recipe `{name}`, with the options below. To be cited: {paper['name']}, {link}."]
