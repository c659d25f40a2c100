"""Pictures: whatever Pillow opens, upright, as 8-bit grey or colour that show what the file shows.

Deep pixels (16 and 32 bits, floats) are scaled by a white that a whole set has in common, so that a dark picture stays
darker than a light one. Transparent pixels are laid on a ground that leaves something to see.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

# Values that may be white, by the largest value of a set: of 8, 10, 12 and 14 bits as shifted up from 8, and of whole
# 16, 24 and 32 bits. A set of 16 bits is divided by 257.
WHITES = (255, 1020, 4080, 16320, 65535, 2**24 - 1, 2**32 - 1)
FLOAT_WHITES = (1.0, 255.0, 65535.0)
BROKEN = "not a whole image"


class NotShown(ValueError):
    """A file that gives no picture; the message is the reason, in words that follow a name."""


@dataclass(frozen=True, slots=True)
class White:
    """The value of a white pixel, of whole numbers and of floats."""

    ints: int = 65535
    floats: float = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture was, or all pictures of a set together.

    Attributes:
        frames: those with several frames, of which the first is used.
        transparent: those with transparent pixels.
        deep: those with more than 8 bits a pixel.
        ints, floats: the largest deep values.
    """

    frames: int = 0
    transparent: int = 0
    deep: int = 0
    ints: int = 0
    floats: float = 0.0

    def __add__(self, other: Look) -> Look:
        return Look(
            self.frames + other.frames,
            self.transparent + other.transparent,
            self.deep + other.deep,
            max(self.ints, other.ints),
            max(self.floats, other.floats),
        )

    @property
    def white(self) -> White:
        """What is white in a set of these: the least of the usual whites that no value exceeds."""
        fallback = White()
        return White(
            next((white for white in WHITES if self.ints <= white), WHITES[-1]) if self.ints else fallback.ints,
            next((white for white in FLOAT_WHITES if self.floats <= white), FLOAT_WHITES[-1]),
        )

    def remarks(self) -> tuple[str, ...]:
        """What a user should know of them."""
        said = []
        if self.frames:
            said.append(f"{_files(self.frames)} several frames or pages: the first is used.")
        if self.transparent:
            said.append(
                f"{_files(self.transparent)} transparent pixels: they are laid on white, or on black where white would "
                "hide everything."
            )
        if self.deep:
            whites = [f"{self.white.ints}"] if self.ints else []
            whites += [f"{self.white.floats:g} of floats"] if self.floats else []
            said.append(
                f"{_files(self.deep)} more than 8 bits a pixel: values are scaled to 8 bits, and "
                f"{' and '.join(whites) or 'no value'} is white."
            )
        return tuple(said)


def _files(count: int) -> str:
    return "1 image has" if count == 1 else f"{count:,} images have"


def opened(encoded: bytes | Path, channels: int, white: White | None) -> tuple[Image.Image, Look]:
    """The picture of a file, upright, and what it was.

    Args:
        channels: 1 (mode L) or 3 (mode RGB).
        white: white of deep pixels; None: as the file alone suggests.

    Raises:
        NotShown: the file gives no picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as file:
            frames = int(bool(getattr(file, "is_animated", False)))
            shown, look = _shown(ImageOps.exif_transpose(file), white)
            wanted = "RGB" if channels == 3 else "L"
            return shown if shown.mode == wanted else shown.convert(wanted), look + Look(frames=frames)
    except NotShown:
        raise
    except OSError as error:
        # Of the file system; Pillow's own have no number.
        raise NotShown(BROKEN if error.errno is None else f"cannot be read: {error.strerror}") from None
    except Exception as error:  # of a broken file Pillow's readers raise SyntaxError, struct.error and many more
        if isinstance(error, Image.DecompressionBombError):
            raise NotShown("more pixels than Pillow opens") from None
        raise NotShown(BROKEN) from None


def _shown(image: Image.Image, white: White | None) -> tuple[Image.Image, Look]:
    """An image of any mode as L or RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _deep(image, white)
    if image.has_transparency_data:
        return _on_a_ground(image)
    if image.mode in ("L", "RGB"):
        return image, Look()
    if image.mode == "1":
        return image.convert("L"), Look()
    return (_from_lab(image) if image.mode == "LAB" else image.convert("RGB")), Look()


def _deep(image: Image.Image, white: White | None) -> tuple[Image.Image, Look]:
    from PIL import Image

    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    is_float = values.dtype.kind == "f"
    most = FLOAT_WHITES[-1] if is_float else WHITES[-1]
    if not np.isfinite(values).all() or low < 0 or high > most:
        raise NotShown(f"pixels from {low:g} to {high:g}, and nothing says which value is white")
    look = Look(deep=1, floats=high) if is_float else Look(deep=1, ints=int(high))
    chosen = white or look.white
    scaled = values.astype(np.float64) * (255 / (chosen.floats if is_float else chosen.ints))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8)), look


def _on_a_ground(image: Image.Image) -> tuple[Image.Image, Look]:
    from PIL import Image

    whole = image.convert("RGBA")
    colours = whole.convert("RGB")
    low, high = _extremes(whole.getchannel("A"))
    if low == 255:
        return colours, Look()
    if high == 0:  # nothing would be seen on any ground: the colours are all there is
        return colours, Look(transparent=1)
    shown = colours
    for ground in ("white", "black"):
        shown = Image.new("RGB", whole.size, ground)
        shown.paste(colours, mask=whole.getchannel("A"))
        if any(least != most for least, most in (_extremes(channel) for channel in shown.split())):
            break
    return shown, Look(transparent=1)


def _extremes(channel: Image.Image) -> tuple[float, float]:
    low, high = channel.getextrema()
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    return low, high


def _from_lab(image: Image.Image) -> Image.Image:
    """Pillow itself converts no LAB; its colour management does."""
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if converted is None:
        raise NotShown("colours in LAB that cannot be converted")
    return converted
