"""Text in memory: reading files, labelled texts, and blocks of a long text for language models."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supernet.data.dataset import DataError, Dataset, Split
from supernet.data.splitting import cut, fewer, held_out, without
from supernet.data.tokens import Tokenizer

# Text shrinks to a quarter, tables of numbers to a tenth; what grows by more than this was made to fill memory.
GROWTH, SMALL_BYTES, PIECE_BYTES = 200, 100_000_000, 1 << 20
# Rows that a message names.
NAMED = 5


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


def find_part(folder: Path, names: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    """The file of a folder that is called by one of these names with one of these suffixes, plain or .gz."""
    for name in names:
        for suffix in suffixes:
            for ending in ("", ".gz"):
                if (path := folder / f"{name}{suffix}{ending}").is_file():
                    return path
    return None


# --- labelled texts ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """Texts with the labels that their file gives them."""

    texts: list[str]
    labels: list[str]

    def take(self, index: np.ndarray) -> LabelledTexts:
        """Some of them."""
        return LabelledTexts([self.texts[i] for i in index], [self.labels[i] for i in index])


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


def text_dataset(
    name: str,
    origin: str,
    train: LabelledTexts,
    test: LabelledTexts | None,
    reader: Tokenizer,
    length: int,
    shares: tuple[float, float],
    limit: int | None,
    seed: int,
) -> Dataset:
    """Three splits of padded token ids with labels.

    Args:
        test: None carves it from `train`, the same texts for every seed.
        shares: of validation, and of test where it is carved.

    Raises:
        DataError: an empty split, or a label of the test texts that no training text has.
    """
    classes = class_names(train.labels)
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

    labels = numbered(train, "training")
    if test is None:
        held = held_out(labels, shares[1], 0, name, "test")
        test, train = train.take(held), train.take(without(len(labels), held))
        labels = numbered(train, "training")
    keep = fewer(labels, limit, name)
    train, labels = train.take(keep), labels[keep]
    held = held_out(labels, shares[0], seed, name)

    def split(part: LabelledTexts, what: str) -> Split:
        ids, lengths = reader.texts(part.texts, length)
        return Split(torch.from_numpy(ids), torch.from_numpy(numbered(part, what)), None, torch.from_numpy(lengths))

    preprocessing = facts(reader, f"tokens, shape (batch, {length}), int64, padded with {reader.padding}")
    return Dataset(
        name,
        origin,
        {**preprocessing, "length": length, "padding": reader.padding, "labels": list(classes)},
        train=split(train.take(without(len(labels), held)), "training"),
        validation=split(train.take(held), "training"),
        test=split(test, "test"),
        num_classes=len(classes),
    )


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


def language_dataset(
    name: str,
    origin: str,
    parts: dict[str, str],
    reader: Tokenizer,
    length: int,
    shares: tuple[float, float],
) -> Dataset:
    """Three splits of blocks of a language model.

    What is carved is the end of the text, so that no block of it has a training block on both sides;
    no seed moves it.

    Args:
        parts: text of `train`, and of `validation` and `test` where the source has them.
        shares: of validation and test, where they are carved.

    Raises:
        DataError: the text is too short.
    """
    streams = {part: reader.stream(text) for part, text in parts.items()}
    for part, share in (("test", shares[1]), ("validation", shares[0])):
        if part not in streams:
            rest = streams["train"]
            size = cut(len(rest), share, name, part, "tokens")
            streams["train"], streams[part] = rest[:-size], rest[-size:]
    splits = {part: blocks(ids, length) for part, ids in streams.items()}
    for part, split in splits.items():
        if len(split) == 0:
            raise DataError(
                f"The {part} text of {name} has {len(streams[part])} tokens, less than one block of {length}; "
                "give more text or a smaller data.length."
            )
    return Dataset(
        name,
        origin,
        {**facts(reader, f"tokens, shape (batch, {length}), int64"), "length": length},
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        num_classes=reader.vocab,
    )
