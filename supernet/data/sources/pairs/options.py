"""Options of the data source `pairs`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from supernet.data.options import (
    Channels,
    ColumnName,
    CorruptShare,
    DataKind,
    ImageColumn,
    Length,
    Limit,
    LowerCase,
    Path,
    Pixels,
    Resize,
    SourceOptions,
    TestShare,
    TestSplit,
    TextColumn,
    Tokenizer,
    TrainSplit,
    ValidationShare,
    ValidationSplit,
    WhereImagesLie,
)


class PairsOptions(SourceOptions):
    """Images with one or more texts each: a table of files and captions, or a parquet file that holds the images."""

    kind: ClassVar[DataKind | None] = "pairs"

    path: Path
    train_split: TrainSplit = None
    validation_split: ValidationSplit = None
    test_split: TestSplit = None
    image: ImageColumn = None
    text: TextColumn = None
    label: Annotated[
        ColumnName,
        Field(description="Column of the images' classes, for zero_shot_accuracy alone; null: there are none."),
    ] = None
    templates: Annotated[
        str,
        Field(
            description="Texts that name a class for zero_shot_accuracy, one a line, with {} in place of its name.",
            min_length=2,
            max_length=20_000,
        ),
    ] = "This is a photo of {}."
    size: Pixels = 224
    resize: Resize = None
    channels: Channels = 3
    tokenizer: Tokenizer = None
    lower_case: LowerCase = False
    length: Length = 64
    validation_share: ValidationShare = 0.1
    test_share: TestShare = 0.1
    limit: Limit = None
    corrupt_share: CorruptShare = 0.01
    storage: WhereImagesLie = "auto"

    @field_validator("templates")
    @classmethod
    def _name_a_class(cls, templates: str) -> str:
        wrong = [line for line in templates.splitlines() if line.strip() and line.count("{}") != 1]
        if wrong or not templates.strip():
            raise ValueError(f"Every line must have one {{}} in place of a class's name; got {(wrong or [''])[0]!r}.")
        return templates

    @property
    def texts_of_a_class(self) -> tuple[str, ...]:
        """The templates."""
        return tuple(line.strip() for line in self.templates.splitlines() if line.strip())


OPTIONS = PairsOptions
