"""Which torch module a layer spec is built with: a file of `supernet/blocks`, or a user's own class."""

from __future__ import annotations

import sys
from types import ModuleType

from torch import nn

from plugins.kinds import BLOCKS
from search_space.family_files import PREFIX, FamilyFileError, blaming, file_of
from search_space.layers import LayerSpec

# Of each family file that was loaded, the classes that its `blocks()` gave.
_users: dict[ModuleType, dict[str, type[nn.Module]]] = {}


def block_class(spec: LayerSpec) -> type[nn.Module]:
    """The class of a spec's block; its constructor takes the spec's fields.

    Raises:
        UnknownPluginError: no such kind.
        FamilyFileError: a user's `blocks()` fails or does not have the kind.
    """
    family = sys.modules[type(spec).__module__]
    if not family.__name__.startswith(PREFIX):
        block: type[nn.Module] = BLOCKS.load(spec.kind).BLOCK
        return block
    blocks = users_blocks(family)
    if spec.kind not in blocks:
        raise FamilyFileError(
            file_of(family), None, f"blocks() has no {spec.kind!r}, the kind of {type(spec).__name__}: {list(blocks)}."
        )
    return blocks[spec.kind]


def users_blocks(family: ModuleType) -> dict[str, type[nn.Module]]:
    """What the `blocks()` of a user's family gives, checked.

    Raises:
        FamilyFileError: it fails, gives something else, or takes the name of a built-in kind.
    """
    if family not in _users:
        file = file_of(family)
        with blaming(file):
            given = family.blocks()
        if not isinstance(given, dict):
            raise FamilyFileError(
                file, None, f"blocks() must give a dict of kind to class; got {type(given).__name__}."
            )
        built_in = BLOCKS.names()
        for kind, block in given.items():
            if not (isinstance(block, type) and issubclass(block, nn.Module)):
                raise FamilyFileError(file, None, f"blocks()[{kind!r}] must be a class of nn.Module; got {block!r}.")
            if kind in built_in:
                raise FamilyFileError(file, None, f"{kind!r} is a built-in kind of block; choose another name.")
        _users[family] = dict(given)
    return _users[family]


def family_of(block: type[nn.Module]) -> ModuleType | None:
    """The user's family whose `blocks()` gave this class; None for a built-in block."""
    for family, blocks in _users.items():
        if block in blocks.values():
            return family
    return None
