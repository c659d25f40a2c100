"""Tables of images with texts: csv, tsv, json lines or parquet, which name files beside them or hold the images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from supernet.data.dataset import DataError
from supernet.data.decoding import Encoded, Item
from supernet.data.image_pairs import Captioned, PairPart, PairTables
from supernet.data.images import need, stamp
from supernet.data.inventory import NAMED
from supernet.data.labels import LABEL_NAMES, are_whole_floats, check_classes, refuse_lists, whole
from supernet.data.parts import TEST, TRAIN, VALIDATION, files_of_parts
from supernet.data.tables import FILES, PartWords, is_list, label_words, table_parts
from supernet.data.text import NULL_LABEL, NULL_TEXT, class_names

EXAMPLE = "a table of image files and texts (.csv, .tsv, .jsonl or .parquet), or a folder with train and test of them"
# A table of this name describes the images of its folder, as `datasets` and many copies of COCO call it.
ALSO_TRAIN = ("metadata", "captions", "pairs")
# Files by which `datasets` knows a folder that it has saved.
SAVED = ("dataset_dict.json", "state.json")
# Columns by their names, where nobody says which they are.
IMAGES = ("image", "file_name", "filename", "file", "image_path", "filepath", "path")
TEXTS = ("text", "caption", "captions", "texts", "sentence", "sentences")
QUESTIONS, ANSWERS = (*TEXTS, "question"), (*LABEL_NAMES, "answer")


class PairTableWords(PartWords, Protocol):
    """Options of every source that reads such tables."""

    @property
    def image(self) -> str | None: ...

    @property
    def text(self) -> str | None: ...

    @property
    def label(self) -> str | None: ...


# Which column has which role, of a table with these features, which is named in messages.
ColumnsOf: TypeAlias = Callable[[PairTableWords, Mapping[str, Any], str], dict[str, str]]


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of one part, and where they come from.

    Attributes:
        folder: folder of the files that they name.
    """

    rows: Any
    where: str
    folder: Path
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Words:
    """What `table_parts` is asked for."""

    path: str
    config: str | None = None
    train_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None


@dataclass(slots=True)
class _Rows:
    """Rows of a part as they are gathered.

    Attributes:
        contents: rows that hold images, by the image.
        known: digests of those, with the names of the first rows that have them.
    """

    images: dict[str, Captioned] = field(default_factory=dict)
    nulls: list[tuple[str, str]] = field(default_factory=list)
    contents: dict[str, int] = field(default_factory=dict)
    known: dict[bytes, str] = field(default_factory=dict)


def read_pairs(words: PairTableWords) -> PairTables:
    """Images with their texts; a label, where a column of them is named, is the image's.

    Raises:
        DataError: a missing column, an image outside of the folder or of two classes, no such files.
    """
    tables, names, columns = _tables(words, _columns_of_pairs)
    return PairTables({role: _part(table, role, of_pairs=False) for role, table in tables.items()}, names, columns)


def read_labelled_pairs(words: PairTableWords) -> PairTables:
    """The same where every pair has a class of its own.

    Raises:
        DataError: also labels that are no classes, or a label of another part that no training pair has.
    """
    tables, names, columns = _tables(words, _columns_of_labelled)
    parts = {role: _part(table, role, of_pairs=True) for role, table in tables.items()}
    column, where = repr(columns["label"]), tables[TRAIN].where
    trained = [label for one in parts[TRAIN].captioned for label in one.answers]
    check_classes(trained, column, where)
    if are_whole_floats(trained):
        parts = {role: part.renamed(whole) for role, part in parts.items()}
    classes = class_names([label for one in parts[TRAIN].captioned for label in one.answers])
    for role, part in parts.items():
        _check_known(part, classes, column, tables[role].where)
    return PairTables(parts, names, columns, classes)


def _check_known(part: PairPart, classes: Sequence[str], column: str, where: str) -> None:
    """Refuse labels that no training pair has."""
    known = set(classes)
    strange = sorted({label for one in part.captioned for label in one.answers if label not in known})
    if strange:
        some = ", ".join(strange[:NAMED]) + (", ..." if len(strange) > NAMED else "")
        raise DataError(
            f"Column {column} of {where} has labels that no training pair has: {some}. The classes are "
            f"{', '.join(classes[:20])}. Remove those pairs, or add such pairs to the training part."
        )


# --- tables and columns -----------------------------------------------------------------------------------


def _tables(
    words: PairTableWords, columns_of: ColumnsOf
) -> tuple[dict[str, _Table], Mapping[str, str], Mapping[str, str]]:
    """The table of each part, their names, and the columns, which are those of the first."""
    path = need(words.path, EXAMPLE)
    asked = {TRAIN: words.train_split, VALIDATION: words.validation_split, TEST: words.test_split}
    if path.is_dir() and _is_saved(path):
        splits = {f"{role}_split": name for role, name in asked.items()}
        parts, names = table_parts(_Words(str(path), **splits))
        found = {role: (rows, f"the {role} part of {path}", path) for role, rows in parts.items()}
    else:
        files, names = files_of_parts(path, asked, tuple(FILES), EXAMPLE, also_train=ALSO_TRAIN)
        found = {
            role: (table_parts(_Words(str(file)))[0][TRAIN], str(file), file.parent) for role, file in files.items()
        }
    rows, where, _ = found[TRAIN]
    columns = columns_of(words, rows.features, where)
    for rows, where, _ in found.values():
        lacking = [name for name in columns.values() if name not in rows.features]
        if lacking:
            raise DataError(f"{where} has no column {lacking[0]!r}; its columns are {', '.join(rows.features)}.")
    return {role: _Table(*table, columns) for role, table in found.items()}, names, columns


