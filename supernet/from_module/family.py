"""A family's file, written from a graph: groups, repeated blocks, specs, modules and where weights come from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from supernet.from_module.classes import BlockClass, classes_of
from supernet.from_module.dims import Atom, fix
from supernet.from_module.flow import Flow
from supernet.from_module.graph import Graph, RefusedModule
from supernet.from_module.rules import RULES, SIDE
from supernet.from_module.segments import Block, blocks_of, prefix_of, template_of, weights_of
from supernet.from_module.settling import elastic, frozen, refuse_shared, settle_all
from supernet.from_module.tables import Tables
from supernet.from_module.writer import Template

# Reasons that everybody expects, and that would fill the file.
EXPECTED = (SIDE, "the input has it", "rows of a table", "the answer has it")
SHOWN = 4
# Names of classes that, with `Spec` behind them or without, mean something else in the file.
RESERVED = ("Layer", "Part", "Group", "Repeat", "Weight", "ImageInput", "F")
# Vectors that have the width of the weight beside them.
FOLLOWING = (".bias", ".running_mean", ".running_var")


@dataclass(frozen=True, slots=True)
class Width:
    """A choice of a width.

    Attributes:
        slots: blocks that have it.
        axes: where weights have it.
        unit: elements that one unit is, at most.
    """

    name: str
    atom: Atom
    slots: tuple[str, ...]
    axes: tuple[str, ...]
    options: tuple[int, ...]


@dataclass
class Plan:
    """What the file says.

    Attributes:
        name: what the family is called.
        origin: what it was made from, in words.
        kept: sentences about what stays as it is.
    """

    name: str
    origin: str
    shape: tuple[int, ...]
    graph: Graph
    flow: Flow
    blocks: dict[str, Block]
    templates: dict[str, Template]
    classes: list[BlockClass]
    tables: Tables
    widths: list[Width]
    repeats: dict[str, tuple[str, ...]]
    kept: list[str] = field(default_factory=list)


def planned(graph: Graph, name: str, origin: str, shape: tuple[int, ...]) -> Plan:
    """Find out everything that the file says.

    Raises:
        RefusedModule: a module is shared, an operation cannot be written down, or nothing is elastic.
    """
    refuse_shared(graph)
    flow = Flow(graph)
    flow.run(RULES)
    settle_all(flow)
    while True:
        tables = Tables(graph)
        blocks = _named(graph, blocks_of(flow))
        _refuse_spread(graph, blocks)
        templates = {slot: template_of(flow, block.segment, tables) for slot, block in blocks.items()}
        repeats = _repeats(blocks)
        stray = _strays(flow, templates, blocks)
        if not stray:
            break
        fix(stray, "blocks of two stretches that may be left out have it")
        settle_all(flow)
    widths = _widths(flow, templates)
    if not widths and not repeats:
        reasons = "; ".join(f"{why} ({names[0]})" for why, names in list(frozen(flow).items())[:6])
        raise RefusedModule(f"Nothing of the module can be made smaller: {reasons}.")
    names = {slot: _class_name(graph, block) for slot, block in blocks.items()}
    classes = classes_of(templates, names, name)
    plan = Plan(name, origin, shape, graph, flow, blocks, templates, classes, tables, widths, repeats)
    plan.kept = _kept(plan)
    return plan


# --- names --------------------------------------------------------------------------------------


def _named(graph: Graph, blocks: Sequence[Block]) -> dict[str, Block]:
    """Slot -> block."""
    found: dict[str, Block] = {}
    for block in blocks:
        if block.run is not None:
            found[f"stage{block.run + 1}_block{block.index + 1}"] = block
            continue
        wanted = _layer_name(graph, block)
        name, number = wanted, 1
        while name in found:
            number += 1
            name = f"{wanted}_{number}"
        found[name] = block
    return found


def _layer_name(graph: Graph, block: Block) -> str:
    """What a block is called after its first layer, or the module that has all of its layers."""
    prefix = prefix_of(graph, block.segment.nodes)
    parts = [part for part in prefix.split(".") if part]
    if not parts:
        first = next(
            (
                graph.parameters[one]
                for node in block.segment.nodes
                for one in graph.inputs(node)
                if one in graph.parameters
            ),
            "",
        )
        parts = first.split(".")[:-1][-1:] or ["block"]
    named = [part for part in parts if not part.isdigit()][-1:] or ["block"]
    numbers = [part for part in parts[parts.index(named[0]) :] if part.isdigit()] if named[0] in parts else []
    name = re.sub(r"\W+", "_", "_".join([*named, *numbers])).strip("_") or "block"
    return f"block_{name}" if name[0].isdigit() else name


def _class_name(graph: Graph, block: Block) -> tuple[str, str]:
    """A name for the class of a block, and what it is."""
    prefix = prefix_of(graph, block.segment.nodes)
    name = type(graph.module.get_submodule(prefix)).__name__ if prefix else ""
    if not prefix or name in ("Sequential", "ModuleList", "ModuleDict"):
        name = "".join(part.capitalize() for part in re.split(r"\W|_", _layer_name(graph, block))) or "Block"
    if not name[0].isalpha():
        name = f"Block{name}"
    if name in RESERVED:
        name = f"{name}Block"
    return name, f"As `{prefix}`." if prefix else f"As `{_layer_name(graph, block)}` and what stands around it."


def _widths(flow: Flow, templates: dict[str, Template]) -> list[Width]:
    """The elastic widths by name, in the order of the blocks."""
    wanted = {atom for atom in elastic(flow) if flow.classes is None or atom is not flow.classes.root}
    slots: dict[Atom, list[str]] = {}
    for slot, template in templates.items():
        for atom in template.widths:
            if atom in wanted:
                slots.setdefault(atom, []).append(slot)
    found: list[Width] = []
    taken: set[str] = set()
    shared = 0
    for atom, places in slots.items():
        if len(places) > 1:
            shared += 1
            name = f"width{shared}"
        else:
            role = templates[places[0]].roles.get(atom, "width")
            name, number = f"{places[0]}_{role}", 1
            while name in taken:
                number += 1
                name = f"{places[0]}_{role}_{number}"
        taken.add(name)
        axes = dict.fromkeys(
            f"{owned.layer}[{owned.axis}]"
            for slot in places
            for owned in templates[slot].owned
            if owned.width is atom and not owned.layer.endswith(FOLLOWING)
        )
        found.append(Width(name, atom, tuple(places), tuple(axes), shares(atom.size)))
    return found


def shares(size: int) -> tuple[int, ...]:
    """Half, three quarters and all of a width, in multiples of 8 where it is one of at least 32."""
    step = 8 if size >= 32 and size % 8 == 0 else 1
    return tuple(sorted({max(step, round(size * part / step) * step) for part in (0.5, 0.75, 1)}))


def _repeats(blocks: dict[str, Block]) -> dict[str, tuple[str, ...]]:
    """Choice of depth -> slots."""
    found: dict[str, tuple[str, ...]] = {}
    for slot, block in blocks.items():
        if block.run is not None:
            name = f"stage{block.run + 1}_depth"
            found[name] = (*found.get(name, ()), slot)
    return found


def depths(count: int) -> tuple[int, ...]:
    """Numbers of blocks from half of them to all."""
    return tuple(range(max(1, (count + 1) // 2), count + 1))


def _strays(flow: Flow, templates: dict[str, Template], blocks: dict[str, Block]) -> tuple[Atom, ...]:
    """Widths that only blocks of several stretches have, all of which could be left out."""
    homes: dict[Atom, set[int | None]] = {}
    for slot, template in templates.items():
        block = blocks[slot]
        sure = block.run is None or block.index == 0
        for atom in template.widths:
            homes.setdefault(atom, set()).add(None if sure else block.run)
    return tuple(atom for atom, runs in homes.items() if None not in runs and len(runs) > 1)


def _refuse_spread(graph: Graph, blocks: dict[str, Block]) -> None:
    """A weight is of one block.

    Raises:
        RefusedModule: one is used in several.
    """
    homes: dict[str, set[str]] = {}
    for slot, block in blocks.items():
        for node in block.segment.nodes:
            for parameter in weights_of(graph, node):
                homes.setdefault(graph.parameters[parameter], set()).add(slot)
    for name, users in homes.items():
        if len(users) > 1:
            raise RefusedModule(
                f"{name!r} is shared by {len(users)} blocks ({', '.join(sorted(users)[:3])}). A layer of a family "
                "runs once in a pass. Give each of them a copy of its own."
            )


def _kept(plan: Plan) -> list[str]:
    """What stays as it is, in sentences."""
    kept = []
    for why, names in frozen(plan.flow).items():
        if why not in EXPECTED:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            kept.append(f"{', '.join(names[:SHOWN])}{more}: {why}")
    if plan.graph.left_out:
        names = list(plan.graph.left_out)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        kept.append(f"left out, because the answer does not depend on them: {', '.join(names[:SHOWN])}{more}")
    dropped = sorted(
        {
            f"p={m.p:g}"
            for m in plan.graph.module.modules()
            if type(m).__name__.startswith("Dropout") and getattr(m, "p", None)
        }
    )
    if dropped:
        kept.append(f"dropout ({', '.join(dropped)}) is left out: the graph is that of evaluation")
    if plan.flow.notes:
        kept.append(f"operations of which nothing is known: {', '.join(plan.flow.notes)}")
    return kept
