"""Packages of other tools, which only some formats need: asked for when they are used, with the command that installs
them."""

from __future__ import annotations

import importlib.util

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
