"""Plain text for language models, plain or compressed with gzip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding
from supernet.data.images import need
from supernet.data.parts import TEST, TRAIN, VALIDATION, files_of_parts
from supernet.data.sources.text.options import TextOptions
from supernet.data.text import Documents, language_dataset, read_text, refuse_others
from supernet.data.tokens import tokenizer

SUFFIXES = (".txt", ".text", ".md", ".tokens", ".raw")
EXAMPLE = "a text file (or .gz of one), or a folder with train.txt and, if there are, valid.txt and test.txt"


@dataclass(frozen=True, slots=True)
class Text:
    """Read from `path` and packed into blocks without padding."""

    options: TextOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set. The seed changes nothing: see `language_dataset`.

        Raises:
            DataError: the text is too short, or is not text.
        """
        options = self.options
        path = need(options.path, EXAMPLE)
        refuse_others(path, "text", ())
        asked = {TRAIN: options.train_split, VALIDATION: options.validation_split, TEST: options.test_split}
        files, names = files_of_parts(path, asked, SUFFIXES, EXAMPLE, also_train=("input",))
        parts = {role: self._documents(file) for role, file in files.items()}
        shares = (options.validation_share, options.test_share)
        reader = tokenizer(options.tokenizer)
        name = path.name.split(".")[0]
        return language_dataset(name, f"text of {path.name}", parts, reader, options.length, shares, names)

    def _documents(self, file: Path) -> Documents:
        text, separator = read_text(file), self.options.separator
        if separator is None:
            return Documents([text])
        documents = [document for document in text.split(separator) if document.strip()]
        if len(documents) < 2:
            raise DataError(f"data.separator is {separator!r}, which does not stand in {file.name}; leave it out.")
        return Documents(documents)


SOURCE = Text
