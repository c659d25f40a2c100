"""What data are: found out from names of files, never from what is in them; whoever reads them checks that."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from job.data_spec import DataSpec
from job.paths import POLICY
from job.shrink.decisions import Decision, Undecided
from plugins.kinds import SOURCES
from supernet.data.errors import DataError
from supernet.data.folders import PICTURES, is_hidden
from supernet.data.image_layout import Layout
from supernet.data.options import DataKind
from supernet.data.parts import TEST, TRAIN, VALIDATION
from supernet.data.sources.images.options import ImagesOptions

TABLES = frozenset({".tsv", ".csv"})
DATASETS = frozenset({".jsonl", ".json", ".parquet", ".arrow"})
TEXTS = frozenset({".txt"})
KINDS: dict[str, frozenset[str]] = {"images": PICTURES, "tables": TABLES, "records": DATASETS, "plain text": TEXTS}
# Files that are looked at, which are enough to know what lies there.
LOOKED_AT = 20_000


@dataclass(frozen=True, slots=True)
class Data:
    """A data source, where it reads, and what was found out.

    Attributes:
        kind: what it holds; None where its columns decide.
        classes: folders of images that are classes; None where that is not known without reading.
        examples: files of images; None where that is not known without reading.
        parts: files of images of each part of the folder, by its role; empty where that is not known.
    """

    source: str
    path: Path | None
    kind: DataKind | None
    classes: int | None
    examples: int | None
    decisions: tuple[Decision, ...]
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """The data part of a job."""
        return {"source": self.source, **({} if self.path is None else {"path": str(self.path)})}


def read_data(text: str) -> Data:
    """Find out what data are.

    Raises:
        Undecided: no such file, nothing in it that a source reads, or two kinds of files.
        PathRefused: it is not open to jobs.
    """
    if not text.startswith(("/", "~")):
        return _built_in(text)
    policy = POLICY.get()
    if policy is not None:
        policy.check(text, "data.path")
    path = Path(text).expanduser()
    if not path.exists():
        raise Undecided(f"There is no {text}; give a file or folder of data, or a built-in set such as digits.")
    counts, looked = _kinds(path)
    if not counts:
        known = ", ".join(sorted(suffix for suffixes in KINDS.values() for suffix in suffixes))
        raise Undecided(f"{text} holds no file that a data source reads. Known are {known}, and those with .gz behind.")
    if len(counts) > 1:
        found = " and ".join(f"{number:,} files of {kind}" for kind, number in counts.most_common())
        raise Undecided(
            f"{text} holds {found}; say which are the data: name their folder or file, or a source in data.source."
        )
    kind = next(iter(counts))
    return _of_kind(kind, path, counts[kind], whole=looked < LOOKED_AT)


def validation_samples(data: Data, options: DataSpec) -> int | None:
    """About how many samples the search ranks on; None where that is not known without reading.

    Args:
        options: the data part of the job.
    """
    share: float = getattr(options, "validation_share", 0.0)
    if data.path is None:
        learned = options.likely_examples(0)
        return None if learned is None else round(learned * share / (1 - share))
    if TRAIN not in data.parts or options.source != "images":
        return None
    if VALIDATION in data.parts:
        return data.parts[VALIDATION]
    left = data.parts[TRAIN]
    if TEST not in data.parts:
        left -= round(left * getattr(options, "test_share", 0.0))
    return round(min(left, getattr(options, "limit", None) or left) * share)


def _built_in(text: str) -> Data:
    options = SOURCES.every_options()
    without_path = [name for name, module in options.items() if "path" not in module.OPTIONS.model_fields]
    if text not in without_path:
        raise Undecided(
            f"{text!r} is neither an absolute path nor data that need none ({', '.join(without_path)}). "
            "Give the path that API and workers see."
        )
    kind = options[text].OPTIONS.kind
    return Data(text, None, kind, None, None, ())


def _of_kind(kind: str, path: Path, files: int, *, whole: bool) -> Data:
    told = f"{'' if whole else 'at least '}{files:,} files of {kind}"

    def said(source: str) -> tuple[Decision, ...]:
        return (Decision("data", source, told, "data.source"),)

    if kind == "images":
        try:
            layout = Layout.of(path, ImagesOptions(path=str(path))) if path.is_dir() else None
            classes = 0 if layout is None else len(layout.classes())
        except DataError as error:
            raise Undecided(f"{path} holds images, and one folder for each class is needed: {error}") from None
        if not classes:
            raise Undecided(f"{path} is one image; one folder for each class is needed.")
        parts = _parts(layout) if layout is not None and whole else {}
        return Data("images", path, "image", classes, files if whole else None, said("images"), parts)
    if kind == "tables":
        return Data("labelled_text", path, "labelled text", None, None, said("labelled_text"))
    if kind == "records":
        return Data("huggingface", path, None, None, None, said("huggingface"))
    return Data("text", path, "text", None, None, said("text"))


def _parts(layout: Layout) -> dict[str, int]:
    """Files of images of each part, by its role; the folders of other parts are none of the training's."""
    found = {role: _kinds(folder)[0]["images"] for role, folder in layout.folders.items()}
    if layout.folders[TRAIN] == layout.root:
        found[TRAIN] -= sum(count for role, count in found.items() if role != TRAIN)
    return found


def _kinds(path: Path) -> tuple[Counter[str], int]:
    """Files of every kind, and how many were looked at."""
    counts: Counter[str] = Counter()
    looked = 0
    for name in _names(path):
        looked += 1
        plain = name.removesuffix(".gz")
        suffix = Path(plain).suffix.lower()
        counts.update(kind for kind, suffixes in KINDS.items() if suffix in suffixes)
        if looked >= LOOKED_AT:
            break
    return counts, looked


def _names(path: Path) -> Iterator[str]:
    if path.is_file():
        yield path.name
        return
    for _, folders, files in os.walk(path):
        folders[:] = sorted(folder for folder in folders if not is_hidden(folder))
        yield from (name for name in sorted(files) if not is_hidden(name))
