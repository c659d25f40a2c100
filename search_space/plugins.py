"""Plug-ins: the file name is the registry.

A folder such as `search_space/families` is a registry whose entries are its modules. Nothing is
registered by an import side effect, and asking for the names imports none of the entries. Families are
also looked for in a folder of the user's, if the installation names one.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from search_space.family_files import FamilyFolder, blaming, file_of, is_users

if TYPE_CHECKING:
    from search_space.adjustments import Adjustments
    from search_space.checkpoint import Checkpoint, Matched
    from search_space.space import SearchSpace


class UnknownPluginError(ValueError):
    """No file of that name in the folder. The message lists the names that are there."""

    def __init__(self, kind: str, got: str, known: tuple[str, ...]) -> None:
        self.kind, self.got, self.known = kind, got, known
        super().__init__(f"No {kind} named {got!r}. Known: {', '.join(known) or 'none'}.")


FAMILIES = "search_space.families"

_users: FamilyFolder | None = None


def use_families_dir(folder: Path | None) -> None:
    """Look for families in this folder of the user's too; None: only for built-in ones.

    Called once by each process that starts, with what its settings say.
    """
    global _users
    if folder is None:
        _users = None
    elif _users is None or _users.folder != folder.resolve():
        _users = FamilyFolder(folder, _built_in(FAMILIES))


def users_families() -> FamilyFolder | None:
    """The user's own families; None if the installation names no folder of them."""
    return _users


def names(package: str) -> tuple[str, ...]:
    """Names of the plug-ins in a package, sorted, without importing them."""
    own = _users.names() if _users is not None and package == FAMILIES else ()
    return tuple(sorted((*_built_in(package), *own)))


def _built_in(package: str) -> tuple[str, ...]:
    spec = importlib.util.find_spec(package)
    assert spec is not None, package
    assert spec.submodule_search_locations is not None, f"{package} is a module, not a folder"
    found = pkgutil.iter_modules(spec.submodule_search_locations)
    return tuple(sorted(entry.name for entry in found if not entry.name.startswith("_")))


def load(package: str, name: str, kind: str) -> ModuleType:
    """The plug-in module called `name`; `kind` is the word for it in an error message.

    Raises:
        UnknownPluginError: there is no such file.
        FamilyFileError: it is a user's family, and its file is broken.
    """
    known = names(package)
    if name not in known:
        raise UnknownPluginError(kind, name, known)
    if _users is not None and package == FAMILIES and name in _users.names():
        return _users.load(name)
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
        FamilyFileError: it is a user's family, and its file is broken.
    """
    from search_space.adjustments import Adjustments

    family = load(FAMILIES, name, "family")
    if preset is None and checkpoint is None:
        raise ValueError(f"Name a preset of family {name!r}: {', '.join(family.PRESETS)}.")
    if preset is not None and preset not in family.PRESETS:
        raise UnknownPluginError(f"preset of family {name!r}", preset, tuple(family.PRESETS))
    adjustments = adjustments or Adjustments()
    if is_users(family):
        return _users_space(family, preset, adjustments, checkpoint)
    if checkpoint is None:
        space: SearchSpace = family.space(preset, adjustments)
        return space
    if not hasattr(family, "checkpoint_space"):
        raise ValueError(f"Family {name!r} does not start from a pretrained checkpoint; leave it out.")
    pretrained: SearchSpace = family.checkpoint_space(checkpoint, preset, adjustments)
    return pretrained


def _users_space(
    family: ModuleType, preset: str | None, adjustments: Adjustments, checkpoint: Mapping[str, Any] | None
) -> SearchSpace:
    """The space of a user's file, tried at both ends so that its mistakes show here and not in the middle of a job."""
    from search_space.family_files import FamilyFileError
    from search_space.space import SearchSpace

    if checkpoint is not None:
        raise ValueError(f"{file_of(family)} does not start from a pretrained checkpoint; leave it out.")
    with blaming(file_of(family)):
        space = family.space(preset, adjustments)
        if not isinstance(space, SearchSpace):
            raise FamilyFileError(file_of(family), None, f"space() gave {type(space).__name__}, not a SearchSpace.")
        if space.takes is None:
            raise FamilyFileError(
                file_of(family), None, "its SearchSpace needs takes=ImageInput(...) or TokenInput(...)."
            )
        for architecture in (space.smallest(), space.largest()):
            for layer in space.layers(architecture).values():
                layer.params()
        space.capacity()
    return space


def family_of(config: Mapping[str, Any]) -> str:
    """The family that starts from checkpoints of this configuration's model type.

    Raises:
        ValueError: none does; the model types of all families are listed.
    """
    known: dict[str, str] = {}
    for name in names(FAMILIES):
        known |= dict.fromkeys(getattr(load(FAMILIES, name, "family"), "MODEL_TYPES", ()), name)
    model_type = config.get("model_type")
    if model_type not in known:
        raise ValueError(f"The checkpoint's model_type is {model_type!r}; supported are {', '.join(sorted(known))}.")
    return known[model_type]


def check_checkpoint(name: str, checkpoint: Checkpoint, classes: int | None = None) -> Matched:
    """How a checkpoint's tensors fit what a family makes of its configuration.

    Raises:
        UnknownPluginError: there is no such family.
        ValueError: the family starts from no checkpoint, or (CheckpointError) not from this one.
    """
    family = load("search_space.families", name, "family")
    if not hasattr(family, "layout"):
        raise ValueError(f"Family {name!r} does not start from a pretrained checkpoint; leave it out.")
    matched: Matched = family.layout(checkpoint.config, classes).match(checkpoint)
    return matched


def presets(name: str) -> tuple[str, ...]:
    """Names of a family's presets."""
    return tuple(load(FAMILIES, name, "family").PRESETS)
