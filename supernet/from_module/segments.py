"""A graph as a sequence of blocks: where a single tensor goes on, which stretches repeat, and what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch.fx import Node

from supernet.from_module.dims import BATCH, Atom, Dim, factors
from supernet.from_module.emit import VIEWS, Emitter
from supernet.from_module.flow import Flow
from supernet.from_module.graph import BATCH_NORM, Graph, overload
from supernet.from_module.layers import LAYERS
from supernet.from_module.sizes import pieces_of
from supernet.from_module.tables import Tables
from supernet.from_module.writer import Template

# Longest stretch of segments that is looked at as one block that repeats: two layers of four segments.
LONGEST_PERIOD = 12
# Behind these a tensor that was zero is zero.
ZERO_STAYS = VIEWS | {"mul", "clone", "roll", "contiguous", "pad", "constant_pad_nd", "relu", "gelu", "div"}
HEAVY = ("conv", "linear", "matmul", "bmm", "einsum", "scaled_dot_product", "embedding")


@dataclass(frozen=True, slots=True)
class Segment:
    """Operations between two places where a single tensor goes on.

    Attributes:
        source: what it is given.
        nodes: operations on it, in their order.
    """

    source: Node
    nodes: tuple[Node, ...]

    @property
    def answer(self) -> Node:
        """What it gives."""
        return self.nodes[-1]

    def joined(self, other: Segment) -> Segment:
        """Join this segment with the one behind it."""
        return replace(self, nodes=(*self.nodes, *other.nodes))


@dataclass(frozen=True, slots=True)
class Block:
    """A segment that becomes a block.

    Attributes:
        run: number of the stretch of like blocks that it is in; None: it is in none.
        index: its place among these, from 0.
    """

    segment: Segment
    run: int | None = None
    index: int = 0


def segments_of(flow: Flow) -> list[Segment]:
    """The shortest segments of a graph."""
    graph = flow.graph
    main = [node for node in graph.nodes if node in graph.main]
    last = {graph.answer: len(main)}
    for position, node in enumerate(main):
        for one in graph.inputs(node):
            last[one] = max(last.get(one, -1), position)
    found: list[Segment] = []
    source, start, alive = graph.source, 0, {graph.source}
    for position, node in enumerate(main):
        alive = {one for one in alive if last.get(one, -1) > position}
        if last.get(node, -1) > position:
            alive.add(node)
        if alive == {node} and _is_cut(flow, node):
            found.append(Segment(source, tuple(main[start : position + 1])))
            source, start = node, position + 1
    return found


def overload_of(node: Node) -> str:
    """An operation's name without its overload; empty for what is no operation."""
    return overload(node).split(".")[0] if node.op == "call_function" else ""


def _is_cut(flow: Flow, node: Node) -> bool:
    shape = flow.of[node]
    return bool(shape) and isinstance(shape[0], tuple) and factors(shape[0]) == [BATCH]


def prefix_of(graph: Graph, nodes: Sequence[Node]) -> str:
    """Path of the innermost module that has all weights of some operations."""
    paths = [graph.parameters[one].rpartition(".")[0] for node in nodes for one in weights_of(graph, node)]
    if not paths:
        return ""
    if len(set(paths)) == 1:
        return paths[0].rpartition(".")[0]
    prefix = paths[0].split(".")
    for path in paths[1:]:
        prefix = prefix[: _agreeing(prefix, path.split("."))]
    return ".".join(prefix)


