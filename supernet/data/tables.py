"""Tables: what Hugging Face's `datasets` can load, its parts, and which column is what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from supernet.data.errors import DataError
from supernet.data.labels import LABEL_NAMES, refuse_lists
from supernet.data.parts import TEST, TRAIN, VALIDATION, chosen_parts

FILES = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
# A word such as NA or null is a word; an empty cell is none.
CSV = {"keep_default_na": False, "na_values": [""]}
TSV = {**CSV, "sep": "\t", "quoting": 3}
# Columns of conversations, by their names.
CONVERSATIONS = ("messages", "conversations", "conversation")
UNLABELLED_TEXTS = (
    " If one holds labels, name it in data.label; questions with answers are for data source 'instructions'."
)


class PartWords(Protocol):
    """Options that say where a source's parts lie and what they are called."""

    @property
    def path(self) -> str: ...

    @property
    def train_split(self) -> str | None: ...

    @property
    def validation_split(self) -> str | None: ...

    @property
    def test_split(self) -> str | None: ...


class TableWords(PartWords, Protocol):
    """Options of every source that reads tables."""

    @property
    def config(self) -> str | None: ...


def table_parts(words: TableWords) -> tuple[dict[str, Any], dict[str, str]]:
    """The parts of a data set by role, and their own names.

    Raises:
        DataError: it cannot be loaded, or two of its parts could have one role.
    """
    import datasets

    loaded = _loaded(words)
    if isinstance(loaded, datasets.Dataset):
        return {TRAIN: loaded}, {TRAIN: "the whole of it"}
    asked = {TRAIN: words.train_split, VALIDATION: words.validation_split, TEST: words.test_split}
    names = [str(name) for name in loaded]
    where = f"the data set {words.path!r}"
    chosen = chosen_parts(names, asked, where, prefix=True)
    if TRAIN not in chosen:
        if len(names) != 1:
            raise DataError(
                f"The data set {words.path!r} has no train split; it has {', '.join(names)}. Name one in "
                "data.train_split."
            )
        chosen = {TRAIN: names[0]}
    return {role: loaded[name] for role, name in chosen.items()}, chosen


def _loaded(words: TableWords) -> Any:
    import datasets

    path = Path(words.path).expanduser()
    datasets.disable_progress_bars()
    try:
        if path.is_dir() and ((path / "dataset_dict.json").is_file() or (path / "state.json").is_file()):
            return datasets.load_from_disk(str(path))
        if not path.is_file():
            return _of_folder(path, words) if path.is_dir() else datasets.load_dataset(words.path, words.config)
        suffix = Path(path.stem).suffix.lower() if path.suffix in COMPRESSED else path.suffix.lower()
        if suffix not in FILES:
            raise DataError(f"data.path is {words.path!r}; known files are {', '.join(FILES)}.")
        how: dict[str, Any] = {".csv": CSV, ".tsv": TSV}.get(suffix, {})
        loaded = datasets.load_dataset(FILES[suffix], data_files=str(path), **how)
        if how:
            _check_header(loaded["train"], words.path)
        return loaded
    except DataError:
        raise
    except Exception as error:  # datasets, fsspec, pyarrow and the Hub have dozens of their own
        cause: BaseException = error
        while cause.__cause__ is not None:  # `datasets` wraps what was wrong with a file
            cause = cause.__cause__
        first = str(cause).strip().split("\n")[0]
        raise DataError(f"The data set {words.path!r} cannot be loaded: {type(cause).__name__}: {first}") from error


def _of_folder(path: Path, words: TableWords) -> Any:
    """A folder; its tables, where it holds nothing else, are read as single ones are."""
    import datasets

    suffixes = {name.suffix.lower() for name in path.iterdir() if name.is_file() and not name.name.startswith(".")}
    data = suffixes - {"", ".md", ".txt", ".yaml"}
    if not data or not data <= {".csv", ".tsv"} or any(entry.is_dir() for entry in path.iterdir()):
        return datasets.load_dataset(words.path, words.config)
    how: dict[str, Any] = CSV if ".csv" in data else {key: TSV[key] for key in (*CSV, "quoting")}
    loaded = datasets.load_dataset(words.path, words.config, **how)
    for rows in loaded.values():
        _check_header(rows, words.path)
    return loaded


def _check_header(rows: Any, path: str) -> None:
    """Refuse a table whose first line is an example: its cells are numbers, or stand below as well.

    Raises:
        DataError: there is no line of names.
    """
    for name in rows.features:
        if _is_number(name) or name in {str(value) for value in rows[name][:]}:
            raise DataError(
                f"The first line of {path!r} looks like an example, and not like names of columns. Put a line of names "
                "before it, or use data source 'labelled_text'."
            )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


