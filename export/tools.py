"""Packages of other tools, which only some formats need: asked for when they are used, with the command that installs
them."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from safetensors import SafetensorError

# Package -> what installs it with the versions that Winnow was tested with.
EXTRAS = {
    "gguf": "gguf",
    "llama_cpp": "llamacpp",
    "openvino": "openvino",
    "executorch": "executorch",
    "torchao": "torchao",
}


class CannotWrite(ValueError):
    """A network cannot be written in a format after all; the message is for the user."""


class NoRoom(CannotWrite):
    """The disk is full."""


# With fewer bytes free no tool can write the next part of a file.
HARDLY_ANY = 64 * 1024


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of the file system or of safetensors says that there is no room."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return isinstance(error, SafetensorError) and "os error 28" in str(error).lower()


def without_room(error: BaseException, folders: Iterable[Path]) -> NoRoom | None:
    """An error as what it is if a disk is full: tools say that in their own words, in a process of their own, or not.

    Args:
        folders: where files were written when it came. What has been removed since may have made room.
    """
    free = {folder: shutil.disk_usage(folder).free for folder in folders}
    full = [folder for folder, left in free.items() if left < HARDLY_ANY]
    if not full and not is_disk_full(error):
        return None
    where = " and ".join(str(folder) for folder in full) or " or ".join(str(folder) for folder in free)
    said = str(error).strip().splitlines()
    return NoRoom(
        f"No room on the disk of {where}. Make room and export again. "
        f"({type(error).__name__}: {said[0] if said else 'no more is known'})"
    )


class MissingTool(CannotWrite):
    """A format needs a package that is not installed where exports are made."""


def require(package: str) -> None:
    """See to it that a package is there.

    Raises:
        MissingTool: it is not; the message has the command that installs it.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingTool(
            f"The worker that makes exports has no {package}. Install it: pip install 'winnow[{EXTRAS[package]}]'."
        )


def interpreter(variable: str, package: str, commands: str) -> str:
    """A Python of its own for a tool that cannot live beside Winnow.

    Args:
        variable: the environment's variable that names it.
        package: what it has.
        commands: that make one.

    Raises:
        MissingTool: none is named, or it is not there.
    """
    named = os.environ.get(variable)
    found = None if not named else shutil.which(named)
    if found is None:
        why = f"there is no program {named!r}" if named else "it needs a Python of its own"
        raise MissingTool(
            f"The worker that makes exports has no {package}: {why}. Make one ({commands}), and name it: "
            f"{variable}=/path/to/its/bin/python."
        )
    return found


def packages_of(module: ModuleType, part: str = "") -> tuple[str, ...]:
    """What loading a format's files, or a part of them, may import."""
    return tuple(module.part_packages(part) if hasattr(module, "part_packages") else module.PACKAGES)


def missing(module: ModuleType, part: str = "") -> str | None:
    """What is not here that loading a format's files needs, with the command that brings it; None: all is here.

    Args:
        module: `format.py` of the format.
        part: one of its files, or a way to load one, which may need more than the others.
    """
    if hasattr(module, "python"):
        try:
            module.python()
        except MissingTool as error:
            return str(error)
        return None
    lacking = [package for package in packages_of(module, part) if importlib.util.find_spec(package) is None]
    if not lacking:
        return None
    extra = f"'winnow[{EXTRAS[lacking[0]]}]'" if lacking[0] in EXTRAS else lacking[0]
    return f"{lacking[0]} is not installed here, so it cannot be loaded: pip install {extra}"
