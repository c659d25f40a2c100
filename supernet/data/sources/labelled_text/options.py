"""Options of the data source `labelled_text`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from supernet.data.options import (
    DataKind,
    Length,
    Limit,
    Path,
    SourceOptions,
    TestShare,
    TestSplit,
    Tokenizer,
    TrainSplit,
    ValidationShare,
    ValidationSplit,
)

Column = str | Annotated[int, Field(ge=0)] | None


class LabelledTextOptions(SourceOptions):
    """Tab- or comma-separated texts with labels, plain or .gz."""

    kind: ClassVar[DataKind | None] = "labelled text"
    tells_classes: ClassVar[bool] = True

    path: Path
    train_split: TrainSplit = None
    validation_split: ValidationSplit = None
    test_split: TestSplit = None
    text: Column = Field(
        default=None, description="Column: its name, or its number from 0. Null: the first of two columns."
    )
    label: Column = Field(
        default=None, description="Column: its name, or its number from 0. Null: the second of two columns."
    )
    header: bool | None = Field(
        default=None,
        description="Whether the first line names the columns. Null: it does if `text` or `label` is a name; a "
        "first line that only looks so is refused.",
    )
    tokenizer: Tokenizer = None
    length: Length = 128
    validation_share: ValidationShare = 0.1
    test_share: TestShare = 0.1
    limit: Limit = None

    def likely_examples(self, num_bytes: int) -> int | None:
        """See `SourceOptions.likely_examples`: a row has about a hundred bytes."""
        return num_bytes // 100


OPTIONS = LabelledTextOptions
