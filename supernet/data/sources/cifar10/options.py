"""Options of the data source `cifar10`."""

from __future__ import annotations

from typing import ClassVar

from search_space.inputs import ImageInput, Input
from supernet.data.options import CorruptShare, DataKind, Limit, Path, SourceOptions, ValidationShare


class Cifar10Options(SourceOptions):
    """CIFAR-10 as parquet or in its binary form."""

    kind: ClassVar[DataKind | None] = "image"

    path: Path
    validation_share: ValidationShare = 0.1
    limit: Limit = None
    corrupt_share: CorruptShare = 0.01

    def gives(self) -> Input | None:
        """See `SourceOptions.gives`."""
        return ImageInput(channels=3, size=32, classes=10)

    def likely_examples(self, num_bytes: int) -> int | None:
        """See `SourceOptions.likely_examples`."""
        return round(50_000 * (1 - self.validation_share))


OPTIONS = Cifar10Options
