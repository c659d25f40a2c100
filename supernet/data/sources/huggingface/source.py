"""Any data set that Hugging Face's `datasets` can load: a name on the Hub, a folder, a parquet or JSON file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding, Encoded, Item
from supernet.data.image_parts import ImagePart, image_parts_dataset
from supernet.data.images import stamp
from supernet.data.inventory import BEYOND_LIMIT
from supernet.data.labels import are_whole_floats, check_classes, check_labelled, whole
from supernet.data.parts import TRAIN
from supernet.data.sources.huggingface.options import HuggingFaceOptions
from supernet.data.splitting import fewer
from supernet.data.tables import all_unlabelled, columns_of, label_words, numbers_of, table_parts
from supernet.data.text import (
    NULL_LABEL,
    NULL_TEXT,
    Documents,
    LabelledTexts,
    TextParts,
    as_classes,
    class_names,
    labelled_texts,
    language_dataset,
    text_dataset,
)
from supernet.data.tokens import tokenizer

# A table whose rows are empty or end with a new line so often holds lines of a text.
LINES_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """Images with labels, texts with labels, or text alone: decided by the columns."""

    options: HuggingFaceOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set.

        Raises:
            DataError: it cannot be loaded, has no column that could be learned from or two that could be meant, or fits
                nowhere.
            OSError: its decoded images do not fit on the disk (`ENOSPC`).
        """
        options = self.options
        parts, names = table_parts(options)
        asked = {"image": options.image, "text": options.text, "label": options.label}
        columns = columns_of(parts[TRAIN].features, asked, repr(options.path))
        if "label" not in columns:
            self._in_memory()
            return self._language(parts, names, columns["text"])
        trained = {word for word in label_words(parts[TRAIN], columns["label"]) if word is not None}
        reasons = {
            role: all_unlabelled(rows, columns["label"], trained) for role, rows in parts.items() if role != TRAIN
        }
        unused = {role: why for role, why in reasons.items() if why is not None}
        labelled = {role: rows for role, rows in parts.items() if role not in unused}
        if "image" in columns:
            return self._images(labelled, names, unused, columns, seed, decoding)
        self._in_memory()
        return self._texts(labelled, names, unused, columns, seed, decoding)

    @property
    def _name(self) -> str:
        return Path(self.options.path).name

    @property
    def _origin(self) -> str:
        return f"Hugging Face data set {self._name}"

    @property
    def _shares(self) -> tuple[float, float]:
        return self.options.validation_share, self.options.test_share

    def _in_memory(self) -> None:
        if self.options.storage == "disk":
            raise DataError(f"data.storage is 'disk', but {self._name} is text, which lies in memory; leave it out.")

    def _texts(
        self,
        parts: Mapping[str, Any],
        names: Mapping[str, str],
        unused: Mapping[str, str],
        columns: Mapping[str, str],
        seed: int,
        decoding: Decoding,
    ) -> Dataset:
        column, where = repr(columns["label"]), repr(self.options.path)
        found: dict[str, LabelledTexts] = {}
        for role, rows in parts.items():
            texts = _column(rows, columns["text"], f"the {role} part of {where}")
            labels = label_words(rows, columns["label"])
            numbered = [(row, text, label) for row, (text, label) in enumerate(zip(texts, labels, strict=True), 1)]
            read = labelled_texts(numbered, column, f"the {role} part of {where}", training=role == TRAIN)
            assert isinstance(read, LabelledTexts)
            found[role] = read
        if not _is_classes(parts[TRAIN], columns["label"]):
            found = as_classes(found, column, where)
        classes = class_names(found[TRAIN].labels)
        decoding.classes(classes)
        read_parts = TextParts(self._name, self._origin, found, names, unused, columns, _aside(parts[TRAIN], columns))
        reader = tokenizer(self.options.tokenizer)
        return text_dataset(read_parts, classes, reader, self.options.length, self._shares, self.options.limit, seed)

    def _language(self, parts: Mapping[str, Any], names: Mapping[str, str], column: str) -> Dataset:
        reader, where = tokenizer(self.options.tokenizer), repr(self.options.path)
        documents = {
            role: _documents(_column(rows, column, where), self.options.rows, role) for role, rows in parts.items()
        }
        columns = {"text": column}
        data = language_dataset(
            self._name, self._origin, documents, reader, self.options.length, self._shares, names, columns
        )
        assert data.inventory is not None
        return replace(data, inventory=replace(data.inventory, remarks=_aside(parts[TRAIN], columns)))

    def _images(
        self,
        parts: Mapping[str, Any],
        names: Mapping[str, str],
        unused: Mapping[str, str],
        columns: Mapping[str, str],
        seed: int,
        decoding: Decoding,
    ) -> Dataset:
        words = {role: label_words(rows, columns["label"]) for role, rows in parts.items()}
        where, column = repr(self.options.path), columns["label"]
        trained = [word for word in words[TRAIN] if word is not None]
        if _is_classes(parts[TRAIN], column):
            classes: Sequence[str] = list(parts[TRAIN].features[column].names)
        else:
            check_classes(trained, repr(column), where)
            if are_whole_floats(trained):
                words = {role: [None if one is None else whole(one) for one in some] for role, some in words.items()}
            classes = class_names([word for word in words[TRAIN] if word is not None])
        decoding.classes(classes)
        images = {role: self._image_part(rows, words[role], columns, classes, role) for role, rows in parts.items()}
        whole_set = self.options.model_copy(update={"limit": None})  # chosen before decoding, which takes the time
        return image_parts_dataset(
            self._name,
            self._origin,
            images,
            classes,
            whole_set,
            seed,
            decoding,
            names,
            unused,
            columns=columns,
            unit="rows",
        )

    def _image_part(
        self, rows: Any, words: Sequence[str | None], columns: Mapping[str, str], classes: Sequence[str], role: str
    ) -> ImagePart:
        import datasets

        what = "training" if role == TRAIN else role
        where, limit = repr(self.options.path), self.options.limit if role == TRAIN else None
        missing = [row for row, word in enumerate(words, 1) if word is None]
        check_labelled(missing, len(words), repr(columns["label"]), f"the {what} part of {where}")
        labelled = np.array([row for row, word in enumerate(words) if word is not None], dtype=np.int64)
        labels = numbers_of([word for word in words if word is not None], classes, self._name, what)
        kept = fewer(labels, limit, self._name)
        chosen, labels = labelled[kept], labels[kept]
        raw = rows.cast_column(columns["image"], datasets.Image(decode=False))

        def original(place: int) -> tuple[str, bytes | Path]:
            row = int(chosen[place])
            image = raw[row][columns["image"]] or {"bytes": b"", "path": None}
            content = image["bytes"] if image["bytes"] is not None else Path(image["path"] or "")
            return f"{what} row {row}", content

        def items() -> Iterator[Item]:
            for place in range(len(chosen)):
                yield *original(place), int(labels[place])

        def identity() -> Iterator[object]:
            yield from (rows._fingerprint, columns["image"], columns["label"], limit)
            yield from (stamp(file) for file in _files_named(raw, columns["image"]))

        left = [(NULL_LABEL, f"{what} row {row - 1}") for row in missing]
        left += [(BEYOND_LIMIT, "")] * (len(labelled) - len(chosen))
        aside = _aside(rows, columns) if role == TRAIN else ()
        return ImagePart(Encoded(items, len(chosen), identity, original), tuple(left), aside)


