"""Decoding a source's images: into memory, or once into a folder from which batches are read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from supernet.data.dataset import DataError
from supernet.data.fitting import Fit
from supernet.data.image_sets import FORMAT, Draft, ImageSet, ImageSets
from supernet.data.images import Decoder, Labelled
from supernet.data.on_disk import moments
from supernet.data.options import Storage
from supernet.data.originals import MOST_THREADS, Originals, cores
from supernet.data.pictures import BROKEN, Look, NotShown, White
from supernet.data.splitting import without

# Share of the available memory that images may take; their splits are copies of them.
MEMORY_SHARE = 0.4
# Images that a thread decodes in one go, and goes that wait for each thread: small, so that an interruption is soon.
AT_ONCE, WAITING = 16, 2
# Between two looks at a set that another process decodes.
LOOK_SECONDS = 0.5

# Name, content or file, and label of an image.
Item: TypeAlias = tuple[str, bytes | Path, int]


def unheard(_said: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Where decoded images may lie, and who hears of it.

    Attributes:
        folder: folder of image sets that do not fit in memory; None: there is none.
        most_bytes: that all sets in it may take; None: any number.
        processes: on this machine that hold the same images in memory.
        progress: called with the share that is decoded; what it raises ends the decoding and leaves nothing behind.
        tell: called with a sentence for the user.
        fit: how a checkpoint's own processor fits pictures; None: as the source does.
        classes: called with the names of the classes as soon as a source knows them, before it decodes anything; what
            it raises ends the loading.
    """

    folder: Path | None = None
    most_bytes: int | None = None
    processes: int = 1
    progress: Callable[[float], object] = unheard
    tell: Callable[[str], object] = unheard
    fit: Fit | None = None
    classes: Callable[[Sequence[str]], object] = unheard


# No folder: what does not fit in memory is refused.
IN_MEMORY = Decoding()


@dataclass(frozen=True, slots=True)
class Encoded:
    """A part of a source before it is decoded.

    Attributes:
        items: every image, in an order that does not change.
        count: count of the items.
        identity: words that no other items have, asked for where decoded images are kept: paths, sizes, times.
        original: name and content, or file, of the image at a place of that order, for crops of whole pictures; None:
            pictures have the size that they are stored in, so that a crop of what is stored is the same.
    """

    items: Callable[[], Iterable[Item]]
    count: int
    identity: Callable[[], Iterable[object]]
    original: Callable[[int], tuple[str, bytes | Path]] | None = None


def decode(
    name: str, parts: Sequence[Encoded], decoder: Decoder, storage: Storage, decoding: Decoding
) -> list[Labelled]:
    """Decoded parts, without what cannot be read; the pixels are the same wherever they lie.

    Args:
        name: name of the data, for messages.
        storage: `auto` keeps images in memory where they fit, and on the disk where they do not.

    Raises:
        DataError: the images do not fit where they are to lie.
        OSError: the disk is full (`ENOSPC`, with what is needed and free).
    """
    decoder = sized(decoder, decoding)
    in_memory = _in_memory(decoder, sum(part.count for part in parts), storage, decoding)
    while True:
        decoded = [*_decoded(name, parts, decoder, decoding, in_memory=in_memory)]
        white = sum((part.look for part in decoded), Look()).white
        if white == decoder.white:
            return decoded
        # Deep pixels of all parts have one white, and which one is known once all of them were seen.
        decoder = replace(decoder, white=white)


def sized(decoder: Decoder, decoding: Decoding) -> Decoder:
    """The decoder as it is used: with the fit of a checkpoint, and for a whole set."""
    return replace(decoder, fit=decoding.fit or decoder.fit, white=White())


def _in_memory(decoder: Decoder, total: int, storage: Storage, decoding: Decoding) -> bool:
    """Whether decoded images lie in memory.

    Raises:
        DataError: they do not fit there, or there is no other place.
    """
    num_bytes = total * decoder.channels * decoder.size * decoder.size
    if storage == "disk" and decoding.folder is None:
        raise DataError("data.storage is 'disk', but there is no folder to decode into; choose 'auto' or 'memory'.")
    in_memory = storage == "memory" or decoding.folder is None
    if storage == "auto" and not in_memory:
        in_memory = fits_in_memory(num_bytes, decoding.processes)
    if in_memory:
        check_memory(num_bytes, decoding.processes)
    return in_memory


def _decoded(
    name: str, parts: Sequence[Encoded], decoder: Decoder, decoding: Decoding, *, in_memory: bool
) -> Iterator[Labelled]:
    done, total = 0, sum(part.count for part in parts)
    for part in parts:
        progress = _part_of(decoding.progress, done, total)
        if in_memory:
            yield _into_memory(part, decoder, progress)
        else:
            found = _on_disk(name, part, decoder, decoding, progress)
            missing = np.array([place for place, _, _ in found.skipped], dtype=np.int64)
            skipped = tuple((file, why) for _, file, why in found.skipped)
            kept = without(part.count, missing)
            yield Labelled(found.images, found.labels, skipped, found.look, _originals(part, kept, decoder))
        done += part.count


def _originals(part: Encoded, kept: np.ndarray, decoder: Decoder) -> Originals | None:
    return None if part.original is None else Originals(part.original, kept, decoder)


def _part_of(progress: Callable[[float], object], done: int, total: int) -> Callable[[int], None]:
    """Tells of a part's images as a share of all."""

    def tell(count: int) -> None:
        progress((done + count) / max(1, total))

    return tell


# --- threads ---------------------------------------------------------------------------------------


