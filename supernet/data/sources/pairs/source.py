"""Images with texts, of a table (csv, tsv, json lines, parquet) that names files beside it or holds the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding, Encoded, Item
from supernet.data.image_pairs import Captioned, PairPart, PairWords, pairs_dataset
from supernet.data.images import need, stamp
from supernet.data.parts import TEST, TRAIN, VALIDATION, files_of_parts
from supernet.data.sources.pairs.options import PairsOptions
from supernet.data.tables import FILES, table_parts

EXAMPLE = "a table of image files and texts (.csv, .tsv, .jsonl or .parquet), or a folder with train and test of them"
# A table of this name describes the images of its folder, as `datasets` and many copies of COCO call it.
ALSO_TRAIN = ("metadata", "captions", "pairs")
# Columns by their names, where nobody says which they are.
IMAGES = ("image", "file_name", "filename", "file", "image_path", "filepath", "path")
TEXTS = ("text", "caption", "captions", "texts", "sentence", "sentences")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Read from `path`: a table, or a folder with `train` and, where there are, `validation` and `test`."""

    options: PairsOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set.

        Raises:
            DataError: a missing column, images without text, files that are not there; or they fit nowhere.
            OSError: they do not fit on the disk (`ENOSPC`).
        """
        options = self.options
        path = need(options.path, EXAMPLE)
        asked = {TRAIN: options.train_split, VALIDATION: options.validation_split, TEST: options.test_split}
        files, names = files_of_parts(path, asked, tuple(FILES), EXAMPLE, also_train=ALSO_TRAIN)
        columns: dict[str, str] = {}
        parts: dict[str, PairPart] = {}
        for role, file in files.items():
            rows = self._rows(file)
            columns = columns or self._columns(rows.features, str(file))
            parts[role] = _part(rows, columns, file, role)
        words = PairWords(options.tokenizer, options.lower_case, options.length, options.texts_of_a_class)
        name = path.name.split(".")[0]
        return pairs_dataset(name, f"pairs of {path.name}", parts, words, options, seed, decoding, names, columns)

    def _rows(self, file: Path) -> Any:
        """The rows of a table."""
        loaded, _ = table_parts(_OneFile(str(file)))
        return loaded[TRAIN]

    def _columns(self, features: Mapping[str, Any], where: str) -> dict[str, str]:
        """The column of each role."""
        found = {
            "image": _column("image", self.options.image, IMAGES, features, where),
            "text": _column("text", self.options.text, TEXTS, features, where),
        }
        if self.options.label is not None:
            found["label"] = _column("label", self.options.label, (), features, where)
        return found


@dataclass(frozen=True, slots=True)
class _OneFile:
    """What `table_parts` is asked for: a file is one part."""

    path: str
    config: str | None = None
    train_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None


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


def _part(rows: Any, columns: Mapping[str, str], file: Path, role: str) -> PairPart:
    """The images of a table, each once, with all their texts."""
    import datasets

    raw = rows
    if isinstance(rows.features[columns["image"]], datasets.Image):
        raw = rows.cast_column(columns["image"], datasets.Image(decode=False))
    images: dict[str, Captioned] = {}
    nulls: list[tuple[str, str]] = []
    contents: dict[str, int] = {}
    for number in range(len(raw)):
        row = raw[number]
        where = f"{role} row {number + 1}"
        key, inside = _named(row[columns["image"]], file, where)
        texts = [text for text in _texts(row[columns["text"]]) if text.strip()]
        label = None if "label" not in columns else _word(rows, columns["label"], row)
        if not texts:
            nulls.append(("without text", where))
            continue
        if key in images and images[key].label != label:
            raise DataError(f"{file} gives image {key} two classes, {images[key].label} and {label} ({where}).")
        known = images.get(key)
        images[key] = Captioned(key, (*(() if known is None else known.texts), *texts), label)
        if inside:
            contents.setdefault(key, number)
    keys = list(images)

    def original(place: int) -> tuple[str, bytes | Path]:
        key = keys[place]
        if key in contents:
            image = raw[contents[key]][columns["image"]]
            return key, image["bytes"]
        return key, file.parent / key

    def items() -> Iterator[Item]:
        for place in range(len(keys)):
            yield *original(place), place

    def identity() -> Iterator[object]:
        yield from (rows._fingerprint, columns["image"], columns["text"])
        yield from (stamp(file.parent / key) for key in keys if key not in contents)

    return PairPart(Encoded(items, len(keys), identity, original), tuple(images.values()), tuple(nulls))


def _named(image: Any, file: Path, where: str) -> tuple[str, bool]:
    """An image's name, and whether the table itself holds it.

    Raises:
        DataError: there is none, or its file lies outside the table's folder.
    """
    if isinstance(image, Mapping) and image.get("bytes") is not None:
        return where, True
    path = image.get("path") if isinstance(image, Mapping) else image
    if not isinstance(path, str) or not path.strip():
        raise DataError(f"{file} names no image in {where}; remove the row, or name another column in data.image.")
    try:
        inside = (file.parent / path).resolve().relative_to(file.parent.resolve())
    except ValueError:
        raise DataError(
            f"{file} names {path!r} in {where}, which lies outside its folder; move the images beside the table."
        ) from None
    return str(inside), False


def _texts(given: Any) -> list[str]:
    if given is None:
        return []
    return [str(text) for text in given if text is not None] if isinstance(given, list | tuple) else [str(given)]


def _word(rows: Any, column: str, row: Mapping[str, Any]) -> str | None:
    """A class as a word."""
    import datasets

    value, feature = row[column], rows.features[column]
    if value is None:
        return None
    return str(feature.names[value]) if isinstance(feature, datasets.ClassLabel) else str(value)


SOURCE = Pairs
