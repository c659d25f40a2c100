"""Options of the data source `huggingface`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from plugins.options import NamesFile
from supernet.data.options import (
    Channels,
    CorruptShare,
    Length,
    Limit,
    Pixels,
    Resize,
    Rows,
    SourceOptions,
    TestShare,
    TestSplit,
    Tokenizer,
    TrainSplit,
    ValidationShare,
    ValidationSplit,
    WhereImagesLie,
)


class HuggingFaceOptions(SourceOptions):
    """Any data set that Hugging Face's `datasets` can load."""

    tells_classes: ClassVar[bool] = True

    path: Annotated[
        str,
        Field(description="Name on the Hub, folder or file.", min_length=1, max_length=4096),
        NamesFile(or_hub=True),
    ]
    config: str | None = Field(default=None, description="Configuration of the data set, where it has several.")
    train_split: TrainSplit = None
    validation_split: ValidationSplit = None
    test_split: TestSplit = None
    image: str | None = Field(default=None, description="Column of images; null: the only one of that type.")
    text: str | None = Field(default=None, description="Column of text; null: the only one of that type.")
    label: str | None = Field(default=None, description="Column of labels; null: the only one that can hold labels.")
    rows: Rows = None
    size: Pixels = 224
    resize: Resize = None
    channels: Channels = 3
    tokenizer: Tokenizer = None
    length: Length = 128
    validation_share: ValidationShare = 0.1
    test_share: TestShare = 0.1
    limit: Limit = None
    corrupt_share: CorruptShare = 0.01
    storage: WhereImagesLie = "auto"


OPTIONS = HuggingFaceOptions