def _in_order(decoder: Decoder, items: Iterable[Item], *, summed: bool) -> Iterator[list[_Image]]:
    """Decode with a thread per core, which image libraries allow; results come in the order of the items.

    Args:
        summed: whether the moments of the images are wanted.
    """

    def work(some: Sequence[Item]) -> list[_Image]:
        done = []
        for name, encoded, label in some:
            heard: list[Look | NotShown] = []
            pixels = replace(decoder, hear=heard.append).decode(encoded)
            sums = moments(pixels) if summed and pixels is not None else None
            looks = [look for look in heard if isinstance(look, Look)]
            why = next((str(error) for error in heard if isinstance(error, NotShown)), BROKEN)
            done.append(_Image(name, label, pixels, sums, looks[0] if looks else Look(), why))
        return done

    remaining = iter(items)
    threads = min(MOST_THREADS, cores())
    under_way: deque[Future[list[_Image]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            while some := list(islice(remaining, AT_ONCE)):
                under_way.append(pool.submit(work, some))
                if len(under_way) > threads * WAITING:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


@dataclass(frozen=True, slots=True)
class _Image:
    """A decoded image; no pixels where it could not be decoded."""

    name: str
    label: int
    pixels: np.ndarray | None
    sums: np.ndarray | None
    look: Look
    why: str


# --- memory ----------------------------------------------------------------------------------------


def _into_memory(part: Encoded, decoder: Decoder, progress: Callable[[int], None]) -> Labelled:
    images = np.empty((part.count, decoder.channels, decoder.size, decoder.size), dtype=np.uint8)
    labels = np.empty(part.count, dtype=np.int64)
    kept = np.empty(part.count, dtype=np.int64)
    skipped: list[tuple[str, str]] = []
    look, done = Look(), 0
    for some in _in_order(decoder, part.items(), summed=False):
        for image in some:
            if image.pixels is None:
                skipped.append((image.name, image.why))
                continue
            images[done], labels[done], kept[done] = image.pixels, image.label, done + len(skipped)
            look += image.look
            done += 1
        progress(done + len(skipped))
    return Labelled(images[:done], labels[:done], tuple(skipped), look, _originals(part, kept[:done], decoder))


def fits_in_memory(num_bytes: int, processes: int = 1) -> bool:
    """Whether so many bytes of images in each process leave the machine enough."""
    return num_bytes * processes <= MEMORY_SHARE * available_memory()


def check_memory(num_bytes: int, processes: int = 1) -> None:
    """Refuse what would push the machine into swapping.

    Raises:
        DataError: saying how much is needed and free.
    """
    if not fits_in_memory(num_bytes, processes):
        each = f" in each of {processes} processes" if processes > 1 else ""
        raise DataError(
            f"The images take {num_bytes / 1e9:.1f} GB of memory{each} and {available_memory() / 1e9:.1f} GB are free, "
            f"of which they may take {MEMORY_SHARE:.0%}. Keep them on the disk (data.storage), choose a smaller "
            "data.size or a data.limit, or a machine with more memory."
        )


def available_memory() -> int:
    """Bytes that this process can have without swapping: of the machine, or of its container."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, StopIteration):
        # What the kernel would give up of its caches counts too.
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with suppress(OSError, ValueError, StopIteration):
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text())  # ValueError: "max"
        lines = (group / "memory.stat").read_text().splitlines()
        cached = int(next(line for line in lines if line.startswith("inactive_file ")).split()[1])
        free = min(free, most - int((group / "memory.current").read_text()) + cached)
    return max(0, free)


# --- disk ------------------------------------------------------------------------------------------


def _on_disk(
    name: str, part: Encoded, decoder: Decoder, decoding: Decoding, progress: Callable[[int], None]
) -> ImageSet:
    """The part's set, decoded now unless it is there; one process decodes and others wait for it."""
    assert decoding.folder is not None
    sets = ImageSets(decoding.folder, decoding.most_bytes)
    key = _key(part, decoder)
    shape = part.count, decoder.channels, decoder.size, decoder.size
    waiting, written = False, 0

    def fill(draft: Draft) -> None:
        decoding.tell(
            f"{part.count:,} images of {name} are decoded once into {decoding.folder} "
            f"({math.prod(shape) / 1e9:.1f} GB), from which batches are read."
        )
        done = 0
        for some in _in_order(decoder, part.items(), summed=True):
            for place, image in enumerate(some, done):
                if image.pixels is None or image.sums is None:
                    draft.skipped.append((place, image.name, image.why))
                else:
                    draft.add(image.pixels, image.label, image.sums)
                    draft.look += image.look
            done += len(some)
            progress(done)

    while (found := sets.open(key)) is None:
        if not sets.make(key, name, shape, fill):
            if not waiting:
                waiting = True
                decoding.tell(f"Another process decodes the images of {name}; waiting for it.")
            written = max(written, sets.bytes_written(key))
            progress(min(part.count, written // math.prod(shape[1:])))
            time.sleep(LOOK_SECONDS)
    return found


def _key(part: Encoded, decoder: Decoder) -> str:
    """What the decoded images depend on, as a name."""
    from PIL import __version__ as decoder_version

    digest = hashlib.sha256()
    fit = () if decoder.fit is None else (repr(decoder.fit),)
    white = asdict(decoder.white or White())
    for word in (FORMAT, decoder_version, decoder.size, decoder.channels, white, *fit, part.count, *part.identity()):
        digest.update(json.dumps(word).encode() + b"\n")
    return digest.hexdigest()[:32]
