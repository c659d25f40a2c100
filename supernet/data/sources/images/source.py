"""A folder of images, one folder per class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supernet.data.dataset import DataError, Dataset
from supernet.data.decoding import Decoding, Encoded, Item
from supernet.data.folders import HIDDEN, LINKED_FOLDER, PICTURES, is_hidden, leads_back, shown, visible_folders, walk
from supernet.data.image_parts import ImagePart, image_parts_dataset
from supernet.data.images import need, stamp
from supernet.data.parts import TEST, TRAIN, VALIDATION, chosen_parts
from supernet.data.sources.images.options import ImagesOptions

EXAMPLE = "a folder with one folder of images per class, or with train/ and test/ that have those"


@dataclass(frozen=True, slots=True)
class Images:
    """Read from `path/CLASS/*`, or from `path/train/CLASS/*` with `validation/` and `test/` beside it."""

    options: ImagesOptions

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset.

        Raises:
            DataError: there are no classes, no images in one, or two ways to read the folder; or they fit nowhere.
            OSError: they do not fit on the disk (`ENOSPC`).
        """
        root = need(self.options.path, EXAMPLE)
        if not root.is_dir():
            raise DataError(f"data.path {str(root)!r} is a file; give {EXAMPLE}.")
        layout = _Layout.of(root, self.options)
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


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which folder is what.

    Attributes:
        folders: of every part that is there, by its role.
        beside: folders that are no class and no part.
    """

    root: Path
    folders: Mapping[str, Path]
    beside: Sequence[Path] = ()

    @classmethod
    def of(cls, root: Path, options: ImagesOptions) -> _Layout:
        """How a folder is laid out.

        Raises:
            DataError: there are two ways to read it.
        """
        asked = {TRAIN: options.train_split, VALIDATION: options.validation_split, TEST: options.test_split}
        names = [folder.name for folder in visible_folders(root)]
        chosen = chosen_parts(names, asked, str(root))
        if TRAIN in chosen:
            beside = [root / name for name in names if name not in chosen.values()]
            return cls(root, {role: root / name for role, name in chosen.items()}, beside)
        classes = {name for name in names if name not in chosen.values()}
        for role, name in chosen.items():
            inside = {folder.name for folder in visible_folders(root / name)}
            if asked[role] is None and not (inside and inside <= classes):
                raise DataError(
                    f"{root / name} may be a class or the {role} part: {root} has no train folder, and {name} has not "
                    f"the folders of the classes. Name it in data.{role}_split, or put the classes into {root}/train."
                )
        return cls(root, {TRAIN: root, **{role: root / name for role, name in chosen.items()}})

    @property
    def names(self) -> dict[str, str]:
        """Of the parts, for people."""
        return {
            role: "the folders of the classes" if folder == self.root else shown(folder.name)
            for role, folder in self.folders.items()
        }

    def classes(self) -> list[str]:
        """Names of the folders that hold the images of a class.

        Raises:
            DataError: there are fewer than two, or their folders could be the classes as well.
        """
        train = self.folders[TRAIN]
        if train != self.root and not visible_folders(train) and len(self.beside) > 0:
            raise DataError(
                f"{train} may be a class or the train part: it has no folders of classes, and other folders lie beside "
                f"it. Put the folders of the classes into one folder, such as {self.root}/train, or rename it."
            )
        folders = [folder for folder in visible_folders(train) if folder not in self.folders.values()]
        if len(folders) < 2:
            only = visible_folders(folders[0]) if folders else []
            deeper = f" (do you mean {folders[0]}?)" if len(only) > 1 else ""
            raise DataError(
                f"{train} has {len(folders)} class folders ({', '.join(folder.name for folder in folders) or 'none'})"
                f"{deeper}; give {EXAMPLE}."
            )
        inside = {tuple(sub.name for sub in visible_folders(folder)) for folder in folders}
        if len(inside) == 1 and len(next(iter(inside))) > 1 and not any(map(_has_images, folders)):
            outer, inner = (", ".join(shown(name) for name in some) for some in ([f.name for f in folders], *inside))
            raise DataError(
                f"Two ways to read {train}: the classes may be {outer}, or in each of them {inner}. Name the parts in "
                "data.train_split and data.test_split, or move the folders of the classes to one place."
            )
        return [folder.name for folder in folders]

    def left_out(self) -> list[tuple[str, str]]:
        """What lies outside the folders of the classes."""
        found = []
        for place in {self.root, *self.folders.values()}:
            for entry in sorted(place.iterdir()):
                if is_hidden(entry.name):
                    found.append((HIDDEN, shown(entry.relative_to(self.root))))
                elif leads_back(entry):
                    found.append((LINKED_FOLDER, shown(entry.relative_to(self.root))))
                elif not entry.is_dir():
                    found.append(("not in the folder of a class", shown(entry.relative_to(self.root))))
        found += [("a folder beside the parts", shown(folder.name)) for folder in self.beside]
        return found


def _has_images(folder: Path) -> bool:
    return any(entry.suffix.lower() in PICTURES and entry.is_file() for entry in folder.iterdir())


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
