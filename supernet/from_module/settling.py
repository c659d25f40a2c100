"""What stays as it is: widths that no slice could say, and modules that no supernet could hold."""

from __future__ import annotations

from collections.abc import Iterator

from torch.fx import Node

from supernet.from_module import dims
from supernet.from_module.dims import Atom, Dim, factors
from supernet.from_module.flow import Flow
from supernet.from_module.graph import Graph, RefusedModule, line_of, module_of, overload
from supernet.from_module.sizes import pieces_of, settle

# Where layers have their parameters among their arguments.
OWNED = {
    "linear": (1, 2),
    "conv1d": (1, 2),
    "conv2d": (1, 2),
    "conv3d": (1, 2),
    "conv_transpose1d": (1, 2),
    "conv_transpose2d": (1, 2),
    "_native_batch_norm_legit_no_training": (1, 2),
    "layer_norm": (2, 3),
    "rms_norm": (2,),
    "group_norm": (2, 3),
    "embedding": (0,),
}
# Layers that are not written in pieces.
WHOLE = ("conv_transpose1d", "conv_transpose2d", "group_norm", "embedding", "instance_norm", "_prelu_kernel", "prelu")


def refuse_shared(graph: Graph) -> None:
    """Refuse modules that are called twice: a slot of a supernet runs once in a pass.

    Raises:
        RefusedModule: a weight is used in two places; both are named.
    """
    users: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        for one in graph.inputs(node):
            if one in graph.parameters:
                users.setdefault(one, []).append(node)
    layers = weights_of_layers(graph)
    for parameter, several in users.items():
        if len(several) > 1 and parameter in layers:
            name = graph.parameters[parameter]
            places = " and ".join(
                f"{overload(one).split('.')[0]} in {module_of(one) or 'the module itself'} ({line_of(one)})"
                for one in several[:2]
            )
            module, _, own = name.rpartition(".")
            raise RefusedModule(
                f"Module {module!r} is shared: its {own} is used {len(several)} times, by {places}. A layer of a "
                "family runs once in a pass. Give each place a module of its own, with a copy of the weights."
            )


def settle_all(flow: Flow) -> None:
    """Fix widths until everything that is left can be written as slices."""
    everything = list(every_dim(flow))
    while settle(everything) or _fix_unwritable(flow):
        pass


def every_dim(flow: Flow) -> Iterator[Dim]:
    """Each dimension of each tensor."""
    for known in flow.of.values():
        for one in known or []:
            if isinstance(one, list):
                yield from one
            else:
                yield one


def elastic(flow: Flow) -> list[Atom]:
    """Widths of weights that may change, in the order of the graph."""
    found: dict[Atom, None] = {}
    for node in flow.graph.parameters:
        for dim in flow.of[node]:
            for piece in pieces_of(dim) or []:
                if piece.width is not None:
                    found[piece.width.root] = None
    return list(found)


def frozen(flow: Flow) -> dict[str, list[str]]:
    """Why -> axes of weights that keep their size, as `name[axis]`."""
    found: dict[str, list[str]] = {}
    for node, name in flow.graph.parameters.items():
        for axis, dim in enumerate(flow.of[node]):
            for atom in factors(dim):
                if atom.fixed and not name.endswith("bias"):
                    found.setdefault(atom.fixed, []).append(f"{name}[{axis}]")
    return {why: list(dict.fromkeys(names)) for why, names in found.items()}


def weights_of_layers(graph: Graph) -> set[Node]:
    """Parameters that stand where a layer has its own; all others are tables."""
    found = set()
    for node in graph.nodes:
        for position in OWNED.get(overload(node).split(".")[0], ()):
            if len(node.args) > position and isinstance(node.args[position], Node):
                found.add(graph.real(node.args[position]))  # type: ignore[arg-type]
    return found & set(graph.parameters)


def _fix_unwritable(flow: Flow) -> bool:
    news, layers = False, weights_of_layers(flow.graph)
    for node in flow.graph.nodes:
        name = overload(node).split(".")[0]
        grouped = name in ("conv1d", "conv2d", "conv3d") and flow.given(node, 6, "groups", 1) != 1
        if grouped or name in WHOLE:
            for one in node.all_input_nodes:
                for dim in flow.of[flow.graph.real(one)]:
                    news = _keep_simple(dim, flow.why(node)) or news
        if name in ("layer_norm", "rms_norm") and len(node.args[1]) > 1:  # type: ignore[arg-type]
            for dim in flow.dims(node.args[0])[-len(node.args[1]) :]:  # type: ignore[arg-type]
                news = dims.fix(dim, f"{flow.why(node)} normalises several axes") or news
    for node in flow.graph.parameters:
        if node in layers or node not in flow.of:
            continue
        shape = flow.of[node]
        for dim in shape:
            news = _keep_simple(dim, f"{flow.graph.parameters[node]} is a table") or news
        for dim in [dim for dim in shape if not dims.is_fixed(dim)][2:]:
            news = dims.fix(dim, "a third elastic axis of one tensor") or news
    return news


def _keep_simple(dim: Dim, why: str) -> bool:
    """Fix a dimension that is several pieces."""
    pieces = pieces_of(dim)
    if pieces is not None and len(pieces) == 1:
        return False
    return dims.fix(dim, f"{why} has it in several pieces")
