"""Folders of files: what is in them, and what is left out of them and why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Suffixes of pictures, in small letters.
PICTURES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".avif", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".tga", ".pcx", ".sgi", ".qoi", ".ico"),
    }
)
HIDDEN = "hidden"
# What archives made on a Mac bring along.
RESOURCES = "__MACOSX"
LINKED_FOLDER = "a link to a folder, which is not followed"
NOWHERE = "a link to nothing"


@dataclass(slots=True)
class Found:
    """What a walk has met.

    Attributes:
        files: in the order of their paths.
        left_out: reason and name of everything else.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def walk(folder: Path, root: Path, suffixes: Sequence[str] | frozenset[str]) -> Found:
    """Every file below a folder with one of these suffixes. Links to files are followed, those to folders are not.

    Args:
        root: names are relative to it.
        suffixes: in small letters.
    """
    found = Found()
    for path, why in _entries(folder):
        if why is None and path.suffix.lower() not in suffixes:
            why = f"no picture by its suffix {path.suffix}" if path.suffix else "without a suffix"
        if why is None:
            found.files.append(path)
        else:
            found.left_out.append((why, shown(path.relative_to(root))))
    found.files.sort()
    found.left_out.sort()
    return found


def _entries(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Every file below, and whatever else is not looked into, with why."""
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if is_hidden(entry.name):
                    yield path, HIDDEN
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_symlink() and path.is_dir():
                    yield path, LINKED_FOLDER
                elif not path.exists():
                    yield path, NOWHERE
                else:
                    yield path, None


def is_hidden(name: str) -> bool:
    """Whether nobody means this file or folder: `.DS_Store`, `._0.png`, `.ipynb_checkpoints`, `__MACOSX`."""
    return name.startswith(".") or name == RESOURCES


def visible_folders(root: Path) -> list[Path]:
    """Folders of a folder, and links to others, that are not hidden, by name."""
    return sorted(
        entry for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name) and not leads_back(entry)
    )


def leads_back(entry: Path) -> bool:
    """Whether this is a link to a folder that it lies in."""
    return entry.is_symlink() and entry.parent.resolve().is_relative_to(entry.resolve())


def shown(path: Path | str) -> str:
    """A name as text, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
