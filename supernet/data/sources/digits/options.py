"""Options of the data source `digits`."""

from __future__ import annotations

from typing import ClassVar

from search_space.inputs import ImageInput, Input
from supernet.data.options import DataKind, SourceOptions, ValidationShare


class DigitsOptions(SourceOptions):
    """scikit-learn's handwritten digits: no download."""

    kind: ClassVar[DataKind | None] = "image"

    validation_share: ValidationShare = 0.25

    def gives(self) -> Input | None:
        """See `SourceOptions.gives`."""
        return ImageInput(channels=1, size=8, classes=10)

    def likely_examples(self, num_bytes: int) -> int | None:
        """See `SourceOptions.likely_examples`."""
        return round(1437 * (1 - self.validation_share))


OPTIONS = DigitsOptions
