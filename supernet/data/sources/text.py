"""Plain text for language models, plain or compressed with gzip."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding
from supernet.data.images import need
from supernet.data.text import find_part, language_dataset, read_text
from supernet.data.tokens import tokenizer

SUFFIXES = (".txt", ".text", ".md", ".tokens", ".raw")
EXAMPLE = "a text file (or .gz of one), or a folder with train.txt and, if there are, valid.txt and test.txt"


@dataclass(frozen=True, slots=True)
class Text:
    """Read from `path` and packed into blocks without padding.

    Attributes:
        tokenizer: a checkpoint's folder or name; None: bytes.
        length: tokens of a block.
        validation_share, test_share: of the text, from its end, where there is no file for them.
    """

    path: str | None = None
    tokenizer: str | None = None
    length: int = 128
    validation_share: float = 0.1
    test_share: float = 0.1

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset. The seed changes nothing: see `language_dataset`.

        Raises:
            DataError: the text is too short, or is not text.
        """
        path = need(self.path, "text", EXAMPLE)
        if path.is_dir():
            names = {"train": ("train", "input"), "validation": ("valid", "validation", "dev"), "test": ("test",)}
            found = {part: find_part(path, called, SUFFIXES) for part, called in names.items()}
            if found["train"] is None:
                raise DataError(f"data.path {str(path)!r} has no train.txt; give {EXAMPLE}.")
            parts = {part: read_text(file) for part, file in found.items() if file is not None}
        else:
            parts = {"train": read_text(path)}
        name = path.name.split(".")[0]
        reader = tokenizer(self.tokenizer)
        shares = (self.validation_share, self.test_share)
        return language_dataset(name, f"text of {path.name}", parts, reader, self.length, shares)


SOURCE = Text
