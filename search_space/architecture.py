"""Architecture: one point of one search space, as an immutable value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

Option = int | float | str | bool


@dataclass(frozen=True, slots=True, eq=False)
class Architecture:
    """One network of a space. Equal networks compare equal and have equal ids.

    Built by `SearchSpace.architecture`, which checks the values and puts them into canonical form;
    nobody else constructs one.

    Attributes:
        space: name of the space it belongs to.
        items: every choice with its value, in the order of the space. A choice that this network
            does not have (a block beyond the depth, say) carries its first option.
        genes: index of each value among its choice's options, in the same order.
        id: 16 hexadecimal digits, the same in every process and Python version.
    """

    space: str
    items: tuple[tuple[str, Option], ...]
    genes: tuple[int, ...]
    id: str

    @property
    def values(self) -> dict[str, Option]:
        """The value of every choice, as a new dict."""
        return dict(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Architecture({self.space} {self.id})"


def architecture_id(space: str, active: Mapping[str, Option]) -> str:
    """Stable id of a network from the values of the choices that are active in it.

    The digest is of JSON with sorted keys, so it depends neither on the process's hash seed nor on
    the order in which a family happens to list its choices.
    """
    text = json.dumps([space, active], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
