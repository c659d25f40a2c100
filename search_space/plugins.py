"""Plug-ins: the file name is the registry.

A folder such as `search_space/families` is a registry whose entries are its modules. Nothing is
registered by an import side effect, and asking for the names imports none of the entries.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_space.adjustments import Adjustments
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


def load_family(
    name: str,
    preset: str | None = None,
    adjustments: Adjustments | None = None,
    checkpoint: Mapping[str, Any] | None = None,
) -> SearchSpace:
    """The search space of a family's preset.

    Args:
        adjustments: what the user changes of it.
        checkpoint: the `config.json` of a pretrained network, for families that can start from one; the
            space is then that network's, with the preset's options or, without a preset, options of its own.

    Raises:
        UnknownPluginError: there is no family, or no preset, of that name.
        ValueError: an adjustment that the family cannot honour, or a checkpoint that is not of it.
    """
    from search_space.adjustments import Adjustments

    family = load("search_space.families", name, "family")
    if preset is None and checkpoint is None:
        raise ValueError(f"Name a preset of family {name!r}: {', '.join(family.PRESETS)}.")
    if preset is not None and preset not in family.PRESETS:
        raise UnknownPluginError(f"preset of family {name!r}", preset, tuple(family.PRESETS))
    adjustments = adjustments or Adjustments()
    if checkpoint is None:
        space: SearchSpace = family.space(preset, adjustments)
        return space
    if not hasattr(family, "checkpoint_space"):
        raise ValueError(f"Family {name!r} does not start from a pretrained checkpoint; leave it out.")
    pretrained: SearchSpace = family.checkpoint_space(checkpoint, preset, adjustments)
    return pretrained


def presets(name: str) -> tuple[str, ...]:
    """Names of a family's presets."""
    return tuple(load("search_space.families", name, "family").PRESETS)
