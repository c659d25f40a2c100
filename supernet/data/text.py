"""Text in memory: reading files, labelled texts, and blocks of a long text for language models."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supernet.data.dataset import DataError, Dataset, Split
from supernet.data.inventory import BEYOND_LIMIT, NAMED, Inventory, left_out
from supernet.data.labels import UNLABELLED, alike, are_whole_floats, check_classes, check_labelled, whole
from supernet.data.parts import TEST, TRAIN, VALIDATION, sources_of
from supernet.data.splitting import cut, fewer, held_out, without
from supernet.data.tokens import Tokenizer

# Text shrinks to a quarter, tables of numbers to a tenth; what grows by more than this was made to fill memory.
GROWTH, SMALL_BYTES, PIECE_BYTES = 200, 100_000_000, 1 << 20
# Suffixes of tables, and who reads them.
OTHERS = {
    **dict.fromkeys((".csv", ".tsv"), "'labelled_text' or 'huggingface'"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".parquet", ".arrow"), "'huggingface' or 'instructions'"),
}
NULL_TEXT, NULL_LABEL = "without text", "without a label"


def refuse_others(path: Path, source: str, taken: Sequence[str]) -> None:
    """Refuse a file whose suffix says that another source reads it.

    Args:
        taken: suffixes that this source takes, of those that are known.

    Raises:
        DataError: naming the source.
    """
    suffix = Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
    if path.is_file() and suffix in OTHERS and suffix not in taken:
        raise DataError(
            f"{path.name} is a table by its suffix, which data source {source!r} does not read; choose data source "
            f"{OTHERS[suffix]}. Name it otherwise if its text itself is meant."
        )


def read_text(path: Path) -> str:
    """A text file, also if it is compressed with gzip.

    Raises:
        DataError: it is not text, is cut short, or grows beyond reason when it is unpacked.
    """
    try:
        content = _gunzipped(path) if path.suffix == ".gz" else path.read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); convert it first.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}).") from None


def _gunzipped(path: Path) -> bytes:
    """The content of a compressed file, read piece by piece and given up once it is more than any text becomes."""
    most = max(SMALL_BYTES, GROWTH * path.stat().st_size)
    pieces, size = [], 0
    with gzip.open(path) as file:
        while piece := file.read(PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise DataError(
                    f"{path} is more than {GROWTH} times as large when it is unpacked, which text is not. Unpack it "
                    "yourself if it is meant."
                )
    return b"".join(pieces)


# --- labelled texts ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts of one part with the labels that their table gives them.

    Attributes:
        left_out: reason and name of rows that are not among them.
    """

    texts: list[str]
    labels: list[str]
    left_out: tuple[tuple[str, str], ...] = ()

    def take(self, index: np.ndarray) -> LabelledTexts:
        """Some of them."""
        return LabelledTexts([self.texts[i] for i in index], [self.labels[i] for i in index])


def labelled_texts(
    rows: Sequence[tuple[int, str | None, str | None]], column: str, where: str, *, training: bool
) -> LabelledTexts | str:
    """Rows of a table, without those that lack a text or a label; or why they are no part at all.

    Args:
        rows: number, text and label of each.
        column: column of the labels, for messages, as is `where` they come from.
        training: whether they are learned from; other parts may have no labels.

    Raises:
        DataError: too many rows lack a label.
    """
    missing = [number for number, _, label in rows if label is None]
    if not training and len(missing) == len(rows):
        return "none of its rows has a label (-1 or nothing)"
    check_labelled(missing, len(rows), column, where)
    kept = [(text, label) for _, text, label in rows if text is not None and label is not None]
    nulls = [
        (NULL_TEXT if text is None else NULL_LABEL, f"row {number}")
        for number, text, label in rows
        if text is None or label is None
    ]
    if not kept:
        raise DataError(f"{where} has no row with text and label.")
    return LabelledTexts([text for text, _ in kept], [label for _, label in kept], tuple(nulls))


