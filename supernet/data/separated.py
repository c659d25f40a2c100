"""Tables of text and label, tab- or comma-separated: rows, and which column is what."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from supernet.data.errors import DataError
from supernet.data.labels import LABEL_NAMES
from supernet.data.text import read_text

# Longest field of a table in characters: a whole article fits, a file with a lost quote does not.
FIELD_CHARACTERS = 10_000_000
# What stands for no label.
NO_LABEL = ("", "nan")
TEXT_NAMES = ("text", "sentence", "review", "content", "document", "comment", "question", "message", "tweet")
NULL_WORDS = ("null", "none", "nan", "na", "n/a")


@dataclass(frozen=True, slots=True)
class Table:
    """What a file says.

    Attributes:
        rows: line, text and label of each; None where there is none.
        columns: positions of text and label.
        named: the same in words, for people.
        has_header: whether the first line names the columns.
        remarks: what else to know.
    """

    path: Path
    rows: list[tuple[int, str | None, str | None]]
    columns: tuple[int, int]
    named: tuple[str, str]
    has_header: bool
    remarks: tuple[str, ...] = ()


@overload
def read_table(path: Path, text: str | int | None, label: str | int | None, header: bool | None) -> Table: ...


@overload
def read_table(
    path: Path, text: str | int | None, label: str | int | None, header: bool | None, like: Table
) -> Table | None: ...


def read_table(
    path: Path, text: str | int | None, label: str | int | None, header: bool | None, like: Table | None = None
) -> Table | None:
    """A table of texts and labels.

    Args:
        text, label: columns by name or by number from 0; None: found.
        header: whether the first line names the columns; None: it does where a column is named.
        like: a table with the same columns; without its column of labels the answer is None.

    Raises:
        DataError: a column is missing or could be another one, or the file is no table.
    """
    lines = _lines(path)
    first = lines[0][1]
    named = isinstance(text, str) or isinstance(label, str)
    if named and header is False:
        raise DataError("data.header is false, but data.text or data.label is a name; give numbers from 0.")
    has_header = named or bool(header) or (like is not None and like.has_header)
    if like is not None and _lacks_labels(first, label, like):
        return None
    columns = _columns(first, text, label, path, has_header=has_header)
    rows = lines[1:] if has_header else lines
    for number, row in rows:
        if len(row) <= max(columns):
            raise DataError(f"Row {number} of {path} has {len(row)} columns; column {max(columns)} is missing.")
        if any(row[len(first) :]):
            raise DataError(
                f"Row {number} of {path} has {len(row)} columns, and the first line has {len(first)}: which are text "
                "and label would be a guess. Put fields that hold the separator in quotes, or take another one."
            )
    if not rows:
        raise DataError(f"{path} has a header and no rows.")
    if not has_header and header is None:
        _refuse_header(path, [row for _, row in rows], columns)
    told = tuple(repr(first[column]) if has_header else f"{column} (from 0)" for column in columns)
    words = sum(row[columns[0]].strip().casefold() in NULL_WORDS for _, row in rows)
    remarks = (f"{words} texts are a word such as null or NA; they are read as that word.",) if words else ()
    return Table(
        path, [_row(number, row, columns) for number, row in rows], columns, (told[0], told[1]), has_header, remarks
    )


def _row(number: int, row: Sequence[str], columns: tuple[int, int]) -> tuple[int, str | None, str | None]:
    text, label = row[columns[0]], row[columns[1]].strip()
    return number, text if text.strip() else None, None if label.casefold() in NO_LABEL else label


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Number and cells of every row that is not empty."""
    tabbed = ".tsv" in [suffix.lower() for suffix in path.suffixes]
    csv.field_size_limit(FIELD_CHARACTERS)
    content = io.StringIO(read_text(path), newline="")
    # Quotes are letters in tab-separated text: films are "so-so".
    rows = csv.reader(
        content, delimiter="\t" if tabbed else ",", quoting=csv.QUOTE_NONE if tabbed else csv.QUOTE_MINIMAL
    )
    try:
        lines = [(rows.line_num, row) for row in rows if row]
    except csv.Error as error:
        raise DataError(f"{path} is not a table of text and label: {error} (row {rows.line_num}).") from None
    if not lines:
        raise DataError(f"{path} is empty.")
    return lines


def _columns(
    first: list[str], text: str | int | None, label: str | int | None, path: Path, *, has_header: bool
) -> tuple[int, int]:
    asked = [None if column is None else _column(column, first, path) for column in (text, label)]
    if None not in asked:
        found = [column for column in asked if column is not None]
    elif len(first) < 2:
        raise DataError(f"{path} has {len(first)} columns; text and label are two. Look at its separator.")
    elif len(first) > 2:
        missing = [name for name, column in zip(("data.text", "data.label"), asked, strict=True) if column is None]
        raise DataError(
            f"{path} has {len(first)} columns, so which are meant would be a guess: name {' and '.join(missing)}."
        )
    else:
        known = next((column for column in asked if column is not None), None)
        if known is not None:
            found = [1 - known if column is None else column for column in asked]
        else:
            swapped = has_header and first[0].strip().casefold() in LABEL_NAMES
            found = [1, 0] if swapped else [0, 1]
    if found[0] == found[1]:
        raise DataError(f"data.text and data.label both name column {found[0]} of {path}; they must differ.")
    return found[0], found[1]


def _column(column: str | int, header: list[str], path: Path) -> int:
    if isinstance(column, str):
        count = header.count(column)
        if count == 0:
            raise DataError(f"{path} has no column {column!r} among the {len(header)} of its first line.")
        if count > 1:
            raise DataError(f"{path} has {count} columns {column!r}; give the number of the one that is meant.")
        return header.index(column)
    if not 0 <= column < len(header):
        raise DataError(f"{path} has {len(header)} columns; there is no column {column} (they count from 0).")
    return column


def _lacks_labels(first: list[str], label: str | int | None, like: Table) -> bool:
    """Whether a part has no column of labels, as test data that are to be sent in have none."""
    if isinstance(label, str):
        return label not in first
    if like.has_header:
        return False
    return len(first) <= like.columns[1]


def _refuse_header(path: Path, rows: Sequence[Sequence[str]], columns: tuple[int, int]) -> None:
    """Refuse a first line that would become an example, and its label a class.

    Raises:
        DataError: it looks like a header.
    """
    labels = [row[columns[1]].strip() for row in rows]
    first, counts = labels[0], Counter(labels)
    others = Counter(counts)
    del others[first]
    words = (*LABEL_NAMES, "sentiment", "category", "score", "stars")
    by_name = first.casefold() in words or (rows[0][columns[0]].strip().casefold() in TEXT_NAMES)
    once = counts[first] == 1 and bool(others)
    alone = once and min(others.values()) > 1
    among_numbers = once and not _is_number(first) and all(_is_number(label) for label in others)
    if once and (by_name or alone or among_numbers):
        raise DataError(
            f"The first line of {path} looks like a header: its label occurs once. Name the columns in data.text and "
            "data.label, or set data.header to false if it is an example."
        )


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True