# --- columns ------------------------------------------------------------------------------------


def is_text(feature: Any) -> bool:
    """Whether a column holds strings."""
    return getattr(feature, "dtype", None) in ("string", "large_string")


def is_list(feature: Any) -> bool:
    """Whether a column holds lists."""
    import datasets

    kinds = tuple(getattr(datasets, name) for name in ("Sequence", "List", "LargeList") if hasattr(datasets, name))
    classes = tuple(kind for kind in kinds if isinstance(kind, type))
    return isinstance(feature, (list, *classes))


def columns_of(features: Mapping[str, Any], asked: Mapping[str, str | None], where: str) -> dict[str, str]:
    """The column of each role of `image`, `text` and `label`: asked for, or the only one that it can be.

    Raises:
        DataError: a column is missing, or two could have one role.
    """
    import datasets

    found: dict[str, str] = {}
    for role, column in asked.items():
        if column is not None:
            if column not in features:
                raise DataError(f"{where} has no column {column!r}; its columns are {', '.join(features)}.")
            found[role] = column
    left = {name: feature for name, feature in features.items() if name not in found.values()}
    labels = [
        name
        for name, feature in left.items()
        if isinstance(feature, datasets.ClassLabel) or name.casefold() in LABEL_NAMES
    ]
    images = [name for name, feature in left.items() if isinstance(feature, datasets.Image)]
    texts = [name for name, feature in left.items() if is_text(feature) and name not in labels]
    if "image" not in found and "text" not in found and images:
        found["image"] = _only(images, "image", "hold images", where)
    if "label" not in found and labels:
        found["label"] = _only(labels, "label", "may be labels", where)
    if "image" not in found and "text" not in found:
        conversation = [name for name in features if name.casefold() in CONVERSATIONS]
        if texts and not conversation:
            unlabelled = "" if "label" in found else UNLABELLED_TEXTS
            found["text"] = _only(texts, "text", "hold text", where, unlabelled)
        else:
            hint = "Name one in data.image or data.text."
            if conversation:
                hint = "For conversations use data source 'instructions'."
            raise DataError(f"{where} has neither images nor text; its columns are {', '.join(features)}. {hint}")
    if "image" in found and "label" not in found:
        raise DataError(f"{where} has images but no label; name its column in data.label.")
    if "label" in found and is_list(features[found["label"]]):
        raise refuse_lists(repr(found["label"]), where)
    return found


def _only(candidates: Sequence[str], role: str, what: str, where: str, hint: str = "") -> str:
    if len(candidates) > 1:
        listed = ", ".join(candidates)
        raise DataError(f"Several columns of {where} {what}: {listed}. Name one in data.{role}.{hint}")
    return candidates[0]


def label_words(rows: Any, column: str) -> list[str | None]:
    """Labels of a part as words; None where there is none: nothing, NaN, or -1 of a column of classes."""
    import datasets

    feature, values = rows.features[column], rows[column][:]
    if isinstance(feature, datasets.ClassLabel):
        names = feature.names
        return [names[value] if value is not None and 0 <= value < len(names) else _other(value) for value in values]
    return [None if value is None or value != value else str(value) for value in values]


def _other(value: int | None) -> str | None:
    """A number that a column of classes has no name for: nothing for the -1 of rows without a label."""
    return None if value is None or value == -1 else str(value)


def all_unlabelled(rows: Any, column: str, trained: set[str]) -> str | None:
    """Why a part is none, where none of its rows has a label; None if some have.

    Args:
        trained: the labels of the training part.
    """
    if column not in rows.features:
        return f"it has no column {column!r}"
    words = label_words(rows, column)
    if all(word is None for word in words):
        return "none of its rows has a label (-1 or nothing)"
    if "-1" not in trained and all(word in (None, "-1") for word in words):
        return "all of its labels are -1, which stands for no label"
    return None


def numbers_of(words: Sequence[str], classes: Sequence[str], where: str, what: str) -> np.ndarray:
    """Labels as numbers from 0, shape (N,), int64.

    Raises:
        DataError: some are none of the classes.
    """
    known = {label: i for i, label in enumerate(classes)}
    strange = sorted({word for word in words if word not in known})
    if strange:
        raise DataError(
            f"{what.capitalize()} labels of {where} are out of range: {', '.join(strange[:5])}. "
            f"The classes are {', '.join(classes[:20])}."
        )
    return np.array([known[word] for word in words], dtype=np.int64)
