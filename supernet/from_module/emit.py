"""Operations as statements of a block: layers become torch's own modules, everything else stays the operation it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from supernet.from_module import dims
from supernet.from_module.dims import BATCH, Dim
from supernet.from_module.flow import Dims, Flow
from supernet.from_module.graph import ARITHMETIC, RefusedModule, overload
from supernet.from_module.rules import span
from supernet.from_module.sizes import Piece, Poly, elements, pieces_of, plus, poly_of, total
from supernet.from_module.tables import Tables
from supernet.from_module.writer import Owned, Source, Template

# Operations whose result is the memory of their argument.
VIEWS = frozenset(
    [
        "view",
        "reshape",
        "_unsafe_view",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "permute",
        "transpose",
        "t",
        "expand",
        "slice",
        "select",
        "split",
        "chunk",
        "split_with_sizes",
        "unbind",
        "getitem",
    ]
)
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
FUNCTIONS = {
    "relu": "F.relu", "relu_": "F.relu", "silu": "F.silu", "sigmoid": "torch.sigmoid", "tanh": "torch.tanh",
    "hardswish": "F.hardswish", "hardsigmoid": "F.hardsigmoid", "relu6": "F.relu6",
}  # fmt: skip


# What results are called in the file, where it is not the operation's name.
CALLED = {
    "getitem": "part",
    "_native_batch_norm_legit_no_training": "normed",
    "scaled_dot_product_attention": "attended",
    "linear": "mapped",
}


class Emitter:
    """Writes one block.

    Args:
        prefix: path of the module that the block is of; names within the block leave it out.
        tables: constants that the family's file holds.
        known: what writes layers, by operation.
    """

    def __init__(self, flow: Flow, source: Node, prefix: str, tables: Tables, known: Mapping[str, Any]) -> None:
        self.flow, self.graph, self.source, self.prefix = flow, flow.graph, source, prefix
        self.template = Template()
        self.tables, self.known = tables, known
        self._names: dict[Node, str] = {source: "x"}
        self._held: dict[Node, str] = {}
        self._counts: dict[str, int] = {}
        self._live: dict[Node, Poly] = {}
        # Operations that are a layer of the block: node -> its name.
        self.layers: dict[Node, str] = {}

    def write(self, nodes: Sequence[Node], answer: Node) -> Template:
        """The statements of these operations, the last of which gives the block's answer."""
        self._live = live_elements(self.flow, self.source, nodes, answer)
        for node in nodes:
            self.emit(node)
        self.template.forward.append(f"return {self.tensor(answer)}")
        return self.template

    # --- arguments ------------------------------------------------------------------------------

    def tensor(self, argument: Any) -> str:
        """The name under which a tensor is known."""
        node = self.graph.real(argument)
        if node in self._names:
            return self._names[node]
        if node in self.graph.constants:
            return self._table(node)
        if node in self.graph.parameters:
            return self._parameter(node)
        self.emit(node)
        return self._names[node]

    def argument(self, value: Any, label: str = "number") -> str:
        """Any argument of an operation."""
        if isinstance(value, Node):
            return self.tensor(value) if isinstance(value.meta.get("val"), Tensor) else self.symbolic(value)
        if isinstance(value, bool) or value is None or isinstance(value, str | torch.dtype):
            return repr(value)
        if isinstance(value, int | float):
            return self.template.number(value, label)
        if isinstance(value, torch.device):
            return "x.device"
        if isinstance(value, torch.memory_format | torch.layout):
            return repr(value)
        if isinstance(value, list | tuple):
            return f"[{', '.join(self.argument(one, label) for one in value)}]"
        raise RefusedModule(f"An operation takes {value!r}, which cannot be written down.")

    def symbolic(self, node: Node) -> str:
        """A size that depends on the batch."""
        size = node.meta["val"]
        if isinstance(size, int):
            return str(size)
        if node.target in ARITHMETIC:
            left, right = (self.argument(one) for one in node.args)
            return f"({left} {ARITHMETIC[node.target]} {right})"
        return "x.shape[0]"

    def sizes(self, shape: Dims, label: str = "size") -> str:
        """A shape to read a tensor in; the batch is found out."""
        made = []
        for dim in shape:
            if BATCH in dims.factors(dim):
                made.append("-1")
            else:
                made.append(self.template.size(poly_of(dim), label))
        return ", ".join(made)

    def whole(self, dim: Dim, label: str = "size") -> str:
        """A size in full."""
        rest = self.template.size(poly_of(dim), label)
        if BATCH not in dims.factors(dim):
            return rest
        return "x.shape[0]" if dims.size_of(dim)[1] == 1 else f"x.shape[0] * ({rest})"

    # --- statements -----------------------------------------------------------------------------

    def emit(self, node: Node) -> None:
        """Write one operation."""
        if node in self._names:
            return
        name = overload(node).split(".")[0]
        if name in ("sym", "sym_size"):
            return
        layer = self.known.get(name)
        text = layer(self, node) if layer is not None else None
        if text is None:
            text = self._written(name, node)
        self.assign(node, text, name)

    def assign(self, node: Node, text: str, name: str) -> None:
        """Give a result a name."""
        base = CALLED.get(name, name.strip("_"))
        count = self._counts[base] = self._counts.get(base, 0) + 1
        self._names[node] = f"{base}_{count}"
        self.template.forward.append(f"{self._names[node]} = {text}")

    def assign_text(self, name: str, text: str) -> None:
        """Give something between two operations a name."""
        self.template.forward.append(f"{name} = {text}")

    def _written(self, name: str, node: Node) -> str:
        special = getattr(self, f"_{name.strip('_')}_text", None)
        if special is not None:
            written: str = special(node)
            return written
        arguments = [self.argument(one, name) for one in node.args]
        options = [f"{key}={self.argument(one, key)}" for key, one in node.kwargs.items() if key not in _IDLE]
        if name in INFIX and len(arguments) == 2 and not node.kwargs:
            return f"{arguments[0]} {INFIX[name]} {arguments[1]}"
        if name in FUNCTIONS and len(arguments) == 1:
            return f"{FUNCTIONS[name]}({arguments[0]})"
        return f"torch.ops.aten.{overload(node)}({', '.join([*arguments, *options])})"

    def _reshape_text(self, node: Node) -> str:
        return f"{self.tensor(node.args[0])}.reshape({self.sizes(self.flow.dims(node))})"

    _view_text = _unsafe_view_text = _flatten_text = _unflatten_text = _squeeze_text = _reshape_copy_text = (
        _reshape_text
    )
    _view_as_text = _reshape_text

    def _unsqueeze_text(self, node: Node) -> str:
        return f"{self.tensor(node.args[0])}.unsqueeze({node.args[1]})"

    def _permute_text(self, node: Node) -> str:
        return f"{self.tensor(node.args[0])}.permute({', '.join(map(str, node.args[1]))})"  # type: ignore[arg-type]

    def _transpose_text(self, node: Node) -> str:
        axes = node.args[1:3] if len(node.args) > 2 else (-2, -1)
        return f"{self.tensor(node.args[0])}.transpose({axes[0]}, {axes[1]})"

    _t_text = _transpose_text

    def _expand_text(self, node: Node) -> str:
        return f"{self.tensor(node.args[0])}.expand({', '.join(self.whole(dim) for dim in self.flow.dims(node))})"

    _expand_as_text = _expand_text

    def _cat_text(self, node: Node) -> str:
        tensors = ", ".join(self.tensor(one) for one in node.args[0])  # type: ignore[union-attr]
        return f"torch.cat([{tensors}], {self.flow.given(node, 1, 'dim', 0)})"

    def _stack_text(self, node: Node) -> str:
        tensors = ", ".join(self.tensor(one) for one in node.args[0])  # type: ignore[union-attr]
        return f"torch.stack([{tensors}], {self.flow.given(node, 1, 'dim', 0)})"

    def _split_text(self, node: Node) -> str:
        axis = int(self.flow.given(node, 2, "dim", 0)) % len(self.flow.dims(node.args[0]))
        lengths = ", ".join(self.template.size(poly_of(one[axis]), "part") for one in self.flow.of[node])
        return f"{self.tensor(node.args[0])}.split([{lengths}], {axis})"

    _chunk_text = _split_with_sizes_text = _tensor_split_text = _unsafe_split_text = _unsafe_chunk_text = _split_text

    def _getitem_text(self, node: Node) -> str:
        return f"{self.tensor(node.args[0])}[{node.args[1]}]"

    def _select_text(self, node: Node) -> str:
        return f"{self.tensor(node.args[0])}.select({node.args[1]}, {self.template.number(node.args[2], 'place')})"  # type: ignore[arg-type]

    def _unbind_text(self, node: Node) -> str:
        return f"{self.tensor(node.args[0])}.unbind({self.flow.given(node, 1, 'dim', 0)})"

    def _slice_text(self, node: Node) -> str:
        axis, start, _, step = span(self.flow, node)
        x = self.tensor(node.args[0])
        if step != 1 or BATCH in dims.factors(self.flow.dims(node.args[0])[axis]):
            arguments = ", ".join(self.argument(one, "place") for one in node.args[1:])
            return f"torch.ops.aten.slice.Tensor({x}, {arguments})"
        before = self.template.size(before_place(self.flow.dims(node.args[0])[axis], start), "place")
        length = self.template.size(poly_of(self.flow.dims(node)[axis]), "part")
        return f"{x}.narrow({axis}, {before}, {length})"

    def _softmax_text(self, node: Node) -> str:
        return f"{self.tensor(node.args[0])}.softmax({node.args[1]})"

    def _zeros_text(self, node: Node) -> str:
        name = overload(node).split(".")[0]
        shape = ", ".join(self.whole(dim) for dim in self.flow.dims(node))
        value = f", {self.argument(node.args[1], 'value')}" if name == "full" else ""
        return f"torch.{name}(({shape},){value}, dtype={node.meta['val'].dtype!r}, device=x.device)"

    _ones_text = _full_text = _empty_text = _zeros_text

    # --- what a block holds ---------------------------------------------------------------------

    def relative(self, name: str) -> str:
        """A name of the module within the block's own."""
        return name.removeprefix(f"{self.prefix}.") if self.prefix else name

    def _table(self, node: Node) -> str:
        if node not in self._held:
            table = self.tables.name(node)
            position = len(self.template.constants)
            attribute = self.template.name("table")
            self.template.constants.append(table)
            self.template.init.append(
                f'self.register_buffer("{attribute}", constant(\x03{position}\x04), persistent=False)'
            )
            self._held[node] = f"self.{attribute}"
        return self._held[node]

    def _parameter(self, node: Node) -> str:
        """A parameter that is no layer's, with its elastic axes first."""
        if node in self._held:
            return self._held[node]
        name, shape = self.graph.parameters[node], self.flow.dims(node)
        attribute = self.template.name(self.relative(name))
        elastic = [axis for axis, dim in enumerate(shape) if not dims.is_fixed(dim)]
        order = (*elastic, *(axis for axis in range(len(shape)) if axis not in elastic))
        moved = any(axis > 1 for axis in elastic)
        order = order if moved else tuple(range(len(shape)))
        sizes = [self.template.size(poly_of(shape[axis]), "size", attribute) for axis in order]
        value = self.graph.buffer(node).detach()
        low, high = float(value.min()), float(value.max())
        wanted = f"torch.full(({', '.join(sizes)},), {self.template.number(low, 'start')})"
        if low != high:
            spread = self.template.number(round(float(value.std(correction=0)), 4), "spread")
            wanted = f"torch.randn({', '.join(sizes)}) * {spread}"
        self.template.init.append(f"self.{attribute} = nn.Parameter({wanted if shape else f'torch.tensor({low})'})")
        self.template.undecayed.append(attribute)
        self.template.sources.append(Source(attribute, name, tuple(value.shape), order=order if moved else ()))
        self.own(name, shape)
        self.template.parts[self.part_name(attribute)] = (
            f"Part(0, {self.template.size(elements(shape), 'count')}, 0, 0)"
        )
        inverse = ", ".join(str(order.index(axis)) for axis in range(len(order)))
        self._held[node] = f"self.{attribute}.permute({inverse})" if moved else f"self.{attribute}"
        return self._held[node]

    def own(self, layer: str, shape: Dims) -> None:
        """Note which widths a weight has on which axis."""
        for axis, dim in enumerate(shape):
            for piece in pieces_of(dim) or []:
                if piece.width is not None:
                    self.template.owned.append(Owned(piece.width.root, layer, axis))

    def part_name(self, wanted: str) -> str:
        """A name in `parts()`: a layer's own, or a free one."""
        name, number = wanted, 1
        while name in self.template.parts:
            name, number = f"{wanted}_{number}", number + 1
        return name

    def part(
        self,
        node: Node,
        name: str,
        weights: Poly | None,
        extras: Poly,
        macs: Poly,
        operation: str = "",
        outputs: Poly | None = None,
    ) -> None:
        """Count one elementary operation."""
        size = self.template.size
        text = f"Part({size(weights or {}, 'weights')}, {size(extras, 'extras')}, {size(macs, 'macs')}, "
        text += size(self._live.get(node, {}), "live")
        if operation and weights:
            text += f', "{operation}", {size(outputs or {}, "outputs")}'
        self.template.parts[self.part_name(name)] = text + ")"


