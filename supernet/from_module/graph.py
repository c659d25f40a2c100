"""The graph of a module as torch.export reads it, with the names of its weights, and what cannot be read refused."""

from __future__ import annotations

import operator
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

TORCH = Path(torch.__file__).parent
# Samples that are traced: one or none would be taken for a size that never changes.
TRACED_BATCH = 2
# Operations that change nothing that a network computes.
IDENTITIES = ("clone", "detach", "alias", "lift_fresh_copy", "lift_fresh", "contiguous")
# Operations on sizes.
ARITHMETIC = {operator.mul: "*", operator.floordiv: "//", operator.add: "+", operator.sub: "-"}


class RefusedModule(ValueError):
    """A module that no family can be made of; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Graph:
    """What a module computes.

    Attributes:
        nodes: operations that the answer depends on, in their order.
        source: what the module is given, (batch, ...).
        answer: its logits.
        parameters: node -> name in the module.
        constants: node -> tensor that depends neither on weights nor on what the module is given.
        buffers: node -> name in the module, for constants that it stores.
        same: node -> the node that it is equal to.
        main: operations on what the module is given, not only on weights or the batch's size.
        left_out: parameters that take no part in the answer.
    """

    module: nn.Module
    nodes: tuple[Node, ...]
    source: Node
    answer: Node
    parameters: Mapping[Node, str]
    constants: Mapping[Node, Tensor]
    buffers: Mapping[Node, str]
    same: Mapping[Node, Node]
    main: frozenset[Node]
    left_out: tuple[str, ...]

    def real(self, node: Node) -> Node:
        """The node itself, or the one that it only repeats."""
        while node in self.same:
            node = self.same[node]
        return node

    def inputs(self, node: Node) -> list[Node]:
        """Nodes that it reads, without repetitions."""
        return list(dict.fromkeys(self.real(other) for other in node.all_input_nodes))

    def buffer(self, node: Node) -> Tensor:
        """The value of a parameter, or of running statistics."""
        return named_tensor(self.module, self.parameters[node])


def named_tensor(module: nn.Module, name: str) -> Tensor:
    """A parameter or buffer."""
    path, _, attribute = name.rpartition(".")
    tensor = getattr(module.get_submodule(path), attribute)
    assert isinstance(tensor, Tensor)
    return tensor


def read_graph(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    """Trace a module in evaluation mode.

    Args:
        shape: what it is given has this one; the first number is the batch, which may be any.

    Raises:
        RefusedModule: it cannot be traced, or its answer is no tensor of logits.
    """
    module = module.eval()
    example = torch.randn(TRACED_BATCH, *shape[1:], generator=torch.Generator().manual_seed(0))
    position = _position_of_logits(module, example)
    batch = torch.export.Dim("batch", min=1, max=4096)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about itself
            exported = torch.export.export(module, (example,), dynamic_shapes=({0: batch},), strict=False)
            exported = exported.run_decompositions({})
    except Exception as error:
        raise _untraceable(error) from None
    return _cleaned(module, exported, position)


def _position_of_logits(module: nn.Module, example: Tensor) -> int:
    """Which of the tensors that the module gives its logits are."""
    try:
        with torch.no_grad():
            given = module(example)
    except Exception as error:
        raise RefusedModule(
            f"The module fails on inputs of shape {tuple(example.shape)}{_at(error)}: {type(error).__name__}: {error}. "
            "Give --input the shape that it takes."
        ) from None
    leaves = pytree.tree_leaves(given)
    logits = first_output(given)
    if not isinstance(logits, Tensor):
        raise RefusedModule(
            f"The module gives {type(given).__name__} with {len(leaves)} tensors; it must give one tensor, or a record "
            "that has `logits`. Wrap it in a module that gives its logits."
        )
    if logits.dim() != 2 or len(logits) != len(example):
        raise RefusedModule(
            f"The module gives a tensor of shape {tuple(logits.shape)} for {len(example)} samples; logits have the "
            "shape (batch, classes). Wrap it in a module that ends in a classifier."
        )
    return next(i for i, leaf in enumerate(leaves) if leaf is logits)


def first_output(given: Any) -> Any:
    """The logits of what a module gives: the only tensor, or the field of that name."""
    logits = given if isinstance(given, Tensor) else getattr(given, "logits", None)
    leaves = pytree.tree_leaves(given)
    return leaves[0] if logits is None and len(leaves) == 1 else logits


def _untraceable(error: Exception) -> RefusedModule:
    """What the user has to change, and where."""
    text = f"{type(error).__name__}: {error}"
    where = _at(error)
    if any(word in text for word in ("DataDependent", "data-dependent", "DynamicOutputShape", "unbacked")):
        return RefusedModule(
            f"The module's control flow, or a shape in it, depends on the values of its input{where}. A family is one "
            "graph for all inputs: compute both ways and choose with torch.where, or leave that part out."
        )
    if "onstraint" in text and "batch" in text:
        return RefusedModule(
            f"The module computes for one number of samples only{where}: a number stands where the batch should. "
            "Take the batch from the input's shape, as x.shape[0]; len(x) is one number to torch.export."
        )
    return RefusedModule(f"torch.export cannot read the module{where}: {_first_line(error)}.")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(".: ")


def _at(error: BaseException) -> str:
    """The innermost line of code that is neither torch's nor ours, as ` (FILE, line N: CODE)`."""
    found = None
    while error is not None:
        for frame in traceback.extract_tb(error.__traceback__):
            path = Path(frame.filename)
            if path.exists() and TORCH not in path.parents and path.parent != Path(__file__).parent:
                found = frame
        if found is not None or error.__cause__ is None:
            break
        error = error.__cause__
    return "" if found is None else f" ({found.filename}, line {found.lineno}: {found.line})"


