"""Architecture: one point of one search space, as an immutable value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
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


class IdWriter:
    """Writes the stable ids of one space's networks, from the values of the choices that are active in each.

    An id is a digest of JSON with sorted keys, `["space",{"choice":value,...}]`, so it depends neither on
    the process's hash seed nor on the order in which a family happens to list its choices. The pieces of
    that text are made once, because searches ask for ids by the hundred thousand.

    Args:
        space: name of the space.
        options: name and options of each of its choices, in the order of the space.
    """

    def __init__(self, space: str, options: Sequence[tuple[str, tuple[Option, ...]]]) -> None:
        self._head = f"[{json.dumps(space)},{{"
        self._order = sorted(range(len(options)), key=lambda position: options[position][0])
        self._pieces = [
            tuple(f"{json.dumps(name)}:{json.dumps(option)}" for option in known) for name, known in options
        ]

    def write(self, genes: Sequence[int], active: Sequence[bool]) -> str:
        """The id of a network.

        Args:
            genes: index of each choice's value among its options.
            active: for each choice, whether the network depends on it.
        """
        pieces = self._pieces
        text = ",".join([pieces[i][genes[i]] for i in self._order if active[i]])
        return hashlib.sha256(f"{self._head}{text}}}]".encode()).hexdigest()[:16]
