"""Texts with labels, tab- or comma-separated, plain or compressed with gzip."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding
from supernet.data.images import need
from supernet.data.sources.labelled_text.options import LabelledTextOptions
from supernet.data.text import LabelledTexts, class_names, find_part, read_text, text_dataset
from supernet.data.tokens import tokenizer

SUFFIXES = (".tsv", ".csv")
EXAMPLE = "a .tsv or .csv file (or .gz of one) of text and label, or a folder with train.tsv and test.tsv"
# Longest field of a table in characters: a whole article fits, a file with a lost quote does not.
FIELD_CHARACTERS = 10_000_000


@dataclass(frozen=True, slots=True)
class LabelledText:
    """Read from `path`: a file, or a folder with `train` and, where there is one, `test`.

    The search's validation split is carved from the training texts. A folder's own `dev` or `validation`
    texts are used as the test split where it has no `test`.
    """

    options: LabelledTextOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset.

        Raises:
            DataError: a missing column, an empty label, or an empty split.
        """
        path = need(self.options.path, EXAMPLE)
        train_file = find_part(path, ("train",), SUFFIXES) if path.is_dir() else path
        if train_file is None:
            raise DataError(f"data.path {str(path)!r} has no train.tsv or train.csv; give {EXAMPLE}.")
        test_file = find_part(path, ("test", "dev", "validation", "valid"), SUFFIXES) if path.is_dir() else None
        train = self._read(train_file)
        decoding.classes(class_names(train.labels))
        test = None if test_file is None else self._read(test_file)
        name = path.name.split(".")[0]
        reader = tokenizer(self.options.tokenizer)
        shares = (self.options.validation_share, self.options.test_share)
        return text_dataset(
            name, f"texts of {path.name}", train, test, reader, self.options.length, shares, self.options.limit, seed
        )

    def _read(self, path: Path) -> LabelledTexts:
        tabbed = ".tsv" in path.suffixes
        csv.field_size_limit(FIELD_CHARACTERS)
        content = io.StringIO(read_text(path), newline="")
        # Quotes are letters in tab-separated text: films are "so-so".
        rows = csv.reader(content, delimiter="\t" if tabbed else ",", quoting=csv.QUOTE_NONE if tabbed else 0)
        texts, labels = [], []
        try:
            header = next(rows, None)
            if header is None:
                raise DataError(f"{path} is empty.")
            named = isinstance(self.options.text, str) or isinstance(self.options.label, str)
            columns = [_column(column, header, path) for column in (self.options.text, self.options.label)]
            for row in rows if named else chain([header], rows):
                if not row:
                    continue
                if len(row) <= max(columns):
                    raise DataError(
                        f"Row {rows.line_num} of {path} has {len(row)} columns; column {max(columns)} is missing."
                    )
                label = row[columns[1]].strip()
                if not label or label.lower() == "nan":
                    raise DataError(f"Row {rows.line_num} of {path} has no label; remove the row or give one.")
                texts.append(row[columns[0]])
                labels.append(label)
        except csv.Error as error:
            raise DataError(f"{path} is not a table of text and label: {error} (row {rows.line_num}).") from None
        return LabelledTexts(texts, labels)


def _column(column: str | int, header: list[str], path: Path) -> int:
    if isinstance(column, str):
        if column not in header:
            raise DataError(f"{path} has no column {column!r} among the {len(header)} of its first line.")
        return header.index(column)
    if not 0 <= column < len(header):
        raise DataError(f"{path} has {len(header)} columns; there is no column {column} (they count from 0).")
    return column


SOURCE = LabelledText
