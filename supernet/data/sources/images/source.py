"""A folder of images, one folder per class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding, Encoded, Item
from supernet.data.folders import PICTURES, shown, visible_folders, walk
from supernet.data.image_layout import EXAMPLE, Layout
from supernet.data.image_parts import ImagePart, image_parts_dataset
from supernet.data.images import need, stamp
from supernet.data.parts import TRAIN
from supernet.data.sources.images.options import ImagesOptions


@dataclass(frozen=True, slots=True)
class Images:
    """Read from `path/CLASS/*`, or from `path/train/CLASS/*` with `validation/` and `test/` beside it."""

    options: ImagesOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set.

        Raises:
            DataError: there are no classes, no images in one, or two ways to read the folder; or they fit nowhere.
            OSError: they do not fit on the disk (`ENOSPC`).
        """
        root = need(self.options.path, EXAMPLE)
        if not root.is_dir():
            raise DataError(f"data.path {str(root)!r} is a file; give {EXAMPLE}.")
        layout = Layout.of(root, self.options)
        classes = layout.classes()
        decoding.classes([shown(name) for name in classes])
        parts = {role: _part(folder, root, classes, role) for role, folder in layout.folders.items()}
        unlabelled = {role: reason for role, part in parts.items() if isinstance(part, str) for reason in [part]}
        images = {role: part for role, part in parts.items() if isinstance(part, ImagePart)}
        return image_parts_dataset(
            root.name,
            f"images of {root.name}",
            images,
            [shown(name) for name in classes],
            self.options,
            seed,
            decoding,
            layout.names,
            unlabelled,
            layout.left_out(),
        )


def _part(place: Path, root: Path, classes: Sequence[str], role: str) -> ImagePart | str:
    """The images of a part; or why it is none.

    Raises:
        DataError: it has classes that training lacks, or training lacks images of one.
    """
    inside = [folder.name for folder in visible_folders(place)]
    if role != TRAIN:
        if not inside:
            return f"{shown(place.name)} has no folders of classes, so its images have no labels"
        unknown = sorted(set(inside) - set(classes))
        if unknown:
            raise DataError(
                f"{place} has class folders that the training images lack: {', '.join(map(shown, unknown))}; "
                f"the classes are {', '.join(map(shown, classes))}."
            )
    files: list[tuple[Path, int]] = []
    left_out: list[tuple[str, str]] = []
    for label, name in enumerate(classes):
        if not (place / name).is_dir():
            continue
        found = walk(place / name, root, PICTURES)
        files += [(file, label) for file in found.files]
        left_out += found.left_out
    seen = {label for _, label in files}
    missing = [shown(name) for label, name in enumerate(classes) if label not in seen]
    if role == TRAIN and missing:
        raise DataError(
            f"No images in {place} of class {', '.join(missing)}; known suffixes: {', '.join(sorted(PICTURES))}."
        )
    if not files:
        return f"{shown(place.name)} has no images"
    remarks = (
        [f"{shown(place.name)} has no images of {len(missing)} classes: {', '.join(missing[:5])}."] if missing else []
    )
    return ImagePart(_encoded(files, root), tuple(left_out), tuple(remarks))


def _encoded(files: list[tuple[Path, int]], root: Path) -> Encoded:
    def items() -> Iterator[Item]:
        for file, label in files:
            yield shown(file.relative_to(root)), file, label

    def identity() -> Iterator[object]:
        for file, label in files:
            path, *facts = stamp(file)
            yield [label, shown(path), *facts]

    def original(place: int) -> tuple[str, Path]:
        file, _ = files[place]
        return shown(file.relative_to(root)), file

    return Encoded(items, len(files), identity, original)


SOURCE = Images
