"""Blocks of equal templates as one class: a spec that counts, and the torch module that it stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from search_space.layers import LayerSpec
from supernet.from_module.dims import Atom
from supernet.from_module.writer import Number, Template, filled


@dataclass
class BlockClass:
    """Blocks that are one class.

    Attributes:
        name: such as `ResNetBasicLayer`.
        kind: as specs call it.
        templates: what each block is made from, by slot.
        doc: which part of the module they are.
    """

    name: str
    kind: str
    doc: str
    templates: dict[str, Template] = field(default_factory=dict)
    fields: list[str] = field(init=False, default_factory=list)
    types: dict[str, str] = field(init=False, default_factory=dict)
    widths: list[str] = field(init=False, default_factory=list)
    numbers: list[str] = field(init=False, default_factory=list)
    tables: list[str] = field(init=False, default_factory=list)
    values: dict[str, list[Number | str]] = field(init=False, default_factory=dict)

    @property
    def first(self) -> Template:
        """The template that all are equal to."""
        return next(iter(self.templates.values()))

    def settle(self) -> None:
        """Decide what its arguments are: widths, and numbers and tables in which its blocks differ."""
        taken = set(self.first.names) | set(dir(LayerSpec)) | {"policy", "kind"}
        self.widths = [_free(self.first.roles.get(atom, "width"), taken) for atom in self.first.widths]
        templates = list(self.templates.values())
        self.types = dict.fromkeys(self.widths, "int")
        known: dict[tuple[Number | str, ...], str] = {}
        for position, label in enumerate(self.first.labels):
            several = tuple(template.numbers[position] for template in templates)
            self.numbers.append(self._argument(several, label, known, taken))
        for position in range(len(self.first.constants)):
            names = tuple(template.constants[position] for template in templates)
            self.tables.append(self._argument(names, "table_name", known, taken))
        self.fields = [*self.widths, *self.values]

    def _argument(
        self, several: tuple[Number | str, ...], label: str, known: dict[tuple[Number | str, ...], str], taken: set[str]
    ) -> str:
        if len(set(several)) == 1 or label in ("start", "spread"):
            value = several[0]
            return f'"{value}"' if isinstance(value, str) else _number(value)
        if several not in known:
            name = known[several] = _free(label, taken)
            self.values[name] = list(several)
            self.types[name] = type(several[0]).__name__
        return known[several]

    # --- source ---------------------------------------------------------------------------------

    def _filled(self, text: str, inside: bool) -> str:
        """Text with names in its places; `inside` methods that read them from `self`."""
        own = {name: f"self.{name}" if inside else name for name in self.fields}
        numbers = [own.get(number, number) for number in self.numbers]
        made = filled(text, numbers, [own[name] for name in self.widths])
        return re.sub(
            "\x03(\\d+)\x04", lambda match: own.get(self.tables[int(match[1])], self.tables[int(match[1])]), made
        )

    def spec_source(self, classes: bool) -> str:
        """The dataclass that counts."""
        fixed = [*self.values, *(["classes"] if classes and "classes" in self.fields else [])]
        lines = ["@dataclass(frozen=True)", f"class {self.name}Spec(LayerSpec):", f'    """{self.doc}"""', ""]
        lines += [f'    kind: ClassVar[str] = "{self.kind}"']
        if fixed:
            names = ", ".join(f'"{name}"' for name in fixed)
            lines += [f"    fixed: ClassVar[frozenset[str]] = frozenset({{{names}}})"]
        lines += ["", *(f"    {name}: {self.types[name]}" for name in self.fields)] if self.fields else []
        if self.first.branches:
            names = ", ".join(f'"{name}"' for name in self.first.branches)
            lines += ["", "    def branches(self) -> tuple[str, ...]:", f"        return ({names},)"]
        lines += ["", "    def parts(self) -> dict[str, Part]:", "        return {"]
        lines += [f'            "{name}": {self._filled(text, True)},' for name, text in self.first.parts.items()]
        return "\n".join([*lines, "        }"])

    def module_source(self) -> str:
        """The torch module, as it stands inside `blocks()`."""
        forward = [self._filled(line, True) for line in self.first.forward]
        kept = [name for name in self.fields if any(re.search(rf"\bself\.{name}\b", line) for line in forward)]
        lines = [f"    class {self.name}(nn.Module):"]
        if self.first.undecayed:
            names = ", ".join(f'"{name}"' for name in self.first.undecayed)
            lines += [f"        undecayed = ({names},)", ""]
        lines += [f"        def __init__(self{''.join(f', {name}' for name in self.fields)}):"]
        lines += ["            super().__init__()"]
        lines += [f"            self.{name} = {name}" for name in kept]
        lines += [f"            {self._filled(line, False)}" for line in self.first.init]
        lines += ["", "        def forward(self, x):", *(f"            {line}" for line in forward)]
        return "\n".join(lines)

    def call(self, slot: str, names: dict[Atom, str]) -> str:
        """A spec with the values of one block, as the blueprint writes it."""
        position = list(self.templates).index(slot)
        template = self.templates[slot]
        arguments = [f"{name}={names[atom]}" for name, atom in zip(self.widths, template.widths, strict=True)]
        for name, several in self.values.items():
            value = several[position]
            arguments.append(f'{name}="{value}"' if isinstance(value, str) else f"{name}={_number(value)}")
        return f"{self.name}Spec({', '.join(arguments)})"


def _number(value: Number | str) -> str:
    text = repr(value)
    return f'float("{text}")' if text in ("inf", "-inf", "nan") else text


def _free(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def classes_of(templates: dict[str, Template], names: dict[str, tuple[str, str]], family: str) -> list[BlockClass]:
    """Blocks, by slot, as classes.

    Args:
        names: slot -> (name of its class, what it is).
    """
    found: dict[tuple[object, ...], BlockClass] = {}
    taken: set[str] = set()
    for slot, template in templates.items():
        known = found.get(template.key)
        if known is None:
            wanted, doc = names[slot]
            name = _free(wanted, taken)
            known = found[template.key] = BlockClass(name, f"{family}_{_snake(name)}", doc)
        known.templates[slot] = template
    made = list(found.values())
    for one in made:
        one.settle()
    return made


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
