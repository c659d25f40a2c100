"""Templates of blocks: statements in which every number and every width is a place that is filled in later.

Two blocks whose templates are equal are of one class, and the numbers in which they differ are its arguments.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import nn

from supernet.from_module.dims import Atom
from supernet.from_module.sizes import Poly

Number: TypeAlias = int | float | bool
# Places in a template: a number, a factor that is not written where it is 1, a width.
PLACE = re.compile("\x01([NCV])(\\d+)\x02")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a parameter of a block comes from.

    Attributes:
        parameter: within the block.
        name: in the module.
        shape: the module's tensor's.
        cuts: (axis, start, length) of the part that it is; none: all of it.
        order: axes of the part in the parameter's order; none: as they are.
    """

    parameter: str
    name: str
    shape: tuple[int, ...]
    cuts: tuple[tuple[int, int, int], ...] = ()
    order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Owned:
    """A width's place in a layer: for the table of groups."""

    width: Atom
    layer: str
    axis: int


@dataclass
class Template:
    """A block, as text with places.

    Attributes:
        init, forward: statements of its module.
        parts: name -> expression of a `Part`.
        numbers, labels: places that hold a number, and what it is called.
        widths: places that hold a width, in the order in which they first occur.
        sources: where its parameters come from.
        owned: which widths its weights have where.
        undecayed: parameters that are no weights of layers.
        branches: modules whose output is added to what the block is given.
        constants: names of tables that it holds.
        roles: width -> what it is called in this block.
    """

    init: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    numbers: list[Number] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    widths: list[Atom] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    owned: list[Owned] = field(default_factory=list)
    undecayed: list[str] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    roles: dict[Atom, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for blocks of one class."""
        return (
            tuple(self.init),
            tuple(self.forward),
            tuple(self.parts.items()),
            tuple(self.undecayed),
            tuple(self.branches),
            tuple(type(number) is float for number in self.numbers),
        )

    def number(self, value: Number, label: str) -> str:
        """A place for a number."""
        self.numbers.append(value)
        self.labels.append(label)
        return f"\x01N{len(self.numbers) - 1}\x02"

    def width(self, atom: Atom, role: str = "") -> str:
        """A place for a width."""
        root = atom.root
        if root not in self.widths:
            self.widths.append(root)
        if role and root not in self.roles:
            self.roles[root] = role
        return f"\x01V{self.widths.index(root)}\x02"

    def size(self, poly: Poly, label: str, role: str = "") -> str:
        """An expression of a size."""
        for key in poly:
            for atom in key:
                self.width(atom, role)
        order = {atom: position for position, atom in enumerate(self.widths)}
        terms = sorted(poly.items(), key=lambda item: (not item[0], sorted(order[atom.root] for atom in item[0])))
        written = []
        for key, count in terms:
            if not key:
                written.append(self.number(count, label))
                continue
            places = " * ".join(self.width(atom) for atom in sorted(key, key=lambda atom: order[atom.root]))
            factor = self.number(count, label).replace("\x01N", "\x01C")
            written.append(f"{factor}{places}")
        return " + ".join(written) or "0"

    def name(self, wanted: str) -> str:
        """A name for a part of the block that nothing else has."""
        name = re.sub(r"\W+", "_", wanted).strip("_") or "layer"
        name = f"layer_{name}" if name[0].isdigit() else name
        while name in self.names or name in ("x", "self") or hasattr(_PLAIN, name) or keyword.iskeyword(name):
            stem, _, number = name.rpartition("_")
            name = f"{stem}_{int(number) + 1}" if stem and number.isdigit() else f"{name}_1"
        self.names.add(name)
        return name


_PLAIN = nn.Module()


def filled(text: str, numbers: Sequence[str], widths: Sequence[str]) -> str:
    """A template's text with its places filled in; factors of 1, and arguments that are torch's own, are left out."""

    def fill(match: re.Match[str]) -> str:
        kind, position = match[1], int(match[2])
        if kind == "V":
            return widths[position]
        written = numbers[position]
        return written if kind == "N" else ("" if written == "1" else f"{written} * ")

    made = PLACE.sub(fill, text)
    for usual in (", stride=1", ", padding=0", ", dilation=1", ", groups=1"):
        made = re.sub(re.escape(usual) + r"(?=[,)])", "", made)
    return made
