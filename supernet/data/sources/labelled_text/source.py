"""Texts with labels, tab- or comma-separated, plain or compressed with gzip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supernet.data.dataset import Dataset
from supernet.data.decoding import Decoding
from supernet.data.images import need
from supernet.data.parts import TEST, TRAIN, VALIDATION, files_of_parts
from supernet.data.separated import Table, read_table
from supernet.data.sources.labelled_text.options import LabelledTextOptions
from supernet.data.text import (
    LabelledTexts,
    TextParts,
    as_classes,
    class_names,
    labelled_texts,
    refuse_others,
    text_dataset,
    unlabelled,
)
from supernet.data.tokens import tokenizer

SUFFIXES = (".tsv", ".csv")
EXAMPLE = "a .tsv or .csv file (or .gz of one) of text and label, or a folder with train.tsv and test.tsv"


@dataclass(frozen=True, slots=True)
class LabelledText:
    """Read from `path`: a file, or a folder with `train` and, where there are, `validation` and `test`."""

    options: LabelledTextOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set.

        Raises:
            DataError: a missing column, or two ways to read the table; labels that are no classes; an empty split.
        """
        options = self.options
        path = need(options.path, EXAMPLE)
        refuse_others(path, "labelled_text", SUFFIXES)
        asked = {TRAIN: options.train_split, VALIDATION: options.validation_split, TEST: options.test_split}
        files, names = files_of_parts(path, asked, SUFFIXES, EXAMPLE)
        first = read_table(files[TRAIN], options.text, options.label, options.header)
        parts: dict[str, LabelledTexts] = {TRAIN: _labelled(first)}
        unused: dict[str, str] = {}
        for role, file in files.items():
            if role == TRAIN:
                continue
            read = self._other(file, parts[TRAIN], first)
            if isinstance(read, str):
                unused[role] = read
            else:
                parts[role] = read
        parts = as_classes(parts, first.named[1], str(files[TRAIN]))
        classes = class_names(parts[TRAIN].labels)
        decoding.classes(classes)
        columns = {"text": first.named[0], "label": first.named[1]}
        read_parts = TextParts(
            path.name.split(".")[0], f"texts of {path.name}", parts, names, unused, columns, first.remarks
        )
        shares = (options.validation_share, options.test_share)
        reader = tokenizer(options.tokenizer)
        return text_dataset(read_parts, classes, reader, options.length, shares, options.limit, seed)

    def _other(self, file: Path, train: LabelledTexts, first: Table) -> LabelledTexts | str:
        """A part beside the training part; or why it is none."""
        table = read_table(file, self.options.text, self.options.label, self.options.header, like=first)
        if table is None:
            return f"{file.name} has no column of labels"
        read = labelled_texts(table.rows, table.named[1], str(file), training=False)
        if isinstance(read, LabelledTexts) and unlabelled(read.labels, train.labels):
            return f"all labels of {file.name} are -1, which stands for no label"
        return read


def _labelled(table: Table) -> LabelledTexts:
    read = labelled_texts(table.rows, table.named[1], str(table.path), training=True)
    assert isinstance(read, LabelledTexts)
    return read


SOURCE = LabelledText