def _agreeing(one: Sequence[str], other: Sequence[str]) -> int:
    """How many leading parts are equal."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def weights_of(graph: Graph, node: Node) -> list[Node]:
    """Parameters that an operation reads, directly or computed with."""
    found, waiting = [], graph.inputs(node)
    while waiting:
        one = waiting.pop()
        if one in graph.parameters:
            found.append(one)
        elif one.op == "call_function" and one not in graph.constants and one not in graph.main:
            waiting += graph.inputs(one)
    return found


def template_of(flow: Flow, segment: Segment, tables: Tables) -> Template:
    """A segment as a block."""
    emitter = Emitter(flow, segment.source, prefix_of(flow.graph, segment.nodes), tables, LAYERS)
    for node in segment.nodes:
        for atom in _heads(flow, node):
            emitter.template.roles.setdefault(atom, "heads")
    if flow.classes is not None:
        emitter.template.roles[flow.classes.root] = "classes"
    for node, role in ((segment.source, "width"), (segment.answer, "out_width")):
        for atom in (atom for dim in flow.dims(node) for atom in widths_of(dim)):
            emitter.template.roles.setdefault(atom, role)
    template = emitter.write(segment.nodes, segment.answer)
    template.branches += branches_of(flow.graph, segment, emitter.layers)
    return template


def _heads(flow: Flow, node: Node) -> list[Atom]:
    """Widths that are a batch of matrix products."""
    if overload_of(node) not in ("scaled_dot_product_attention", "matmul", "bmm"):
        return []
    return [atom for dim in flow.dims(node)[:-2] for atom in factors(dim) if not atom.fixed and not atom.terms]


def shortcut(graph: Graph, segment: Segment) -> list[tuple[Node, Node]]:
    """Sums of what a segment is given and something else: (sum, the other), as long as they follow one another."""
    on_path, found = {segment.source}, []
    for node in segment.nodes:
        name = overload_of(node)
        given = [graph.real(one) for one in node.args if isinstance(one, Node)]
        if name == "add" and len(given) == 2 and given[0] is not given[1]:
            mine = [one for one in given if one in on_path]
            if len(mine) == 1:
                found.append((node, given[1 - given.index(mine[0])]))
                on_path.add(node)
        elif (
            name in VIEWS and given and given[0] in on_path and name not in ("slice", "select", "split", "chunk")
        ) or (name in ("layer_norm", BATCH_NORM, "relu", "rms_norm") and found and given[0] is found[-1][0]):
            on_path.add(node)
    return found if segment.answer in on_path else []


def is_residual(flow: Flow, segment: Segment) -> bool:
    """Whether it adds something to what it is given, and gives the same shape."""
    return bool(shortcut(flow.graph, segment)) and same_shape(flow, segment)


def same_shape(flow: Flow, segment: Segment) -> bool:
    """Whether it gives a tensor of the shape that it is given."""
    before, after = flow.of[segment.source], flow.of[segment.answer]
    return [factors(dim) for dim in before] == [factors(dim) for dim in after]


def branches_of(graph: Graph, segment: Segment, layers: dict[Node, str]) -> list[str]:
    """Layers whose output is added to what the block is given; none unless every sum is of such a layer."""
    found = []
    for _, other in shortcut(graph, segment):
        while other not in layers and overload_of(other) in ZERO_STAYS and isinstance(other.args[0], Node):
            other = graph.real(other.args[0])
        if other not in layers:
            return []
        found.append(layers[other])
    return found


def widths_of(dim: Dim) -> list[Atom]:
    """Elastic widths in a dimension."""
    return [piece.width.root for piece in pieces_of(dim) or [] if piece.width is not None]


def is_heavy(segment: Segment) -> bool:
    """Whether it has a layer that multiplies."""
    return any(overload_of(node).startswith(HEAVY) for node in segment.nodes)


def blocks_of(flow: Flow) -> list[Block]:
    """A graph as blocks: those that repeat, and between them layers with what follows each."""
    segments = segments_of(flow)
    alike = [_likeness(flow, one) for one in segments]
    blocks: list[Block] = []
    waiting: list[Segment] = []
    position = runs = 0
    while position < len(segments):
        period, count = _run_at(flow, segments, alike, position)
        if count < 2:
            waiting.append(segments[position])
            position += 1
            continue
        blocks += _plain_blocks(waiting)
        waiting = []
        for index in range(count):
            start = position + index * period
            blocks.append(Block(_joined(segments[start : start + period]), runs, index))
        runs += 1
        position += period * count
    return blocks + _plain_blocks(waiting)


def _joined(segments: Sequence[Segment]) -> Segment:
    made = segments[0]
    for one in segments[1:]:
        made = made.joined(one)
    return made


def _likeness(flow: Flow, segment: Segment) -> tuple[object, ...]:
    """Equal for segments that compute the same with other weights, and perhaps other widths inside."""
    tables = Tables(flow.graph)
    template = template_of(flow, segment, tables)
    values = tuple(tables.held)
    shape = tuple(tuple(factors(dim)) for dim in flow.of[segment.source])
    # How weights were drawn says nothing about what is computed.
    numbers = tuple(
        number
        for number, label in zip(template.numbers, template.labels, strict=True)
        if label not in ("start", "spread")
    )
    return template.key, numbers, values, shape, is_residual(flow, segment)


def _run_at(flow: Flow, segments: Sequence[Segment], alike: Sequence[object], start: int) -> tuple[int, int]:
    """The stretch of like blocks that begins here: segments of each, and how many."""
    best = (1, 1)
    if not is_residual(flow, segments[start]):
        return best
    for period in range(1, LONGEST_PERIOD + 1):
        one = segments[start : start + period]
        droppable = all(is_residual(flow, s) or (not is_heavy(s) and same_shape(flow, s)) for s in one)
        if len(one) < period or not droppable:
            break
        count = 1
        while alike[start + count * period : start + (count + 1) * period] == alike[start : start + period]:
            count += 1
        if count > 1 and count * period > best[0] * best[1]:
            best = (period, count)
    return best


def _plain_blocks(segments: Sequence[Segment]) -> list[Block]:
    """A layer that multiplies, with what stands before the first and behind each."""
    made: list[Segment] = []
    heavy = False
    for one in segments:
        if made and not (is_heavy(one) and heavy):
            made[-1] = made[-1].joined(one)
            heavy = heavy or is_heavy(one)
        else:
            made.append(one)
            heavy = is_heavy(one)
    return [Block(one) for one in made]