def line_of(node: Node) -> str:
    """The user's line that a node comes from, as `FILE, line N`; empty if nobody knows."""
    trace = str(node.meta.get("stack_trace") or "")
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    frames = [line.removeprefix("File ").replace(chr(34), "").split(", ")[:2] for line in lines]
    own = [frame for frame in frames if TORCH not in Path(frame[0]).parents]
    return f"{Path(own[-1][0]).name}, {own[-1][1]}" if own else ""


def module_of(node: Node) -> str:
    """Path of the module whose code a node is."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def overload(node: Node) -> str:
    """Name of an operation, such as `add.Tensor`; `sym` where it computes with sizes."""
    if node.target is operator.getitem:
        return "getitem"
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target).removeprefix("aten.")
    return "sym"


def is_identity(node: Node) -> bool:
    """Whether it gives what it is given."""
    name = overload(node).split(".")[0]
    if name in IDENTITIES:
        return True
    if name in ("dropout", "feature_dropout", "alpha_dropout"):
        return True
    if name in ("_to_copy", "to", "type_as"):
        given = node.args[0]
        return isinstance(given, Node) and given.meta["val"].dtype == node.meta["val"].dtype
    if name in ("pad", "constant_pad_nd"):
        return all(isinstance(width, int) and width == 0 for width in node.args[1])  # type: ignore[union-attr]
    if name == "slice":
        span: list[Any] = [*node.args[2:5], *(None, None, 1)[len(node.args) - 2 :]]
        to_end = span[1] is None or (isinstance(span[1], int) and span[1] >= 2**62)
        return span[0] in (0, None) and span[2] == 1 and to_end
    return False


# A batch norm of evaluation, which gives statistics beside what is normalised.
BATCH_NORM = "_native_batch_norm_legit_no_training"


def _is_normed(node: Node) -> bool:
    """Whether it takes what is normalised out of what a batch norm gives."""
    given = node.args[0] if overload(node) == "getitem" else None
    return isinstance(given, Node) and overload(given).split(".")[0] == BATCH_NORM and bool(node.args[1] == 0)


def _cleaned(module: nn.Module, exported: torch.export.ExportedProgram, position: int) -> Graph:
    signature = exported.graph_signature
    weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    parameters: dict[Node, str] = {}
    constants: dict[Node, Tensor] = {}
    buffers: dict[Node, str] = {}
    same: dict[Node, Node] = {}
    source, answer, order = None, None, []
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            if node.name in signature.inputs_to_parameters:
                parameters[node] = weights[node.name]
            elif node.name in weights:
                constants[node] = named_tensor(module, weights[node.name])
                buffers[node] = weights[node.name]
            elif node.name in signature.inputs_to_lifted_tensor_constants:
                constants[node] = exported.constants[signature.inputs_to_lifted_tensor_constants[node.name]]
            else:
                source = node
        elif node.op == "call_function":
            if is_identity(node) or _is_normed(node):
                same[node] = node.args[0]
            order.append(node)
        elif node.op == "output":
            answer = node.args[0][_kept_outputs(exported, position)]
    assert source is not None
    assert answer is not None
    graph = Graph(module, (), source, answer, parameters, constants, buffers, same, frozenset(), ())
    alive = _ancestors(graph, answer)
    _fold(graph, [node for node in order if node in alive and node not in same], constants)
    nodes = [node for node in order if node in alive and node not in same and node not in constants]
    used = {parameters[node] for node in parameters if node in alive}
    left_out = tuple(name for name, _ in module.named_parameters() if name not in used)
    main = {source}
    for node in nodes:
        if overload(node).split(".")[0] not in ("sym", "sym_size") and main.intersection(graph.inputs(node)):
            main.add(node)
    answer = graph.real(answer)
    return Graph(
        module, tuple(nodes), source, answer, parameters, constants, buffers, same, frozenset(main - {source}), left_out
    )


def _kept_outputs(exported: torch.export.ExportedProgram, position: int) -> int:
    """Outputs of the graph begin with buffers that the module changes."""
    kinds = [spec.kind.name for spec in exported.graph_signature.output_specs]
    return [i for i, kind in enumerate(kinds) if kind == "USER_OUTPUT"][position]


def _ancestors(graph: Graph, answer: Node) -> set[Node]:
    found: set[Node] = set()
    waiting = [answer]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _fold(graph: Graph, nodes: list[Node], constants: dict[Node, Tensor]) -> None:
    """Compute what depends on no weight, no input and no batch."""
    values: dict[Node, Any] = dict(constants)
    statistics = {node for node in constants if _is_statistic(node)}
    for node in nodes:
        given = graph.inputs(node)
        if all(one in values and one not in statistics for one in given) and "val" in node.meta:
            arguments = pytree.tree_map_only(Node, lambda one: values[graph.real(one)], (node.args, node.kwargs))
            with torch.no_grad():
                values[node] = node.target(*arguments[0], **arguments[1])  # type: ignore[operator]
            if isinstance(values[node], Tensor):
                # A copy that was left out as an identity would have made it so.
                values[node] = values[node].contiguous()
                constants[node] = values[node]


def _is_statistic(node: Node) -> bool:
    """Running mean or variance of a batch norm."""
    return any("batch_norm" in overload(user) and node in user.args[3:5] for user in node.users)


def walk_arguments(node: Node) -> Iterator[Node]:
    """Every node among its arguments, in their order."""
    yield from (one for one in pytree.tree_leaves((node.args, node.kwargs)) if isinstance(one, Node))
