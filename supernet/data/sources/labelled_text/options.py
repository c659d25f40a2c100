"""Options of the data source `labelled_text`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from supernet.data.options import DataKind, Length, Limit, Path, SourceOptions, TestShare, Tokenizer, ValidationShare


class LabelledTextOptions(SourceOptions):
    """Tab- or comma-separated texts with labels, plain or .gz."""

    kind: ClassVar[DataKind | None] = "labelled text"
    tells_classes: ClassVar[bool] = True

    path: Path
    text: str | Annotated[int, Field(ge=0)] = Field(default=0, description="Column: its name, or its number from 0.")
    label: str | Annotated[int, Field(ge=0)] = Field(default=1, description="Column: its name, or its number from 0.")
    tokenizer: Tokenizer = None
    length: Length = 128
    validation_share: ValidationShare = 0.1
    test_share: TestShare = 0.1
    limit: Limit = None


OPTIONS = LabelledTextOptions
