"""Images that lie in a file: views by index, read a batch at a time.

N images, C channels, H x W pixels.
"""

from __future__ import annotations

import errno
import math
import os
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Reads that are under way at once, and the least bytes of one: a disk or a file server answers many as fast as one.
READERS, LEAST_READ_BYTES = 8, 2**20


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """Images on their way into memory."""

    rows: np.ndarray
    images: Tensor
    parts: Sequence[Future[None]]

    def wait(self) -> Tensor:
        """The images, once all are there."""
        for part in self.parts:
            part.result()
        return self.images


class ImageFile:
    """Images of one shape, one after the other in a file.

    They are read by position and not through a memory map: a disk that fails or a file that was cut short raises an
    error instead of killing the process, memory holds only what was asked for, and several reads are under way at once.

    Args:
        shape: NCHW.
        lock: file descriptor of a lock that is held until this object is gone; closed then, as the file is.

    Raises:
        OSError: there is no such file.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int], lock: int | None = None) -> None:
        self.path, self.shape = path, shape
        self._image_bytes = math.prod(shape[1:])
        self._file = os.open(path, os.O_RDONLY)
        # Whole images in any order: what lies behind one is not what comes next.
        if hasattr(os, "posix_fadvise"):  # macOS has none
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="images")
        self._expected: _Reading | None = None
        for descriptor in (self._file, lock):
            if descriptor is not None:
                weakref.finalize(self, os.close, descriptor)

    def read(self, rows: np.ndarray) -> Tensor:
        """Images (uint8) at these positions, in this order.

        Raises:
            OSError: they cannot be read.
        """
        expected = self._expected
        if expected is None or not np.array_equal(expected.rows, rows):
            return self._begin(rows).wait()
        self._expected = None
        return expected.wait()

    def expect(self, rows: np.ndarray) -> None:
        """Start to read what `read` will be asked for next; the expectation before is dropped."""
        self._expected = self._begin(rows)

    def _begin(self, rows: np.ndarray) -> _Reading:
        images = torch.empty((len(rows), *self.shape[1:]), dtype=torch.uint8)
        memory = images.numpy().reshape(-1).data
        share = max(1, -(-len(rows) // READERS), LEAST_READ_BYTES // self._image_bytes)
        parts = []
        for start in range(0, len(rows), share):
            some = rows[start : start + share]
            room = memory[start * self._image_bytes : (start + len(some)) * self._image_bytes]
            parts.append(self._readers.submit(self._fill, some, room))
        return _Reading(rows, images, parts)

    def _fill(self, rows: np.ndarray, memory: memoryview) -> None:
        """Neighbours in the file are read together."""
        starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
            self._fill_run(int(rows[start]), memory[start * self._image_bytes : end * self._image_bytes])

    def _fill_run(self, row: int, memory: memoryview) -> None:
        offset = row * self._image_bytes
        while len(memory):
            count = os.preadv(self._file, [memory], offset)
            if count == 0:
                raise OSError(errno.EIO, f"{self.path} ends before image {row}: it was cut short.")
            memory, offset = memory[count:], offset + count


@dataclass(frozen=True, slots=True, eq=False)
class ImagesOnDisk:
    """Some images of a file, in an order of their own. Indexed like a tensor, it gives tensors in memory.

    Attributes:
        rows: their positions in the file, shape (N,), int64.
        moments: moments of every image of the file: per channel the sum of its pixels and of their squares,
            shape (images of the file, C, 2), int64.
    """

    file: ImageFile
    rows: np.ndarray
    moments: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Images NCHW, uint8, on the CPU.

        Raises:
            OSError: they cannot be read.
        """
        return self.file.read(self._rows(index))

    def take(self, index: np.ndarray | Tensor) -> ImagesOnDisk:
        """A view of these images; nothing is read."""
        return ImagesOnDisk(self.file, self.rows[np.asarray(index)], self.moments)

    def expect(self, index: Tensor | slice) -> None:
        """Start to read what is indexed next."""
        self.file.expect(self._rows(index))

    def sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums over all pixels of every channel, and of their squares, each (C,), int64; nothing is read."""
        total = self.moments[self.rows].sum(0)
        return total[:, 0], total[:, 1]

    def _rows(self, index: Tensor | slice) -> np.ndarray:
        rows: np.ndarray = self.rows[index if isinstance(index, slice) else index.cpu().numpy()]
        return rows

    @property
    def shape(self) -> tuple[int, ...]:
        """NCHW."""
        return (len(self.rows), *self.file.shape[1:])

    def dim(self) -> int:
        """Four."""
        return len(self.shape)

    @property
    def device(self) -> torch.device:
        """Where indexing puts images."""
        return torch.device("cpu")

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the view."""
        return self.rows.nbytes


def moments(pixels_CHW: np.ndarray) -> np.ndarray:
    """Per channel the sum of an image's pixels (uint8) and of their squares, shape (C, 2), int64."""
    sums = pixels_CHW.sum((1, 2), dtype=np.int64)
    squares = np.square(pixels_CHW, dtype=np.uint16).sum((1, 2), dtype=np.int64)
    return np.stack([sums, squares], axis=1)
