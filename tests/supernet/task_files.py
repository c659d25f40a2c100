"""Task files of lm-evaluation-harness with data beside them: small ones, and those that the harness brings along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

WORDS = (
    *("the", "of", "river", "stone", "Paris", "green", "seven", "quick", "brown", "fox", "jumps", "over"),
    *("lazy", "dog", "Ünïcode,", "42", "water's", "end"),
)
# What a task file must say; `quiz` adds where its data is.
QUIZ: dict[str, Any] = {
    "task": "quiz",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
}


def sentence(rng: np.random.Generator, least: int = 1, most: int = 9) -> str:
    """A few words in any order."""
    return " ".join(rng.choice(WORDS, int(rng.integers(least, most + 1))))


def documents(seed: int, count: int = 36) -> list[dict[str, Any]]:
    """Questions with two to five choices of different lengths; the right one is anywhere."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        choices = [sentence(rng) for _ in range(rng.integers(2, 6))]
        rows.append({"question": sentence(rng, 3, 12), "choices": choices, "answer": int(rng.integers(len(choices)))})
    return rows


def write_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    """JSON lines; returns the path."""
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return str(path)


def write_task(folder: Path, name: str = "quiz", rows: list[dict[str, Any]] | None = None, **parts: Any) -> Path:
    """A task file on JSON lines; `parts` go over `QUIZ`, and None leaves a key out."""
    data = write_lines(folder / f"{name}.jsonl", documents(0) if rows is None else rows)
    config = {**QUIZ, "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": data}}, **parts}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in config.items() if value is not None}))
    return path


def bundled(folder: Path, source: str, rows: list[dict[str, Any]], split: str, extra: str = "", **parts: Any) -> Path:
    """One of the harness's own task files on data of this machine, as a user would adapt it: by including it.

    Args:
        source: path in the harness's folder of tasks; the files beside it are copied, too.
        rows: with the columns of the data set that it names.
        split: what the file calls the split that it asks.
        extra: the split of few-shot examples, the first six rows.
    """
    import lm_eval.tasks

    theirs = Path(lm_eval.tasks.__file__).parent / source
    own = folder / theirs.parent.name
    if not own.exists():
        shutil.copytree(theirs.parent, own, ignore=shutil.ignore_patterns("__pycache__"))
    name = f"local_{theirs.parent.name}_{theirs.stem}"
    files = {split: write_lines(own / f"{name}.jsonl", rows[6:])}
    if extra:
        files[extra] = write_lines(own / f"{name}-{extra}.jsonl", rows[:6])
    config = {"include": theirs.name, "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    path = own / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**config, "dataset_name": None, **parts}))
    return path


def adapted(folder: Path) -> list[Path]:
    """ARC, PIQA, HellaSwag, MMLU, WinoGrande and BoolQ of the harness, with and without few-shot examples."""
    rng = np.random.default_rng(1)

    def made(row: Any) -> list[dict[str, Any]]:
        return [row() for _ in range(36)]

    def arc() -> dict[str, Any]:
        count = int(rng.integers(3, 6))
        choices = {"text": [sentence(rng) for _ in range(count)], "label": list("ABCDE"[:count])}
        return {"question": sentence(rng), "choices": choices, "answerKey": "ABCDE"[rng.integers(count)]}

    def piqa() -> dict[str, Any]:
        sentences = {key: sentence(rng) for key in ("goal", "sol1", "sol2")}
        return {**sentences, "label": int(rng.integers(2))}

    def hellaswag() -> dict[str, Any]:
        texts = {key: sentence(rng) for key in ("activity_label", "ctx_a", "ctx_b")}
        endings = [f"{sentence(rng)} [substeps] {sentence(rng)}" for _ in range(4)]
        return {**texts, "endings": endings, "label": str(rng.integers(4))}

    def mmlu() -> dict[str, Any]:
        return {
            "question": f" {sentence(rng)} ",
            "choices": [sentence(rng) for _ in range(4)],
            "answer": int(rng.integers(4)),
        }

    def winogrande() -> dict[str, Any]:
        options = {"option1": sentence(rng), "option2": sentence(rng), "answer": str(rng.integers(1, 3))}
        return {"sentence": f"{sentence(rng)} _ {sentence(rng)}", **options}

    def boolq() -> dict[str, Any]:
        return {"passage": sentence(rng, 5, 30), "question": sentence(rng), "label": int(rng.integers(2))}

    return [
        bundled(folder, "arc/arc_easy.yaml", made(arc), "test", training_split=None, validation_split=None),
        bundled(folder, "piqa/piqa.yaml", made(piqa), "validation", "train", num_fewshot=3),
        bundled(folder, "hellaswag/hellaswag.yaml", made(hellaswag), "validation", "train", num_fewshot=2),
        bundled(folder, "mmlu/default/mmlu_anatomy.yaml", made(mmlu), "test", "dev", num_fewshot=5),
        bundled(folder, "winogrande/default.yaml", made(winogrande), "validation", "train", num_fewshot=1),
        bundled(folder, "super_glue/boolq/default.yaml", made(boolq), "validation", training_split=None),
    ]
