"""The version of this installation."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """The installed distribution's version."""
    return metadata.version("winnow")
