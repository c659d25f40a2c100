"""Options of the data source `text`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from search_space.inputs import Input, TokenInput
from supernet.data.options import (
    DataKind,
    Length,
    Path,
    SourceOptions,
    TestShare,
    TestSplit,
    Tokenizer,
    TrainSplit,
    ValidationShare,
    ValidationSplit,
)


class TextOptions(SourceOptions):
    """Plain text for language models, plain or .gz."""

    kind: ClassVar[DataKind | None] = "text"

    path: Path
    train_split: TrainSplit = None
    validation_split: ValidationSplit = None
    test_split: TestSplit = None
    separator: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="What stands between documents, such as `<|endoftext|>`; null: a file is one document.",
    )
    tokenizer: Tokenizer = None
    length: Length = 128
    validation_share: ValidationShare = 0.1
    test_share: TestShare = 0.1

    def gives(self) -> Input | None:
        """See `SourceOptions.gives`."""
        if self.tokenizer is not None:
            return None
        return TokenInput(vocab=256, length=self.length, max_length=self.length, classes=None)

    def likely_examples(self, num_bytes: int) -> int | None:
        """See `SourceOptions.likely_examples`: a token of a checkpoint's tokenizer has about four bytes."""
        return num_bytes // (self.length * (1 if self.tokenizer is None else 4))


OPTIONS = TextOptions
