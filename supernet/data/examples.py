"""Miniature data, written by hand so that every number in a test is known: what the sources' `example.py` share."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

# Colours that tell the classes of the miniature images apart.
COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def picture(label: int, seed: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """A noisy image in its class's colour."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    """The image as a file's content."""
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()