def _is_classes(rows: Any, column: str) -> bool:
    import datasets

    return isinstance(rows.features[column], datasets.ClassLabel)


def _aside(rows: Any, columns: Mapping[str, str]) -> tuple[str, ...]:
    """What to say of columns that nobody takes."""
    left = [name for name in rows.features if name not in columns.values()]
    return (f"Columns that are not used: {', '.join(left)}.",) if left else ()


def _column(rows: Any, column: str, where: str) -> list[str | None]:
    """Texts of a part; None where there is none, and where there are blanks alone.

    Raises:
        DataError: the part lacks the column.
    """
    if column not in rows.features:
        raise DataError(f"{where} has no column {column!r}; its columns are {', '.join(rows.features)}.")
    return [None if text is None else str(text) for text in rows[column][:]]


def _documents(texts: Sequence[str | None], rows: str | None, role: str) -> Documents:
    """Rows of text alone as documents.

    Raises:
        DataError: nobody says what a row is, and they look like lines.
    """
    known = [text for text in texts if text is not None]
    lines = sum(not text.strip() or text.endswith("\n") for text in known)
    if rows is None and len(known) > 1 and lines > LINES_SHARE * len(known):
        raise DataError(
            f"Rows may be documents or lines of one text: {lines} of {len(known)} are blank or end with a new line. "
            "Set data.rows to 'documents' or to 'lines'."
        )
    nulls = [(NULL_TEXT, f"{role} row {row}") for row, text in enumerate(texts) if text is None]
    if rows == "lines":
        joined = "".join(text if text.endswith("\n") else f"{text}\n" for text in known)
        return Documents([joined], tuple(nulls))
    nulls += [
        (NULL_TEXT, f"{role} row {row}") for row, text in enumerate(texts) if text is not None and not text.strip()
    ]
    return Documents([text for text in known if text.strip()], tuple(nulls))


def _files_named(rows: Any, column: str) -> Iterator[Path]:
    """Files of images that are not in the table itself, whose content its fingerprint does not cover."""
    for chunk in rows.data.column(column).chunks:
        content, paths = chunk.field("bytes"), chunk.field("path")
        if content.null_count:
            for inside, path in zip(content.is_valid(), paths, strict=True):
                if not inside.as_py() and path.is_valid:
                    yield Path(path.as_py())


SOURCE = HuggingFace
