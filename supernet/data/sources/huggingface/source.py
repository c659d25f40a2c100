"""Any data set that Hugging Face's `datasets` can load: a name on the Hub, a folder, a parquet or JSON file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding, Encoded, Item, decode
from supernet.data.images import Carving, Decoder, corrupt_notes, image_dataset, stamp
from supernet.data.sources.huggingface.options import HuggingFaceOptions
from supernet.data.splitting import fewer
from supernet.data.text import LabelledTexts, class_names, language_dataset, text_dataset
from supernet.data.tokens import tokenizer

FILES = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}
TEST_SPLITS = ("test", "validation", "valid", "dev")


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """Images with labels, texts with labels, or text alone: decided by the columns."""

    options: HuggingFaceOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset.

        Raises:
            DataError: it cannot be loaded, has no column that could be learned from, or fits nowhere.
            OSError: its decoded images do not fit on the disk (`ENOSPC`).
        """
        parts = self._parts()
        name = Path(self.options.path).name
        train = parts["train"]
        test = next((parts[split] for split in TEST_SPLITS if split in parts), None)
        columns = self._columns(train)
        if "image" in columns:
            return self._images(name, train, test, columns, seed, decoding)
        if self.options.storage == "disk":
            raise DataError(f"data.storage is 'disk', but {name} is text, which lies in memory; leave it out.")
        if "label" in columns:
            texts = _texts(train, columns)
            decoding.classes(class_names(texts.labels))
            tested = None if test is None else _texts(test, columns)
            shares = (self.options.validation_share, self.options.test_share)
            reader = tokenizer(self.options.tokenizer)
            return text_dataset(
                name, _origin(name), texts, tested, reader, self.options.length, shares, self.options.limit, seed
            )
        streams = {"train": train} | ({} if test is None else {"test": test})
        joined = {part: "\n".join(str(row) for row in rows[columns["text"]]) for part, rows in streams.items()}
        shares = (self.options.validation_share, self.options.test_share)
        return language_dataset(
            name, _origin(name), joined, tokenizer(self.options.tokenizer), self.options.length, shares
        )

    def _parts(self) -> Any:
        import datasets

        path = Path(self.options.path).expanduser()
        datasets.disable_progress_bars()
        try:
            if path.is_dir() and ((path / "dataset_dict.json").is_file() or (path / "state.json").is_file()):
                loaded: Any = datasets.load_from_disk(str(path))
            elif path.is_file():
                if path.suffix not in FILES:
                    raise DataError(f"data.path is {self.options.path!r}; known files are {', '.join(FILES)}.")
                loaded = datasets.load_dataset(FILES[path.suffix], data_files=str(path))
            else:
                loaded = datasets.load_dataset(self.options.path, self.options.config)
        except DataError:
            raise
        except Exception as error:  # datasets, fsspec, pyarrow and the Hub have dozens of their own
            first = str(error).strip().split("\n")[0]
            raise DataError(
                f"The data set {self.options.path!r} cannot be loaded: {type(error).__name__}: {first}"
            ) from error
        parts = {"train": loaded} if isinstance(loaded, datasets.Dataset) else dict(loaded)
        if "train" not in parts:
            if len(parts) != 1:
                raise DataError(f"The data set {self.options.path!r} has no train split; it has {', '.join(parts)}.")
            parts = {"train": next(iter(parts.values()))}
        return parts

    def _columns(self, rows: Any) -> dict[str, str]:
        """The column of each role, asked for or found."""
        import datasets

        features = rows.features
        found: dict[str, str] = {}
        for role, asked in (("image", self.options.image), ("text", self.options.text), ("label", self.options.label)):
            if asked is not None:
                if asked not in features:
                    raise DataError(
                        f"{self.options.path!r} has no column {asked!r}; its columns are {', '.join(features)}."
                    )
                found[role] = asked
        for column, feature in features.items():
            if column in found.values():
                continue
            if isinstance(feature, datasets.Image):
                found.setdefault("image", column)
            elif isinstance(feature, datasets.ClassLabel) or column in ("label", "labels", "fine_label", "class"):
                found.setdefault("label", column)
            elif isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string"):
                found.setdefault("text", column)
        if "image" in found and "label" not in found:
            raise DataError(f"{self.options.path!r} has images but no label; name its column in data.label.")
        if "image" not in found and "text" not in found:
            raise DataError(
                f"{self.options.path!r} has neither images nor text; its columns are {', '.join(features)}. "
                "Name one in data.image or data.text."
            )
        return found

    def _images(
        self, name: str, train: Any, test: Any, columns: dict[str, str], seed: int, decoding: Decoding
    ) -> Dataset:
        import datasets

        classes = _classes(train, columns["label"])
        decoding.classes(classes)

        def encoded(rows: Any, what: str, limit: int | None) -> Encoded:
            labels = _numbers(rows, columns["label"], classes, name, what)
            raw = rows.cast_column(columns["image"], datasets.Image(decode=False))
            chosen = fewer(labels, limit, name)

            def items() -> Iterator[Item]:
                for row in chosen.tolist():
                    image = raw[row][columns["image"]]
                    content = image["bytes"] if image["bytes"] is not None else Path(image["path"])
                    yield f"{what} row {row}", content, int(labels[row])

            def identity() -> Iterator[object]:
                yield from (rows._fingerprint, columns["image"], columns["label"], limit)
                yield from (stamp(file) for file in _files_named(raw, columns["image"]))

            return Encoded(items, len(chosen), identity)

        parts = [encoded(train, "training", self.options.limit)]
        if test is not None:
            parts.append(encoded(test, "test", None))
        decoder = Decoder(self.options.size, self.options.channels)
        seen, *rest = decode(name, parts, decoder, self.options.storage, decoding)
        tested = rest[0] if rest else None
        notes = corrupt_notes((seen, tested), self.options.corrupt_share, name)
        carving = Carving(self.options.validation_share, self.options.test_share, None)
        return image_dataset(name, _origin(name), seen, tested, classes, carving, seed, notes)