def _is_saved(path: Path) -> bool:
    """Whether `datasets` reads a folder as a whole: it has saved it, or tables lie in folders of it alone."""
    if any((path / name).is_file() for name in SAVED):
        return True
    beside = any(entry.suffix.lower() in FILES for entry in path.iterdir() if entry.is_file())
    return not beside and any(one.suffix == ".parquet" for one in path.glob("*/*"))


def _columns_of_pairs(words: PairTableWords, features: Mapping[str, Any], where: str) -> dict[str, str]:
    found = {
        "image": _column("image", words.image, IMAGES, features, where),
        "text": _column("text", words.text, TEXTS, features, where),
    }
    if words.label is not None:
        found["label"] = _column("label", words.label, (), features, where)
    return found


def _columns_of_labelled(words: PairTableWords, features: Mapping[str, Any], where: str) -> dict[str, str]:
    found = {
        "image": _column("image", words.image, IMAGES, features, where),
        "text": _column("text", words.text, QUESTIONS, features, where),
        "label": _column("label", words.label, ANSWERS, features, where),
    }
    if is_list(features[found["label"]]):
        raise refuse_lists(repr(found["label"]), where)
    return found


def _column(role: str, asked: str | None, known: Sequence[str], features: Mapping[str, Any], where: str) -> str:
    if asked is not None:
        if asked not in features:
            raise DataError(f"{where} has no column {asked!r}; its columns are {', '.join(features)}.")
        return asked
    candidates = [name for name in features if name.casefold() in known]
    if len(candidates) != 1:
        what = "no column" if not candidates else f"columns {', '.join(candidates)}"
        listed = ", ".join(features)
        raise DataError(
            f"{where} has {what} that may be its {role}; its columns are {listed}. Name one in data.{role}."
        )
    return candidates[0]


# --- rows -------------------------------------------------------------------------------------------------


def _part(table: _Table, role: str, *, of_pairs: bool) -> PairPart:
    """The images of a table, each once, with all their texts.

    Args:
        of_pairs: whether labels are those of pairs; else they are of images.
    """
    import datasets

    rows, columns = table.rows, table.columns
    raw = rows
    if isinstance(rows.features[columns["image"]], datasets.Image):
        raw = rows.cast_column(columns["image"], datasets.Image(decode=False))
    labels = label_words(rows, columns["label"]) if "label" in columns else [None] * len(raw)
    found = _Rows()
    for number in range(len(raw)):
        row = raw[number]
        where = f"{role} row {number + 1}"
        image = row[columns["image"]]
        content = image.get("bytes") if isinstance(image, Mapping) else None
        if content is None:
            key = _file_of(image, table, where)
        else:
            key = found.known.setdefault(hashlib.blake2b(content, digest_size=16).digest(), where)
        texts = tuple(text for text in _texts(row[columns["text"]]) if text.strip())
        label = labels[number]
        if not texts or (of_pairs and label is None):
            found.nulls.append((NULL_TEXT if not texts else NULL_LABEL, where))
            continue
        known = found.images.get(key, Captioned(key, (), None if of_pairs else label))
        if not of_pairs and known.label != label:
            raise DataError(f"{table.where} gives image {key} two classes, {known.label} and {label} ({where}).")
        answers = (*known.answers, *[str(label)] * len(texts)) if of_pairs else ()
        found.images[key] = Captioned(key, (*known.texts, *texts), known.label, answers)
        if content is not None:
            found.contents.setdefault(key, number)
    return PairPart(_encoded(found, raw, table), tuple(found.images.values()), len(raw), tuple(found.nulls))


def _encoded(found: _Rows, raw: Any, table: _Table) -> Encoded:
    """The images before they are decoded; their labels are their places."""
    keys, contents, columns = list(found.images), found.contents, table.columns

    def original(place: int) -> tuple[str, bytes | Path]:
        key = keys[place]
        if key in contents:
            image = raw[contents[key]][columns["image"]]
            return key, image["bytes"]
        return key, table.folder / key

    def items() -> Iterator[Item]:
        for place in range(len(keys)):
            yield *original(place), place

    def identity() -> Iterator[object]:
        yield from (table.rows._fingerprint, columns["image"], columns["text"])
        yield from (stamp(table.folder / key) for key in keys if key not in contents)

    return Encoded(items, len(keys), identity, original)


def _file_of(image: Any, table: _Table, where: str) -> str:
    """The file that a row names.

    Raises:
        DataError: it names none, or one outside of the table's folder.
    """
    path = image.get("path") if isinstance(image, Mapping) else image
    if not isinstance(path, str) or not path.strip():
        raise DataError(
            f"{table.where} names no image in {where}; remove the row, or name another column in data.image."
        )
    try:
        return str((table.folder / path).resolve().relative_to(table.folder.resolve()))
    except ValueError:
        raise DataError(
            f"{table.where} names {path!r} in {where}, which lies outside its folder; move the images beside the table."
        ) from None


def _texts(given: Any) -> list[str]:
    if given is None:
        return []
    return [str(text) for text in given if text is not None] if isinstance(given, list | tuple) else [str(given)]