_IDLE = frozenset({"pin_memory", "layout", "memory_format"})


def before_place(dim: Dim, start: int) -> Poly:
    """The size of what lies before a place of a dimension."""
    taken: list[Piece] = []
    left = start
    for piece in pieces_of(dim) or []:
        if left <= 0:
            break
        if piece.size > left:
            return plus(total(taken), {(): left})
        taken.append(piece)
        left -= piece.size
    return total(taken)


def live_elements(flow: Flow, source: Node, nodes: Sequence[Node], answer: Node) -> dict[Node, Poly]:
    """Elements in memory while each operation runs, for one sample."""
    root: dict[Node, Node] = {source: source}
    last: dict[Node, int] = {}
    for position, node in enumerate(nodes):
        given = [root[one] for one in flow.graph.inputs(node) if one in root]
        root[node] = given[0] if overload(node).split(".")[0] in VIEWS and given else node
        for one in (*given, root[node]):
            last[one] = position
    last[root[answer]] = len(nodes)
    sizes: dict[Node, Poly] = {}
    for node in {source, *(root[node] for node in nodes)}:
        shape = flow.of[node]
        several = shape and isinstance(shape[0], list)
        sizes[node] = {}
        for one in shape if several else [shape]:
            sizes[node] = plus(sizes[node], elements(one))
    born = {node: position for position, node in reversed(list(enumerate(nodes)))} | {source: -1}
    live: dict[Node, Poly] = {}
    for position, node in enumerate(nodes):
        there: Poly = {}
        for one in sizes:
            if born[one] <= position <= last.get(one, -1):
                there = plus(there, sizes[one])
        live[node] = there
    return live
