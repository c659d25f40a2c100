"""Packages of other tools, which only some formats need: asked for when they are used, with the command that installs
them."""

from __future__ import annotations

import importlib.util
import os
import shutil
from types import ModuleType

# Package -> what installs it with the versions that Winnow was tested with.
EXTRAS = {"gguf": "gguf", "openvino": "openvino", "executorch": "executorch", "torchao": "torchao"}


class CannotWrite(ValueError):
    """A network cannot be written in a format after all; the message is for the user."""


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


def missing(module: ModuleType) -> str | None:
    """What is not here that loading a format's files needs, with the command that brings it; None: all is here.

    Args:
        module: `format.py` of the format.
    """
    if hasattr(module, "python"):
        try:
            module.python()
        except MissingTool as error:
            return str(error)
        return None
    lacking = [package for package in module.PACKAGES if importlib.util.find_spec(package) is None]
    if not lacking:
        return None
    extra = f"'winnow[{EXTRAS[lacking[0]]}]'" if lacking[0] in EXTRAS else lacking[0]
    return f"{lacking[0]} is not installed here, so it cannot be loaded: pip install {extra}"
