"""CIFAR-10: 60,000 images of 32x32 pixels in 10 classes (Krizhevsky, 2009)."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding, Encoded, Item, decode
from supernet.data.images import Carving, Decoder, Labelled, corrupt_notes, image_dataset, need, stamp
from supernet.data.sources.cifar10.options import Cifar10Options
from supernet.data.splitting import fewer

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# A record of the binary form: one byte of label, then the red, green and blue planes.
RECORD_BYTES = 1 + 3 * 32 * 32
BINARY = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
EXAMPLE = "a folder with train.parquet and test.parquet, or with the *.bin files of cifar-10-binary.tar.gz"


@dataclass(frozen=True, slots=True)
class Cifar10:
    """Read from `path`: parquet in Hugging Face's form, or the binary form as a folder or as the archive."""

    options: Cifar10Options

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set.

        Raises:
            DataError: the path holds neither form.
        """
        path = need(self.options.path, EXAMPLE)
        notes: tuple[str, ...] = ()
        if path.is_file() and tarfile.is_tarfile(path):
            parts = {name: _records(_archived(path, files), path) for name, files in BINARY.items()}
        elif folder := _folder_with(path, "train.parquet"):
            encoded = [_parquet(folder / "train.parquet", self.options.limit), _parquet(folder / "test.parquet", None)]
            decoded = decode("CIFAR-10", encoded, Decoder(size=32, channels=3), "auto", decoding)
            parts = dict(zip(BINARY, decoded, strict=True))
            notes = corrupt_notes(parts.values(), self.options.corrupt_share, "CIFAR-10")
        elif folder := _folder_with(path, "data_batch_1.bin"):
            parts = {name: _records(_files(folder, files), folder) for name, files in BINARY.items()}
        else:
            raise DataError(f"data.path {str(path)!r} is not CIFAR-10; give {EXAMPLE}.")
        carving = Carving(self.options.validation_share, test_share=0.0, limit=self.options.limit)
        return image_dataset(
            "CIFAR-10", f"Krizhevsky 2009, read from {path.name}", parts["train"], parts["test"], CLASSES, carving,
            seed, notes,
        )  # fmt: skip


def _folder_with(path: Path, name: str) -> Path | None:
    for folder in (path, path / "cifar-10-batches-bin"):
        if (folder / name).is_file():
            return folder
    return None


def _parquet(path: Path, limit: int | None) -> Encoded:
    from pyarrow import parquet

    if not path.is_file():
        raise DataError(f"{path.name} is missing beside train.parquet in {path.parent}.")
    table = parquet.read_table(path, columns=["image", "label"])
    # Chosen before decoding, which is what takes the time.
    table = table.take(fewer(table.column("label").to_numpy(), limit, "CIFAR-10"))

    def items() -> Iterator[Item]:
        row = 0
        for chunk in table.to_batches():
            encoded = chunk.column("image").field("bytes")
            for label, image in zip(chunk.column("label").to_pylist(), encoded, strict=True):
                yield f"{path.name} row {row}", image.as_py(), label
                row += 1

    return Encoded(items, table.num_rows, identity=lambda: (*stamp(path), limit))


def _files(folder: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        if not (folder / name).is_file():
            raise DataError(f"{name} is missing in {folder}.")
        yield name, (folder / name).read_bytes()


def _archived(path: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for name in names:
            try:
                member = archive.extractfile(f"cifar-10-batches-bin/{name}")
            except KeyError:
                member = None
            if member is None:
                raise DataError(f"{path.name} holds no cifar-10-batches-bin/{name}; give {EXAMPLE}.")
            yield name, io.BufferedReader(member).read()  # type: ignore[type-var]


def _records(files: Iterator[tuple[str, bytes]], where: Path) -> Labelled:
    images, labels = [], []
    for name, content in files:
        if not content or len(content) % RECORD_BYTES:
            raise DataError(
                f"{name} in {where.name} has {len(content)} bytes, not a multiple of {RECORD_BYTES}: it is cut short."
            )
        records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD_BYTES)
        labels.append(records[:, 0].astype(np.int64))
        images.append(records[:, 1:].reshape(-1, 3, 32, 32))
    return Labelled(np.concatenate(images), np.concatenate(labels))


SOURCE = Cifar10
