"""Plug-ins: the file name is the registry.

A folder such as `search_space/families` is a registry whose entries are its modules. Nothing is
registered by an import side effect, and asking for the names imports none of the entries.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search_space.space import SearchSpace


class UnknownPluginError(ValueError):
    """No file of that name in the folder. The message lists the names that are there."""

    def __init__(self, kind: str, got: str, known: tuple[str, ...]) -> None:
        self.kind, self.got, self.known = kind, got, known
        super().__init__(f"No {kind} named {got!r}. Known: {', '.join(known) or 'none'}.")


def names(package: str) -> tuple[str, ...]:
    """Names of the plug-ins in a package, sorted, without importing them."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, package
    assert spec.submodule_search_locations is not None, f"{package} is a module, not a folder"
    found = pkgutil.iter_modules(spec.submodule_search_locations)
    return tuple(sorted(entry.name for entry in found if not entry.name.startswith("_")))


def load(package: str, name: str, kind: str) -> ModuleType:
    """The plug-in module called `name`; `kind` is the word for it in an error message.

    Raises:
        UnknownPluginError: there is no such file.
    """
    known = names(package)
    if name not in known:
        raise UnknownPluginError(kind, name, known)
    return importlib.import_module(f"{package}.{name}")


def load_family(name: str, preset: str) -> SearchSpace:
    """The search space of a family's preset.

    Raises:
        UnknownPluginError: there is no family, or no preset, of that name.
    """
    family = load("search_space.families", name, "family")
    if preset not in family.PRESETS:
        raise UnknownPluginError(f"preset of family {name!r}", preset, tuple(family.PRESETS))
    space: SearchSpace = family.space(preset)
    return space


def presets(name: str) -> tuple[str, ...]:
    """Names of a family's presets."""
    return tuple(load("search_space.families", name, "family").PRESETS)
