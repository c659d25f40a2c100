"""Which folder of a folder of images is what: parts, classes, and what is neither. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supernet.data.errors import DataError
from supernet.data.folders import HIDDEN, LINKED_FOLDER, PICTURES, is_hidden, leads_back, shown, visible_folders
from supernet.data.parts import TEST, TRAIN, VALIDATION, chosen_parts
from supernet.data.sources.images.options import ImagesOptions

EXAMPLE = "a folder with one folder of images per class, or with train/ and test/ that have those"


@dataclass(frozen=True, slots=True)
class Layout:
    """Which folder is what.

    Attributes:
        folders: folders of every part that is there, by its role.
        beside: folders that are no class and no part.
    """

    root: Path
    folders: Mapping[str, Path]
    beside: Sequence[Path] = ()

    @classmethod
    def of(cls, root: Path, options: ImagesOptions) -> Layout:
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
        """Names of the parts, for people."""
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
            has = f"one class folder ({folders[0].name})" if folders else "no class folders"
            raise DataError(f"{train} has {has}{deeper}; give {EXAMPLE}.")
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
