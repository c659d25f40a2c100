"""A folder of images, one folder per class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding, Encoded, Item, decode
from supernet.data.images import Carving, Decoder, corrupt_notes, image_dataset, need, stamp
from supernet.data.sources.images.options import ImagesOptions

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
EXAMPLE = "a folder with one folder of images per class, or with train/ and test/ that have those"


@dataclass(frozen=True, slots=True)
class Images:
    """Read from `path/CLASS/*`, or from `path/train/CLASS/*` and `path/test/CLASS/*` (or `val/`)."""

    options: ImagesOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset.

        Raises:
            DataError: there are no classes, or no images in one; or they fit nowhere.
            OSError: they do not fit on the disk (`ENOSPC`).
        """
        root = need(self.options.path, EXAMPLE)
        if not root.is_dir():
            raise DataError(f"data.path {str(root)!r} is a file; give {EXAMPLE}.")
        train_folder = root / "train" if (root / "train").is_dir() else root
        test_folder = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
        classes = sorted(folder.name for folder in _folders(train_folder) if folder != test_folder)
        if len(classes) < 2:
            raise DataError(
                f"{train_folder} has {len(classes)} class folders ({', '.join(classes) or 'none'}); give {EXAMPLE}."
            )
        decoding.classes(classes)
        train_files = _labelled_files(train_folder, classes)
        test_files = _labelled_files(test_folder, classes) if test_folder and train_folder != root else None
        parts = [_encoded(files, root) for files in (train_files, test_files) if files is not None]
        decoder = Decoder(self.options.size, self.options.channels)
        train, *rest = decode(root.name, parts, decoder, self.options.storage, decoding)
        test = rest[0] if rest else None
        notes = corrupt_notes((train, test), self.options.corrupt_share, root.name)
        carving = Carving(self.options.validation_share, self.options.test_share, self.options.limit)
        return image_dataset(root.name, f"images of {root.name}", train, test, classes, carving, seed, notes)


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _labelled_files(root: Path, classes: list[str]) -> list[tuple[Path, int]]:
    unknown = sorted({folder.name for folder in _folders(root)} - set(classes) - {"test", "val"})
    if unknown:
        raise DataError(
            f"{root} has class folders that the training images lack: {', '.join(unknown)}; "
            f"the classes are {', '.join(classes)}."
        )
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in (sorted((root / name).rglob("*")) if (root / name).is_dir() else [])
        if file.suffix.lower() in SUFFIXES
    ]
    seen = {label for _, label in files}
    missing = [name for label, name in enumerate(classes) if label not in seen]
    if missing:
        raise DataError(
            f"No images in {root} of class {', '.join(missing)}; known suffixes: {', '.join(sorted(SUFFIXES))}."
        )
    return files


def _encoded(files: list[tuple[Path, int]], root: Path) -> Encoded:
    def items() -> Iterator[Item]:
        for file, label in files:
            yield str(file.relative_to(root)), file, label

    def identity() -> Iterator[object]:
        for file, label in files:
            yield [label, *stamp(file)]

    return Encoded(items, len(files), identity)


SOURCE = Images
