"""Plain text for language models, plain or compressed with gzip."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding
from supernet.data.images import need
from supernet.data.sources.text.options import TextOptions
from supernet.data.text import find_part, language_dataset, read_text
from supernet.data.tokens import tokenizer

SUFFIXES = (".txt", ".text", ".md", ".tokens", ".raw")
EXAMPLE = "a text file (or .gz of one), or a folder with train.txt and, if there are, valid.txt and test.txt"


@dataclass(frozen=True, slots=True)
class Text:
    """Read from `path` and packed into blocks without padding."""

    options: TextOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset. The seed changes nothing: see `language_dataset`.

        Raises:
            DataError: the text is too short, or is not text.
        """
        path = need(self.options.path, EXAMPLE)
        if path.is_dir():
            names = {"train": ("train", "input"), "validation": ("valid", "validation", "dev"), "test": ("test",)}
            found = {part: find_part(path, called, SUFFIXES) for part, called in names.items()}
            if found["train"] is None:
                raise DataError(f"data.path {str(path)!r} has no train.txt; give {EXAMPLE}.")
            parts = {part: read_text(file) for part, file in found.items() if file is not None}
        else:
            parts = {"train": read_text(path)}
        name = path.name.split(".")[0]
        reader = tokenizer(self.options.tokenizer)
        shares = (self.options.validation_share, self.options.test_share)
        return language_dataset(name, f"text of {path.name}", parts, reader, self.options.length, shares)


SOURCE = Text
