"""Options of the data source `stripes`: read by the API, so nothing heavy is imported here."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from winnow.plugins import ImageInput, SourceOptions


class StripesOptions(SourceOptions):
    """Drawn images of stripes, in one direction a class."""

    kind: ClassVar[Literal["image"]] = "image"

    directions: Annotated[int, Field(ge=2, le=36, description="Classes.")] = 10
    size: Annotated[int, Field(ge=8, le=64, description="Height and width in pixels.")] = 8
    count: Annotated[int, Field(ge=8, le=10_000, description="Images of a class.")] = 60
    validation_share: Annotated[float, Field(gt=0, lt=1, description="Of the training images.")] = 0.25

    def gives(self) -> ImageInput:
        """What networks get from it: a job is checked against it before anything is drawn."""
        return ImageInput(channels=1, size=self.size, classes=self.directions)


OPTIONS = StripesOptions
