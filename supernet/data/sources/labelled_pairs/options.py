"""Options of the data source `labelled_pairs`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

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


class LabelledPairsOptions(SourceOptions):
    """Images with texts and a class of both, such as questions with answers: a table of files, texts and labels, a
    parquet file that holds the images, or a data set that `datasets` has saved."""

    kind: ClassVar[DataKind | None] = "labelled pairs"
    tells_classes: ClassVar[bool] = True

    path: Path
    train_split: TrainSplit = None
    validation_split: ValidationSplit = None
    test_split: TestSplit = None
    image: ImageColumn = None
    text: TextColumn = None
    label: Annotated[ColumnName, Field(description="Column of the class of image and text; null: found.")] = None
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


OPTIONS = LabelledPairsOptions