def unlabelled(labels: Sequence[str], trained: Sequence[str]) -> bool:
    """Whether all labels of a part are the -1 that stands for none, as in test data of GLUE."""
    return set(labels) == {UNLABELLED} and UNLABELLED not in set(trained)


def class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The classes: in the order of numbers if all are whole numbers, else of the alphabet.

    Words of one number, such as 1 and 01, are in the order of the alphabet: that of a set is another one in each
    process.
    """
    distinct = set(labels)
    try:
        return tuple(sorted(distinct, key=lambda label: (int(label), label)))
    except ValueError:
        return tuple(sorted(distinct))


@dataclass(frozen=True, slots=True)
class TextParts:
    """What a source of labelled texts has read.

    Attributes:
        parts: by role; `train` is there.
        names: names of all parts that the owner made, by role.
        columns: names of those that were taken, by role.
        remarks: what else to know.
    """

    name: str
    origin: str
    parts: Mapping[str, LabelledTexts]
    names: Mapping[str, str]
    unused: Mapping[str, str]
    columns: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def text_dataset(
    read: TextParts,
    classes: Sequence[str],
    reader: Tokenizer,
    length: int,
    shares: tuple[float, float],
    limit: int | None,
    seed: int,
) -> Dataset:
    """Three splits of padded token ids with labels.

    Args:
        shares: shares of validation and of test, where they are carved; the test texts are the same for every seed.

    Raises:
        DataError: an empty split, or a label of other texts that no training text has.
    """
    name, train = read.name, read.parts[TRAIN]
    number = {label: i for i, label in enumerate(classes)}

    def numbered(part: LabelledTexts, what: str) -> np.ndarray:
        strange = [(row, label) for row, label in enumerate(part.labels, 1) if label not in number]
        if strange:
            some = ", ".join(f"{label!r} (row {row})" for row, label in strange[:NAMED])
            raise DataError(
                f"{len(strange)} {what} labels of {name} are out of range: {some}. "
                f"The training labels are {', '.join(classes[:20])}."
            )
        return np.array([number[label] for label in part.labels], dtype=np.int64)

    labels, test, validation = numbered(train, "training"), read.parts.get(TEST), read.parts.get(VALIDATION)
    if test is None:
        held = held_out(labels, shares[1], 0, name, "test")
        test, train = train.take(held), train.take(without(len(labels), held))
        labels = numbered(train, "training")
    keep = fewer(labels, limit, name)
    train, labels, beyond = train.take(keep), labels[keep], len(labels) - len(keep)
    if validation is None:
        held = held_out(labels, shares[0], seed, name)
        validation, train = train.take(held), train.take(without(len(labels), held))

    def split(part: LabelledTexts, what: str) -> Split:
        ids, lengths = reader.texts(part.texts, length)
        return Split(torch.from_numpy(ids), torch.from_numpy(numbered(part, what)), None, torch.from_numpy(lengths))

    preprocessing = facts(reader, f"tokens, shape (batch, {length}), int64, padded with {reader.padding}")
    splits = {
        "train": split(train, "training"),
        "validation": split(validation, "validation"),
        "test": split(test, "test"),
    }
    notes = (*(f"{role.capitalize()}: {why}." for role, why in read.unused.items()), *alike(classes))
    nulls = [row for part in read.parts.values() for row in part.left_out] + [(BEYOND_LIMIT, "")] * beyond
    return Dataset(
        name,
        read.origin,
        {**preprocessing, "length": length, "padding": reader.padding, "labels": list(classes)},
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        num_classes=len(classes),
        notes=notes,
        inventory=Inventory(
            "rows",
            len(nulls) + sum(map(len, splits.values())),
            left_out(nulls),
            read.columns,
            sources_of(read.names, read.unused, seed, {VALIDATION: shares[0], TEST: shares[1]}),
            (*notes, *read.remarks),
        ),
    )


def as_classes(parts: Mapping[str, LabelledTexts], column: str, where: str) -> dict[str, LabelledTexts]:
    """The same parts, their labels as names of classes: whole numbers that are written as floats are whole numbers.

    Raises:
        DataError: the training labels are no classes.
    """
    trained = parts[TRAIN].labels
    check_classes(trained, column, where)
    if not are_whole_floats(trained):
        return dict(parts)
    return {role: replace(part, labels=[whole(label) for label in part.labels]) for role, part in parts.items()}


def facts(reader: Tokenizer, shape: str) -> dict[str, Any]:
    """What turns text into inputs, for cards."""
    return {"input": shape, "formula": f"tokens of {reader.name}", "tokenizer": reader.name, "vocab": reader.vocab}


# --- language models -----------------------------------------------------------------------------


def blocks(ids_T: np.ndarray, length: int) -> Split:
    """A long text as blocks: every token but the first is predicted once, from those of its block before it.

    Blocks are views of one stream in which each block's first input is the last target of the block before,
    so nothing is copied and nothing padded. A rest shorter than a block is left out.
    """
    count = max(0, (len(ids_T) - 1) // length)
    stream_T = torch.from_numpy(np.ascontiguousarray(ids_T[: count * length + 1] if count else ids_T[:0]))
    if count == 0:
        empty = torch.empty((0, length), dtype=torch.int32)
        return Split(empty, empty)
    blocks_NT = stream_T.unfold(0, length + 1, length)
    return Split(blocks_NT[:, :-1], blocks_NT[:, 1:])


@dataclass(frozen=True, slots=True)
class Documents:
    """Texts of one part of a source, each of which follows nothing.

    Attributes:
        texts: texts of the documents, in their order.
        left_out: reason and name of rows that are none.
    """

    texts: Sequence[str]
    left_out: tuple[tuple[str, str], ...] = ()


def language_dataset(
    name: str,
    origin: str,
    parts: Mapping[str, Documents],
    reader: Tokenizer,
    length: int,
    shares: tuple[float, float],
    names: Mapping[str, str],
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Three splits of blocks of a language model.

    Every document begins and ends with the tokens that the tokenizer has for that. What is carved is the end of the
    text, so that no block of it has a training block on both sides; no seed moves it.

    Args:
        parts: documents of `train`, and of `validation` and `test` where the source has them.
        shares: shares of validation and test, where they are carved.
        names: names of the parts, by role.
        columns: columns of a table, by role.

    Raises:
        DataError: the text is too short.
    """
    streams = {part: reader.documents(documents.texts) for part, documents in parts.items()}
    for part, share in ((TEST, shares[1]), (VALIDATION, shares[0])):
        if part not in streams:
            rest = streams[TRAIN]
            size = cut(len(rest), share, name, part, "tokens")
            streams[TRAIN], streams[part] = rest[:-size], rest[-size:]
    splits = {part: blocks(ids, length) for part, ids in streams.items()}
    for part, split in splits.items():
        if len(split) == 0:
            raise DataError(
                f"The {part} text of {name} has {len(streams[part])} tokens, less than one block of {length}; "
                "give more text or a smaller data.length."
            )
    nulls = [row for documents in parts.values() for row in documents.left_out]
    carved = {VALIDATION: shares[0], TEST: shares[1]}
    sources = {role: f"the end of the training text (a share of {share:g})" for role, share in carved.items()}
    between = reader.between
    return Dataset(
        name,
        origin,
        {**facts(reader, f"tokens, shape (batch, {length}), int64"), "length": length, "documents": between},
        train=splits[TRAIN],
        validation=splits[VALIDATION],
        test=splits[TEST],
        num_classes=reader.vocab,
        inventory=Inventory(
            "documents",
            len(nulls) + sum(len(documents.texts) for documents in parts.values()),
            left_out(nulls),
            columns or {},
            {TRAIN: "the whole of it", **sources, **names},
        ),
    )
