"""A parent's answers on the disk: networks that heal one after the other see the same batches, and it is asked once."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from supernet.data.dataset import Batch

# Bytes of answers that are kept at most, and their share of what is free on the disk.
MOST_BYTES = 4 * 2**30
SHARE_OF_FREE = 0.1
# Answers after which it is known whether reading is faster than asking again, and how much faster it must be.
TRIED, FASTER = 3, 2.0


class Answers:
    """What a parent answers, found again by what a batch holds.

    It gives the same numbers whether it reads or asks, so a missing or a damaged file costs time alone.

    Args:
        folder: the one that holds these answers alone.
        parent: digest of the parent and of how it is asked (see `digest`).

    Attributes:
        asked: batches that the parent was asked.
        read: batches whose answers were read.
        worthwhile: whether answers are kept; not if reading them takes about as long as asking.
    """

    def __init__(self, folder: Path, parent: str) -> None:
        self._folder, self._parent = folder, parent
        self.asked = self.read = 0
        self.worthwhile = True
        self._room = -1.0
        self._seconds: list[tuple[float, float]] = []

    def of(self, batch: Batch, ask: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The answer to a batch, on the batch's device.

        Args:
            ask: runs the parent.
        """
        if not self.worthwhile:
            self.asked += 1
            return ask()
        path = self._folder / f"{digest([*batch.inputs.values(), batch.targets], self._parent)}.safetensors"
        if (known := _read(path, batch.device)) is not None:
            self.read += 1
            return known
        self.asked += 1
        began = time.monotonic()
        answer = {name: value.detach().cpu().contiguous() for name, value in ask().items()}
        took = time.monotonic() - began
        if self._write(path, answer) and len(self._seconds) < TRIED:
            self._judge(batch, path, took)
        return {name: value.to(batch.device) for name, value in answer.items()}

    def remove(self) -> None:
        """Delete all that is kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, path: Path, answer: dict[str, Tensor]) -> bool:
        size = sum(value.nbytes for value in answer.values())
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            if self._room < 0:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._room = min(MOST_BYTES, SHARE_OF_FREE * shutil.disk_usage(self._folder).free)
            if size > self._room:
                return False
            save_file(answer, draft)
            draft.replace(path)
        except (OSError, SafetensorError):  # no room, or the folder was removed: nothing but time depends on it
            draft.unlink(missing_ok=True)
            return False
        self._room -= size
        return True

    def _judge(self, batch: Batch, path: Path, asking: float) -> None:
        """Compare asking with reading, digest included, on the first answers; give up if it does not pay."""
        began = time.monotonic()
        digest([*batch.inputs.values(), batch.targets], self._parent)
        _read(path, batch.device)
        self._seconds.append((asking, time.monotonic() - began))
        if len(self._seconds) == TRIED:
            ratios = [asked / read for asked, read in self._seconds]
            if statistics.median(ratios) < FASTER:
                self.worthwhile = False
                self.remove()


def digest(tensors: Iterable[Tensor], *words: str) -> str:
    """A name for tensors of any shape, type and device, and for words beside them."""
    found = hashlib.blake2b(digest_size=20)
    for word in words:
        found.update(word.encode() + b"\0")
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        found.update(f"{tuple(plain.shape)} {plain.dtype}".encode())
        if plain.numel():
            found.update(plain.view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read(path: Path, device: torch.device) -> dict[str, Tensor] | None:
    try:
        return load_file(path, device=str(device))
    except (OSError, SafetensorError):
        return None
