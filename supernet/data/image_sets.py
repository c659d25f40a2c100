"""Decoded image sets in a folder: each is there whole or not at all, and any of them may be removed.

KEY/images.bin    pixels, NCHW, uint8
KEY/labels.npy    shape (N,), int64
KEY/moments.npy   sums of pixels and of their squares, shape (N, C, 2), int64
KEY/facts.json    what it is made of; its time of modification is that of the last use
KEY.lock          locked by those who use the set (shared), or who write or remove it (exclusive)
.KEY.*.draft      a set that is being written, or what a killed process left of it
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supernet.data.dataset import DataError
from supernet.data.on_disk import ImageFile, ImagesOnDisk
from supernet.data.pictures import Look

# Part of every key: sets of another form are not found, and decoded anew.
FORMAT = 2
IMAGES, LABELS, MOMENTS, FACTS = "images.bin", "labels.npy", "moments.npy", "facts.json"


@dataclass(frozen=True, slots=True)
class ImageSet:
    """A set that is on the disk, and that nobody removes while this is in use.

    Attributes:
        labels: shape (N,), int64.
        skipped: place, name and reason of what could not be decoded.
        look: what the pictures were.
    """

    images: ImagesOnDisk
    labels: np.ndarray
    skipped: tuple[tuple[int, str, str], ...]
    look: Look


class Draft:
    """A set that is being written.

    Args:
        folder: folder of its own.
        most: shape NCHW that it has if every image can be decoded.
    """

    def __init__(self, folder: Path, most: tuple[int, int, int, int]) -> None:
        self.folder, self._image_shape = folder, most[1:]
        self._labels = np.empty(most[0], dtype=np.int64)
        self._moments = np.empty((*most[:2], 2), dtype=np.int64)
        self._count = 0
        self.skipped: list[tuple[int, str, str]] = []
        self.look = Look()
        folder.mkdir()
        # Unbuffered: a full disk is met where it is caught, and not when the file is closed.
        self._images = (folder / IMAGES).open("wb", buffering=0)

    def add(self, pixels_CHW: np.ndarray, label: int, sums: np.ndarray) -> None:
        """One more image, contiguous, with its `moments`."""
        left = pixels_CHW.reshape(-1).data
        while len(left):
            left = left[self._images.write(left) :]
        self._labels[self._count], self._moments[self._count] = label, sums
        self._count += 1

    def finish(self, what: str) -> None:
        """Make everything lasting."""
        os.fsync(self._images.fileno())
        for name, values in ((LABELS, self._labels), (MOMENTS, self._moments)):
            with (self.folder / name).open("wb") as file:
                np.save(file, values[: self._count], allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        shape = [self._count, *self._image_shape]
        with (self.folder / FACTS).open("w") as text:
            json.dump({"what": what, "shape": shape, "skipped": self.skipped, "look": asdict(self.look)}, text)
            text.flush()
            os.fsync(text.fileno())
        _sync_folder(self.folder)

    def close(self) -> None:
        """Nothing more is written."""
        self._images.close()


@dataclass(frozen=True, slots=True)
class ImageSets:
    """The sets of a folder.

    Attributes:
        most_bytes: that all sets together may take: those used least recently make room for a new one. None: as much
            as the disk has.
    """

    folder: Path
    most_bytes: int | None = None

    def open(self, key: str) -> ImageSet | None:
        """The set of this key; None if there is none, or it is being written."""
        lock = self._lock(key, fcntl.LOCK_SH)
        if lock is None:
            return None
        try:
            facts = self._whole(key)
            if facts is None:
                os.close(lock)
                return None
            folder = self.folder / key
            num, channels, height, width = facts["shape"]
            labels, sums = (np.load(folder / name, allow_pickle=False) for name in (LABELS, MOMENTS))
            with suppress(PermissionError):  # another user's, who may read it
                os.utime(folder / FACTS)
            file = ImageFile(folder / IMAGES, (num, channels, height, width), lock)
        except BaseException:
            os.close(lock)
            raise
        skipped = tuple((place, name, why) for place, name, why in facts["skipped"])
        return ImageSet(ImagesOnDisk(file, np.arange(num), sums), labels, skipped, Look(**facts["look"]))

    def make(self, key: str, what: str, most: tuple[int, int, int, int], fill: Callable[[Draft], None]) -> bool:
        """Write the set of this key, unless it is there.

        Args:
            what: it is, for people.
            most: shape NCHW that it has if every image can be decoded.
            fill: writes the images; whatever it raises leaves nothing behind.

        Returns:
            False where another process is writing it.

        Raises:
            DataError: it takes more than all sets may take.
            OSError: there is no room (`ENOSPC`, with what is needed and free), or it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock(key, fcntl.LOCK_EX)
        if lock is None:
            return False
        try:
            if self._whole(key) is None:
                self._write(key, what, most, fill)
        finally:
            os.close(lock)
        return True

    def bytes_written(self, key: str) -> int:
        """Bytes of images that whoever is writing this set has written by now."""
        sizes = [0]
        for draft in self._drafts(key):
            with suppress(OSError):
                sizes.append((draft / IMAGES).stat().st_size)
        return max(sizes)

    # --- writing ----------------------------------------------------------------------------------

    def _write(self, key: str, what: str, most: tuple[int, int, int, int], fill: Callable[[Draft], None]) -> None:
        # This process has the lock: whoever left something is gone.
        for left in (*self._drafts(key), self.folder / key):
            shutil.rmtree(left, ignore_errors=True)
        needed = math.prod(most) + 8 * most[0] * (1 + 2 * most[1])
        self._make_room(what, needed)
        folder = self._draft_folder(key)
        try:
            with closing(Draft(folder, most)) as draft:
                fill(draft)
                draft.finish(what)
            folder.rename(self.folder / key)
            _sync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full(what, needed) from None
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _make_room(self, what: str, needed: int) -> None:
        """Remove sets that nobody uses, least recently used first, until there is room for a new one."""
        allowed = needed if self.most_bytes is None else self.most_bytes
        if needed > allowed:
            raise DataError(
                f"The decoded images of {what} take {needed / 1e9:.1f} GB; WINNOW_DATASETS_BYTES allows "
                f"{allowed / 1e9:.1f} GB. Choose a smaller data.size or raise it."
            )
        self._remove_leftovers()
        sizes = self._sizes()

        def crowded() -> bool:
            return self.most_bytes is not None and sum(sizes.values()) + needed > self.most_bytes

        def full() -> bool:
            return shutil.disk_usage(self.folder).free < needed

        for oldest in list(sizes):
            if (crowded() or full()) and self._remove(oldest):
                del sizes[oldest]
        if crowded():
            raise OSError(
                errno.ENOSPC,
                f"No room in {self.folder} for the decoded images of {what}: they take {needed:,} bytes, and jobs that "
                f"run use {sum(sizes.values()):,} of the {allowed:,} that WINNOW_DATASETS_BYTES allows.",
            )
        if full():
            raise self._full(what, needed)

    def _sizes(self) -> dict[str, int]:
        """Bytes of every set by its key, least recently used first."""
        found = []
        for folder in self.folder.iterdir():
            with suppress(OSError):  # removed just now, or not a set
                if not folder.name.startswith("."):
                    size = sum(file.stat().st_size for file in folder.iterdir())
                    found.append(((folder / FACTS).stat().st_mtime, folder.name, size))
        return {key: size for _, key, size in sorted(found)}

    def _remove_leftovers(self) -> None:
        """Remove what killed processes have left."""
        for draft in self.folder.glob(".*.draft"):
            lock = self._lock(draft.name.split(".")[1], fcntl.LOCK_EX)
            if lock is not None:
                shutil.rmtree(draft, ignore_errors=True)
                os.close(lock)

    def _remove(self, key: str) -> bool:
        """Remove a set; False if somebody uses it."""
        lock = self._lock(key, fcntl.LOCK_EX)
        if lock is None:
            return False
        try:
            gone = self._draft_folder(key)
            (self.folder / key).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        finally:
            os.close(lock)
        return True

    def _full(self, what: str, needed: int) -> OSError:
        free = shutil.disk_usage(self.folder).free
        return OSError(
            errno.ENOSPC,
            f"No room on the disk of {self.folder} for the decoded images of {what}: they take {needed:,} bytes "
            f"and {free:,} are free.",
        )

    # --- what is there ----------------------------------------------------------------------------

    def _whole(self, key: str) -> dict[str, Any] | None:
        """The facts of a set whose files are as long as they must be; None for anything else."""
        folder = self.folder / key
        try:
            facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
            num, channels, height, width = facts["shape"]
            _ = facts["skipped"], Look(**facts["look"])
            sizes = [(folder / name).stat().st_size for name in (IMAGES, LABELS, MOMENTS)]
            shapes = [np.load(folder / name, mmap_mode="r").shape for name in (LABELS, MOMENTS)]
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None
        whole = sizes[0] == num * channels * height * width and shapes == [(num,), (num, channels, 2)]
        return facts if whole else None

    def _draft_folder(self, key: str) -> Path:
        return self.folder / f".{key}.{secrets.token_hex(4)}.draft"

    def _drafts(self, key: str) -> list[Path]:
        return list(self.folder.glob(f".{key}.*.draft"))

    def _lock(self, key: str, kind: int) -> int | None:
        """A lock on a set until its descriptor is closed; None if somebody else's excludes it."""
        if not self.folder.is_dir():
            return None
        lock = os.open(self.folder / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError as error:
            os.close(lock)
            raise DataError(
                f"{self.folder} is on a file system without locks ({error.strerror}), so images cannot be decoded "
                "into it; choose another WINNOW_DATA_DIR."
            ) from None
        return lock


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder as lasting as their files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