def _origin(name: str) -> str:
    return f"Hugging Face data set {name}"


def _files_named(rows: Any, column: str) -> Iterator[Path]:
    """Files of images that are not in the table itself, whose content its fingerprint does not cover."""
    for chunk in rows.data.column(column).chunks:
        content, paths = chunk.field("bytes"), chunk.field("path")
        if content.null_count:
            for inside, path in zip(content.is_valid(), paths, strict=True):
                if not inside.as_py() and path.is_valid:
                    yield Path(path.as_py())


def _classes(rows: Any, column: str) -> list[str]:
    import datasets

    feature = rows.features[column]
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names)
    distinct = set(rows[column])
    if None in distinct:
        raise DataError(f"Column {column!r} has rows without a label; remove them or give one.")
    return [str(label) for label in sorted(distinct)]


def _numbers(rows: Any, column: str, classes: list[str], name: str, what: str) -> np.ndarray:
    """Labels as numbers from 0, shape (N,), int64."""
    import datasets

    values = list(rows[column])
    if isinstance(rows.features[column], datasets.ClassLabel):
        strange = sorted({str(v) for v in values if v is None or not 0 <= v < len(classes)})
        numbers = values
    else:
        known = {label: i for i, label in enumerate(classes)}
        strange = sorted({str(v) for v in values if str(v) not in known})
        numbers = [known.get(str(v), -1) for v in values]
    if strange:
        raise DataError(
            f"{what.capitalize()} labels of {name} are out of range: {', '.join(strange[:5])}. "
            f"The classes are {', '.join(classes[:20])}."
        )
    return np.array(numbers, dtype=np.int64)


def _texts(rows: Any, columns: dict[str, str]) -> LabelledTexts:
    import datasets

    feature = rows.features[columns["label"]]
    labels = list(rows[columns["label"]])
    if None in labels:
        raise DataError(f"Column {columns['label']!r} has rows without a label; remove them or give one.")
    if isinstance(feature, datasets.ClassLabel):
        labels = [feature.names[label] if 0 <= label < len(feature.names) else str(label) for label in labels]
    return LabelledTexts([str(text) for text in rows[columns["text"]]], [str(label) for label in labels])


SOURCE = HuggingFace
