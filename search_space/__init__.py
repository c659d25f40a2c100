"""The vocabulary of Winnow: what can be built. Standard library and numpy only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_space.architecture import Architecture
    from search_space.layers import LayerSpec
    from search_space.space import Choice, SearchSpace

__all__ = ["Architecture", "Choice", "LayerSpec", "SearchSpace"]

_HOMES = {"Architecture": "architecture", "Choice": "space", "LayerSpec": "layers", "SearchSpace": "space"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that the API starts without numpy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
