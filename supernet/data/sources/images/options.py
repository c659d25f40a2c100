"""Options of the data source `images`."""

from __future__ import annotations

from typing import ClassVar

from supernet.data.options import (
    Channels,
    CorruptShare,
    DataKind,
    Limit,
    Path,
    Pixels,
    Resize,
    SourceOptions,
    TestShare,
    TestSplit,
    TrainSplit,
    ValidationShare,
    ValidationSplit,
    WhereImagesLie,
)


class ImagesOptions(SourceOptions):
    """A folder of images, one folder per class."""

    kind: ClassVar[DataKind | None] = "image"
    tells_classes: ClassVar[bool] = True

    path: Path
    train_split: TrainSplit = None
    validation_split: ValidationSplit = None
    test_split: TestSplit = None
    size: Pixels = 224
    resize: Resize = None
    channels: Channels = 3
    validation_share: ValidationShare = 0.1
    test_share: TestShare = 0.2
    limit: Limit = None
    corrupt_share: CorruptShare = 0.01
    storage: WhereImagesLie = "auto"


OPTIONS = ImagesOptions
