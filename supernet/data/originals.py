"""Originals: pictures as they lie in their files, for crops that are cut from them and only then resized.

Nothing of them is held in memory: what a step wants is decoded when it is wanted, by several threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from supernet.data.errors import DataError

if TYPE_CHECKING:
    from supernet.data.images import Decoder

MOST_THREADS = 32
# Of Inception's crops (Szegedy et al., arXiv 1409.4842, section 6), as ImageNet recipes have them: shares of the area,
# and ratios of width to height; tries before the centre is taken.
LEAST_RATIO, MOST_RATIO, TRIES = 3 / 4, 4 / 3, 10
# Random numbers of one crop: for every try area, ratio, left, top.
DRAWS = (TRIES, 4)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(MOST_THREADS, cores()), thread_name_prefix="originals")


@dataclass(frozen=True, slots=True, eq=False)
class Originals:
    """Pictures of a split, by position.

    Attributes:
        read: name and content, or file, of a picture by its row.
        rows: rows of the split's pictures, shape (N,), int64.
        decoder: how they become pixels.
    """

    read: Callable[[int], tuple[str, bytes | Path]]
    rows: np.ndarray
    decoder: Decoder
    _expected: dict[tuple[bytes, bytes], Sequence[Future[np.ndarray]]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> Originals:
        """Some of them; nothing is read."""
        return Originals(self.read, self.rows[index], self.decoder)

    def crops(self, index: np.ndarray, draws: np.ndarray, least_area: float) -> np.ndarray:
        """Random crops, resized: shape (len(index), C, size, size), uint8.

        Args:
            draws: uniform in 0 to 1, shape (len(index), *DRAWS), which decide the crops.
            least_area: share of a picture's area that a crop has at least.

        Raises:
            DataError: a picture cannot be read any more.
        """
        expected = self._expected.pop(_key(index, draws), None) or self._begin(index, draws, least_area)
        return np.stack([future.result() for future in expected])

    def expect(self, index: np.ndarray, draws: np.ndarray, least_area: float) -> None:
        """Start to decode what `crops` will be asked for next; the expectation before is dropped."""
        for future in (future for futures in self._expected.values() for future in futures):
            future.cancel()
        self._expected.clear()
        self._expected[_key(index, draws)] = self._begin(index, draws, least_area)

    def _begin(self, index: np.ndarray, draws: np.ndarray, least_area: float) -> Sequence[Future[np.ndarray]]:
        rows = self.rows[index].tolist()
        return [_readers().submit(self._crop, row, draw, least_area) for row, draw in zip(rows, draws, strict=True)]

    def _crop(self, row: int, draws: np.ndarray, least_area: float) -> np.ndarray:
        from PIL import Image

        name, content = self.read(row)
        picture = self.decoder.picture(content)
        if picture is None:
            raise DataError(f"{name} could be decoded when the data were read, and cannot any more: it has changed.")
        fit = self.decoder.fit
        filtered = Image.Resampling.BICUBIC if fit is None else Image.Resampling[fit.resample.upper()]
        size = (self.decoder.size, self.decoder.size)
        return self.decoder.pixels(picture.crop(box(*picture.size, draws, least_area)).resize(size, filtered))


def box(width: int, height: int, draws: np.ndarray, least_area: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a crop: the first try that fits, else the largest centre of a fitting ratio.

    Args:
        draws: uniform in 0 to 1, shape `DRAWS`.
    """
    for area_draw, ratio_draw, left_draw, top_draw in draws.tolist():
        area = width * height * (least_area + (1 - least_area) * area_draw)
        ratio = math.exp(math.log(LEAST_RATIO) + (math.log(MOST_RATIO) - math.log(LEAST_RATIO)) * ratio_draw)
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(left_draw * (width - wide + 1)), int(top_draw * (height - high + 1))
            return left, top, left + wide, top + high
    ratio = min(max(width / height, LEAST_RATIO), MOST_RATIO)
    wide = min(width, max(1, round(height * ratio)))
    high = min(height, max(1, round(wide / ratio)))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def _key(index: np.ndarray, draws: np.ndarray) -> tuple[bytes, bytes]:
    return index.tobytes(), draws.tobytes()
