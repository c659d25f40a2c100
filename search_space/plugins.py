"""Families by name: built-in ones, those of a user's folder, and those that installed packages offer."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from plugins.registry import Kind, UnknownPluginError
from search_space.family_files import FamilyFileError, FamilyFolder, InstalledFamilies, blaming, file_of, is_users

if TYPE_CHECKING:
    from search_space.adjustments import Adjustments
    from search_space.checkpoint import Checkpoint, Matched
    from search_space.space import SearchSpace

# The model type that several checkpoints have together (`search_space.joined`).
JOINED = "stitched"

__all__ = ["FAMILIES", "UnknownPluginError", "check_checkpoint", "family_of", "load_family", "presets"]

_users: FamilyFolder | None = None
_installed: InstalledFamilies | None = None


class Families(Kind):
    """Model families: files of this repository, of a user's folder, and of installed packages."""

    def names(self) -> tuple[str, ...]:
        """See `Kind.names`."""
        return tuple(sorted({*Kind.names(self), *(_users.names() if _users is not None else ())}))

    def load(self, name: str) -> ModuleType:
        """The module of a family.

        Raises:
            UnknownPluginError: there is no such file.
            PluginError: two packages offer it.
            FamilyFileError: it is not ours, and its file is broken.
        """
        known = self.names()
        if name not in known:
            raise UnknownPluginError(self.word, name, known)
        if name in self.built_in():
            return importlib.import_module(f"{self.package}.{name}")
        if _users is not None and name in _users.names():
            return _users.load(name)
        self.offer(name)
        return self.installed.load(name)

    @property
    def installed(self) -> InstalledFamilies:
        """Those of installed packages."""
        global _installed
        if _installed is None:
            modules = {name: several[0].package for name, several in self._offers().items()}
            _installed = InstalledFamilies(modules, self.built_in())
        return _installed

    def refused(self) -> dict[str, str]:
        """Those of a user's folder or of packages that cannot be used, by name, with the reason in a sentence."""
        return Kind.refused(self) | self.installed.refused() | (_users.refused() if _users is not None else {})


FAMILIES = Families("family", "search_space.families", group="winnow.families")


def use_families_dir(folder: Path | None) -> None:
    """Look for families in this folder of the user's too; None: only elsewhere.

    Called once by each process that starts, with what its settings say.
    """
    global _users
    if folder is None:
        _users = None
    elif _users is None or _users.folder != folder.resolve():
        _users = FamilyFolder(folder, Kind.names(FAMILIES))


def users_families() -> FamilyFolder | None:
    """The families of the user's folder; None if the installation names none."""
    return _users


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

    family = FAMILIES.load(name)
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
    _refuse_several(name, family, checkpoint)
    pretrained: SearchSpace = family.checkpoint_space(checkpoint, preset, adjustments)
    return pretrained


def _users_space(
    family: ModuleType, preset: str | None, adjustments: Adjustments, checkpoint: Mapping[str, Any] | None
) -> SearchSpace:
    """The space of a user's file, tried at both ends so that its mistakes show here and not in the middle of a job."""
    from search_space.space import SearchSpace

    if checkpoint is not None and not hasattr(family, "checkpoint_space"):
        raise ValueError(f"{file_of(family)} does not start from a pretrained checkpoint; leave it out.")
    with blaming(file_of(family)):
        space = (
            family.space(preset, adjustments)
            if checkpoint is None
            else family.checkpoint_space(checkpoint, preset, adjustments)
        )
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
    from search_space.from_module import FAMILY, MODEL_TYPE

    if config.get("model_type") == MODEL_TYPE:  # of a family that was made from a module
        return str(config.get(FAMILY))
    known: dict[str, str] = {}
    for name in FAMILIES.built_in():
        known |= dict.fromkeys(getattr(FAMILIES.load(name), "MODEL_TYPES", ()), name)
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
    family = FAMILIES.load(name)
    if not hasattr(family, "layout"):
        raise ValueError(f"Family {name!r} does not start from a pretrained checkpoint; leave it out.")
    _refuse_several(name, family, checkpoint.config)
    matched: Matched = family.layout(checkpoint.config, classes).match(checkpoint)
    return matched


def _refuse_several(name: str, family: ModuleType, config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    if kind == JOINED and kind not in getattr(family, "MODEL_TYPES", ()):
        raise ValueError(
            f"Family {name!r} starts from one checkpoint, and supernet.pretrained lists several; name one, or take the "
            f"family {JOINED!r}, which joins them."
        )


def presets(name: str) -> tuple[str, ...]:
    """Names of a family's presets."""
    return tuple(FAMILIES.load(name).PRESETS)
