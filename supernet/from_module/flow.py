"""Dimensions of every tensor of a graph, found operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import Tensor
from torch.fx import Node

from supernet.from_module import dims
from supernet.from_module.dims import BATCH, Atom, Dim
from supernet.from_module.graph import Graph, RefusedModule, line_of, module_of, overload

Dims: TypeAlias = list[Dim]
Rule: TypeAlias = Callable[["Flow", Node], Any]


class Flow:
    """What is known of every tensor's dimensions.

    Attributes:
        of: node -> its dimensions, or those of each tensor that it gives.
        notes: operations of which nothing is known.
        classes: the width of the answer, where a classifier alone decides it.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.of: dict[Node, Any] = {}
        self.notes: list[str] = []
        self.classes: Atom | None = None
        self.source_dims = [(BATCH,), *(dims.constant(size, "the input has it") for size in _shape(graph.source)[1:])]
        self.of[graph.source] = self.source_dims
        for node, name in graph.parameters.items():
            self.of[node] = [dims.free(size) for size in graph.buffer(node).shape]
            del name
        for node, tensor in graph.constants.items():
            free = _is_running(node)
            self.of[node] = [
                dims.free(size) if free else dims.constant(size, "a table of constants spans it")
                for size in tensor.shape
            ]

    def run(self, rules: dict[str, Rule]) -> None:
        """Let every operation say what it makes equal."""
        for node in self.graph.nodes:
            rule = rules.get(overload(node)) or rules.get(overload(node).split(".")[0])
            self.of[node] = unknown(self, node) if rule is None else rule(self, node)
        answer = dims.factors(self.dims(self.graph.answer)[1])
        if len(answer) == 1 and not answer[0].fixed and not answer[0].terms:
            self.classes = answer[0]
        else:
            dims.fix(answer, "the answer has it")

    def dims(self, argument: Any) -> Dims:
        """Dimensions of a tensor among an operation's arguments."""
        found: Dims = self.of[self.graph.real(argument)]
        return found

    def given(self, node: Node, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or name."""
        return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)

    def why(self, node: Node) -> str:
        """An operation in words."""
        where = module_of(node) or line_of(node)
        name = overload(node).split(".")[0]
        return f"{name} in {where}" if where else name

    def sizes(self, node: Node) -> list[tuple[bool, int]]:
        """Whether the batch is in a dimension of an operation's result, and the rest of it, for each."""
        return [sized(size, node) for size in node.meta["val"].shape]

    def kept(self, node: Node, why: str) -> Dims:
        """Dimensions of a result that keep their sizes."""
        return [plain(one, why) for one in self.sizes(node)]


def sized(size: Any, node: Node) -> tuple[bool, int]:
    """A size as (whether it is a multiple of the batch, the rest).

    Raises:
        RefusedModule: it depends on the batch in another way.
    """
    if isinstance(size, int):
        return False, size
    expression = size.node.expr
    symbols = list(expression.free_symbols)
    if len(symbols) == 1:
        rest = expression / symbols[0]
        if rest.is_integer and rest.is_number:
            return True, int(rest)
    if expression.is_number:
        return False, int(expression)
    raise RefusedModule(
        f"{overload(node)} in {module_of(node)} ({line_of(node)}) gives a tensor of {expression} elements in one "
        "dimension, which is no multiple of the batch. Keep samples apart."
    )


def plain(size: tuple[bool, int], why: str) -> Dim:
    """A dimension that keeps its size."""
    return (*((BATCH,) if size[0] else ()), *dims.constant(size[1], why))


def unknown(flow: Flow, node: Node) -> Any:
    """Everything about an operation without a rule keeps its size, so that it computes what it did."""
    why = f"what {flow.why(node)} does to widths is not known"
    for one in node.all_input_nodes:
        known = flow.of.get(flow.graph.real(one))
        if isinstance(known, list):
            for dim in known:
                dims.fix(dim, why) if isinstance(dim, tuple) else None
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        if overload(node) not in flow.notes:
            flow.notes.append(overload(node))
        return flow.kept(node, why)
    if isinstance(value, list | tuple):
        return [[plain(sized(size, node), why) for size in one.shape] for one in value if isinstance(one, Tensor)]
    return None


def broadcast(flow: Flow, node: Node, tensors: Sequence[Dims]) -> Dims:
    """Dimensions of tensors that are computed with element by element."""
    rank = max((len(one) for one in tensors), default=0)
    made: Dims = []
    for position in range(-rank, 0):
        there = [
            one[position] for one in tensors if len(one) >= -position and dims.size_of(one[position]) != (False, 1)
        ]
        for other in there[1:]:
            dims.unify(there[0], other, flow.why(node))
        made.append(there[0] if there else dims.ONE)
    return made


def _shape(node: Node) -> tuple[Any, ...]:
    return tuple(node.meta["val"].shape)


def _is_running(node: Node) -> bool:
    return any("batch_norm" in overload(user) and node in user.args[3:5] for user in node.users)
