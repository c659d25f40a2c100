"""Fit: a picture as a checkpoint's own image processor sizes it, with Pillow's filters as transformers has them."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from supernet.data.dataset import DataError
from supernet.data.pictures import NotShown

# Of a resized picture whose centre is cut.
MOST_PIXELS = 2**28


@dataclass(frozen=True, slots=True)
class Fit:
    """Resize, then cut the centre.

    Attributes:
        edge: pixels of the shorter side, or of both; None: nothing is resized.
        keeps_ratio: whether the other side follows.
        resample: a filter of Pillow, such as `bilinear`.
        crop: pixels a side of the centre; None: all of it.
    """

    edge: int | None
    keeps_ratio: bool
    resample: str
    crop: int | None

    def __call__(self, image: Image.Image, size: int) -> Image.Image:
        """The picture in `size` pixels a side.

        Raises:
            DataError: nothing is resized, and the picture has another size.
            NotShown: its longer side would be too long.
        """
        if self.edge is not None:
            wanted = self._sides(image.size) if self.keeps_ratio else (self.edge, self.edge)
            if wanted[0] * wanted[1] > MOST_PIXELS:
                raise NotShown(f"too long and thin to be resized: {image.size[0]}x{image.size[1]} pixels")
            if image.size != wanted:
                image = image.resize(wanted, Image.Resampling[self.resample.upper()])
        if self.crop is not None:
            left, top = (image.size[0] - self.crop) // 2, (image.size[1] - self.crop) // 2
            image = image.crop((left, top, left + self.crop, top + self.crop))
        if image.size != (size, size):
            raise DataError(
                f"The checkpoint's preprocessor_config.json resizes nothing, its network takes {size}x{size} pixels, "
                f"and an image has {image.size[0]}x{image.size[1]}. Resize the images, or set do_resize in that file."
            )
        return image

    def __str__(self) -> str:
        side = "shorter side" if self.keeps_ratio else "both sides"
        steps = [] if self.edge is None else [f"{side} resized to {self.edge} pixels ({self.resample})"]
        steps += [] if self.crop is None else [f"centre of {self.crop} pixels"]
        return ", ".join(steps) or "images of the network's size, not resized"

    def _sides(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Width and height whose shorter one is the edge; the longer one is rounded down, as transformers does."""
        assert self.edge is not None
        short, long = min(sides), max(sides)
        other = int(self.edge * long / short)
        return (self.edge, other) if sides[0] <= sides[1] else (other, self.edge)
