"""Layers with weights as torch's own modules, in as many pieces as a slice of their rows and columns needs.

A narrower network keeps leading rows and columns. Where a dimension is queries, keys and values side by side, or maps
that were concatenated, its leading part is not the leading part of each: such a layer is written as several, whose
results are concatenated (rows) or added (columns).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch.fx import Node

from supernet.from_module import dims
from supernet.from_module.dims import Dim
from supernet.from_module.emit import Emitter
from supernet.from_module.graph import Graph, overload
from supernet.from_module.sizes import Piece, Poly, elements, pieces_of, plus, poly_of, times, total
from supernet.from_module.writer import Source

Layer: TypeAlias = Callable[[Emitter, Node], str | None]
NO: Poly = {}


def is_own(emitter: Emitter, node: Node, *positions: int) -> bool:
    """Whether these arguments are parameters themselves, or are not there."""
    arguments = [node.args[position] if len(node.args) > position else None for position in positions]
    graph = emitter.graph
    return all(one is None or graph.real(one) in graph.parameters for one in arguments)  # type: ignore[arg-type]


def name_of(emitter: Emitter, weight: Node) -> str:
    """The layer's name in the module."""
    return emitter.graph.parameters[emitter.graph.real(weight)].rpartition(".")[0]


def attribute_of(emitter: Emitter, layer: str) -> str:
    """The layer's name in the block."""
    return emitter.template.name(emitter.relative(layer) if layer != emitter.prefix else layer.rpartition(".")[2])


def role_of(emitter: Emitter, dim: Dim, role: str) -> None:
    """Call a dimension's width this in the block, unless it has a name."""
    for piece in pieces_of(dim) or []:
        if piece.width is not None:
            emitter.template.width(piece.width, role)


def linear(emitter: Emitter, node: Node) -> str | None:
    """`nn.Linear`."""
    x = emitter.flow.dims(node.args[0])
    places = elements(x[:-1])
    if not is_own(emitter, node, 1, 2):
        return _computed(emitter, node, places)

    def made(inputs: str, outputs: str, bias: bool) -> str:
        return f"nn.Linear({inputs}, {outputs}{'' if bias else ', bias=False'})"

    return _pieced(emitter, node, made, "linear", places, 1, axis=-1)


def convolution(emitter: Emitter, node: Node) -> str | None:
    """`nn.Conv2d` and those of other ranks."""
    flow, template = emitter.flow, emitter.template
    out = flow.dims(node)
    places = elements(out[2:])
    groups = int(flow.given(node, 6, "groups", 1))
    if not is_own(emitter, node, 1, 2):
        return _computed(emitter, node, places)
    name = overload(node).split(".")[0]
    shape = [dims.size_of(dim)[1] for dim in flow.dims(node.args[1])]
    options = _options(emitter, node, shape[2:])
    kind = f"nn.Conv{name[4]}d"
    if groups == 1:

        def made(inputs: str, outputs: str, bias: bool) -> str:
            return f"{kind}({inputs}, {outputs}, {options}{'' if bias else ', bias=False'})"

        return _pieced(emitter, node, made, "conv", places, _product(shape[2:]), axis=1)
    layer = name_of(emitter, node.args[1])  # type: ignore[arg-type]
    attribute = attribute_of(emitter, layer)
    weight, bias = flow.dims(node.args[1]), flow.given(node, 2, "bias")
    per_group = dims.size_of(weight[1])[1]
    each = total([Piece(piece.count // (shape[0] // groups), piece.width) for piece in pieces_of(weight[0]) or []])
    outputs = template.size(poly_of(weight[0]), "outputs", f"{attribute}_width")
    inputs = template.size(poly_of(flow.dims(node.args[0])[1]), "inputs")
    written = f"groups={template.size(each, 'groups')}"
    no_bias = "" if bias is not None else ", bias=False"
    template.init.append(f"self.{attribute} = {kind}({inputs}, {outputs}, {options}, {written}{no_bias})")
    _whole_sources(emitter, node, attribute, ((1, "weight"), (2, "bias")))
    weights = times(poly_of(weight[0]), {(): per_group * _product(shape[2:])})
    extras = poly_of(weight[0]) if bias is not None else NO
    emitter.part(node, attribute, weights, extras, times(weights, places), "depthwise", poly_of(weight[0]))
    return _called(emitter, node, attribute)


def _options(emitter: Emitter, node: Node, kernel: Sequence[int]) -> str:
    given, number = emitter.flow.given, emitter.template.number

    def one(name: str, value: Any) -> str:
        if isinstance(value, str):
            return f'{name}="{value}"'
        sizes = list(value) if isinstance(value, list | tuple) else [value]
        if len(set(sizes)) == 1:
            return f"{name}={number(sizes[0], name)}"
        return f"{name}=({', '.join(number(size, name) for size in sizes)})"

    return ", ".join(
        [
            one("kernel_size", kernel),
            one("stride", given(node, 3, "stride", 1)),
            one("padding", given(node, 4, "padding", 0)),
            one("dilation", given(node, 5, "dilation", 1)),
        ]
    )


def transposed_convolution(emitter: Emitter, node: Node) -> str | None:
    """`nn.ConvTranspose2d`."""
    flow, template = emitter.flow, emitter.template
    x, weight = flow.dims(node.args[0]), flow.dims(node.args[1])
    shape = [dims.size_of(dim)[1] for dim in weight]
    groups = int(flow.given(node, 6, "groups", 1))
    macs = times(times(elements(x[1:]), poly_of(weight[1])), {(): _product(shape[2:])})
    if not is_own(emitter, node, 1, 2) or groups != 1:
        return _computed(emitter, node, None, macs)
    attribute = attribute_of(emitter, name_of(emitter, node.args[1]))  # type: ignore[arg-type]
    inputs, outputs = template.size(poly_of(weight[0]), "inputs"), template.size(poly_of(weight[1]), "outputs")
    stride, padding, more, dilation = (
        emitter.argument(list(flow.given(node, at, name, [0])), name)
        for at, name in ((3, "stride"), (4, "padding"), (5, "output_padding"), (7, "dilation"))
    )
    dilation = dilation if len(node.args) > 7 else "1"
    bias = flow.given(node, 2, "bias")
    template.init.append(
        f"self.{attribute} = nn.{'ConvTranspose1d' if len(shape) == 3 else 'ConvTranspose2d'}({inputs}, {outputs}, "
        f"{tuple(shape[2:])}, stride={stride}, padding={padding}, output_padding={more}, dilation={dilation}"
        f"{'' if bias is not None else ', bias=False'})"
    )
    _whole_sources(emitter, node, attribute, ((1, "weight"), (2, "bias")))
    emitter.part(node, attribute, NO, plus(elements(weight), poly_of(weight[1]) if bias is not None else NO), macs)
    return _called(emitter, node, attribute)


def batch_norm(emitter: Emitter, node: Node) -> str | None:
    """`nn.BatchNorm2d` and those of other ranks, one for each piece."""
    flow, template, graph = emitter.flow, emitter.template, emitter.graph
    x, running = flow.dims(node.args[0]), node.args[3]
    known = running is not None and graph.real(running) in graph.buffers  # type: ignore[arg-type]
    if not known or not is_own(emitter, node, 1, 2) or node.args[1] is None:
        return None
    attribute = attribute_of(emitter, name_of(emitter, node.args[1]))  # type: ignore[arg-type]
    pieces = pieces_of(x[1]) or []
    names, start = _numbered(emitter, attribute, len(pieces)), 0
    rank = {2: "1d", 3: "1d", 4: "2d", 5: "3d"}[len(x)]
    for name, piece in zip(names, pieces, strict=True):
        width = template.size(total([piece]), "width", f"{attribute}_width")
        template.init.append(
            f"self.{name} = nn.BatchNorm{rank}({width}, eps={template.number(float(node.args[6]), 'eps')})"  # type: ignore[arg-type]
        )
        for position, own in ((1, "weight"), (2, "bias"), (3, "running_mean"), (4, "running_var")):
            _source(emitter, node, position, f"{name}.{own}", ((0, start, piece.size),) if len(pieces) > 1 else ())
        emitter.part(node, name, NO, times(total([piece]), {(): 2}), NO)
        start += piece.size
    if len(names) == 1:
        return _called(emitter, node, names[0])
    return _apart(emitter, node, names, 1, x[1])


def layer_norm(emitter: Emitter, node: Node) -> str | None:
    """`nn.LayerNorm`, or its function where its scale is in pieces."""
    return _last_norm(emitter, node, "LayerNorm", (2, 3), 4)


def rms_norm(emitter: Emitter, node: Node) -> str | None:
    """`nn.RMSNorm`."""
    return _last_norm(emitter, node, "RMSNorm", (2,), 3)


def _last_norm(emitter: Emitter, node: Node, kind: str, positions: tuple[int, ...], at: int) -> str | None:
    flow, template = emitter.flow, emitter.template
    x = flow.dims(node.args[0])
    over = x[len(x) - len(node.args[1]) :]  # type: ignore[arg-type]
    eps = (
        node.args[at] if len(node.args) > at and node.args[at] is not None else (1e-5 if kind == "LayerNorm" else None)
    )
    scale = node.args[2] if len(node.args) > 2 else None
    sizes = [template.size(poly_of(dim), "width") for dim in over]
    number = "None" if eps is None else template.number(float(eps), "eps")  # type: ignore[arg-type]
    if not is_own(emitter, node, *positions) or scale is None:
        given = ", ".join(emitter.argument(node.args[p] if len(node.args) > p else None) for p in positions)
        function = "F.layer_norm" if kind == "LayerNorm" else "F.rms_norm"
        return f"{function}({emitter.tensor(node.args[0])}, ({', '.join(sizes)},), {given}, {number})"
    attribute = attribute_of(emitter, name_of(emitter, scale))  # type: ignore[arg-type]
    role_of(emitter, over[-1], f"{attribute}_width")
    bias = len(positions) > 1 and len(node.args) > 3 and node.args[3] is not None
    extras = times(elements(over), {(): 2 if bias else 1})
    pieces = pieces_of(over[-1]) or []
    owned = ((2, "weight"), (3, "bias")) if bias else ((2, "weight"),)
    if len(pieces) == 1:
        shape = sizes[0] if len(sizes) == 1 else f"({', '.join(sizes)})"
        told = ", bias=False" if kind == "LayerNorm" and not bias else ""
        template.init.append(f"self.{attribute} = nn.{kind}({shape}, eps={number}{told})")
        _whole_sources(emitter, node, attribute, owned)
        emitter.part(node, attribute, NO, extras, NO)
        return _called(emitter, node, attribute)
    joined = []
    for position, own in owned:
        names, start = [], 0
        for i, piece in enumerate(pieces):
            name = template.name(f"{attribute}_{own}_{i + 1}")
            start_value = "ones" if own == "weight" else "zeros"
            template.init.append(
                f"self.{name} = nn.Parameter(torch.{start_value}({template.size(total([piece]), 'width')}))"
            )
            template.undecayed.append(name)
            _source(emitter, node, position, name, ((0, start, piece.size),))
            names.append(f"self.{name}")
            start += piece.size
        joined.append(f"torch.cat([{', '.join(names)}])")
    emitter.part(node, attribute, NO, extras, NO)
    function = "F.layer_norm" if kind == "LayerNorm" else "F.rms_norm"
    told = ", ".join([*joined, *(["None"] if kind == "LayerNorm" and not bias else []), number])
    return f"{function}({emitter.tensor(node.args[0])}, ({sizes[0]},), {told})"


def group_norm(emitter: Emitter, node: Node) -> str | None:
    """`nn.GroupNorm`."""
    flow, template = emitter.flow, emitter.template
    channels, groups = flow.dims(node.args[0])[1], int(node.args[1])  # type: ignore[arg-type]
    if not is_own(emitter, node, 2, 3) or flow.given(node, 2, "weight") is None:
        return None
    attribute = attribute_of(emitter, name_of(emitter, node.args[2]))  # type: ignore[arg-type]
    width = template.size(poly_of(channels), "width", f"{attribute}_width")
    each = dims.size_of(channels)[1] // groups
    many: Poly = {(): 1} if groups == 1 else total([Piece(p.count // each, p.width) for p in pieces_of(channels) or []])
    eps = template.number(float(flow.given(node, 4, "eps", 1e-5)), "eps")
    template.init.append(f"self.{attribute} = nn.GroupNorm({template.size(many, 'groups')}, {width}, eps={eps})")
    _whole_sources(emitter, node, attribute, ((2, "weight"), (3, "bias")))
    emitter.part(node, attribute, NO, times(poly_of(channels), {(): 2}), NO)
    return _called(emitter, node, attribute)


def embedding(emitter: Emitter, node: Node) -> str | None:
    """`nn.Embedding`."""
    if not is_own(emitter, node, 0):
        return None
    flow, template = emitter.flow, emitter.template
    table = flow.dims(node.args[0])
    attribute = attribute_of(emitter, name_of(emitter, node.args[0]))  # type: ignore[arg-type]
    rows, width = poly_of(table[0]), poly_of(table[1])
    sizes = f"{template.size(rows, 'rows')}, {template.size(width, 'width', f'{attribute}_width')}"
    template.init.append(f"self.{attribute} = nn.Embedding({sizes})")
    _whole_sources(emitter, node, attribute, ((0, "weight"),))
    emitter.part(node, attribute, times(rows, width), NO, NO, "embedding", rows)
    return f"self.{attribute}({emitter.tensor(node.args[1])})"


def matrix_product(emitter: Emitter, node: Node) -> str | None:
    """A product of two tensors."""
    flow = emitter.flow
    a, out = flow.dims(node.args[0]), flow.dims(node)
    emitter.part(node, "product", NO, NO, times(elements(out), poly_of(a[-1])))
    return f"{emitter.tensor(node.args[0])} @ {emitter.tensor(node.args[1])}"


def einsum(emitter: Emitter, node: Node) -> str | None:
    """A sum of products by letters."""
    inputs = str(node.args[0]).replace(" ", "").split("->")[0].split(",")
    of: dict[str, Dim] = {}
    for letters, one in zip(inputs, node.args[1], strict=True):  # type: ignore[arg-type]
        of |= dict(zip(letters, emitter.flow.dims(one), strict=True))
    emitter.part(node, "product", NO, NO, elements(of.values()))
    tensors = ", ".join(emitter.tensor(one) for one in node.args[1])  # type: ignore[union-attr]
    return f'torch.einsum("{node.args[0]}", {tensors})'


def attention(emitter: Emitter, node: Node) -> str | None:
    """Queries with keys, and probabilities with values."""
    flow = emitter.flow
    q, k, v = (flow.dims(node.args[position]) for position in range(3))
    counted = times(elements(flow.dims(node)[:-1]), poly_of(k[-2]))
    emitter.part(node, "attention", NO, NO, times(counted, plus(poly_of(q[-1]), poly_of(v[-1]))))
    tensors = [emitter.tensor(node.args[position]) for position in range(3)]
    options = []
    mask = flow.given(node, 3, "attn_mask")
    if mask is not None and learned(flow.graph, mask):
        # torch would take another kernel where the mask needs a gradient, which rounds otherwise.
        scale = flow.given(node, 6, "scale") or dims.size_of(q[-1])[1] ** -0.5
        scores = f"{tensors[0]} @ {tensors[1]}.transpose(-2, -1) * {emitter.template.number(float(scale), 'scale')}"
        return f"({scores} + {emitter.tensor(mask)}).softmax(-1) @ {tensors[2]}"
    if mask is not None:
        options.append(f"attn_mask={emitter.tensor(mask)}")
    if flow.given(node, 5, "is_causal", False):
        options.append("is_causal=True")
    if flow.given(node, 7, "enable_gqa", False):
        options.append("enable_gqa=True")
    if (scale := flow.given(node, 6, "scale")) is not None:
        options.append(f"scale={emitter.argument(scale, 'scale')}")
    return f"F.scaled_dot_product_attention({', '.join([*tensors, *options])})"


LAYERS: dict[str, Layer] = {
    "linear": linear,
    "conv1d": convolution,
    "conv2d": convolution,
    "conv3d": convolution,
    "conv_transpose1d": transposed_convolution,
    "conv_transpose2d": transposed_convolution,
    "_native_batch_norm_legit_no_training": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "embedding": embedding,
    "matmul": matrix_product,
    "bmm": matrix_product,
    "mm": matrix_product,
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
}


# --- how they are written --------------------------------------------------------------------------


def _product(numbers: Sequence[int]) -> int:
    made = 1
    for number in numbers:
        made *= number
    return made


def learned(graph: Graph, node: Node) -> bool:
    """Whether weights are in a tensor."""
    waiting, seen = [graph.real(node)], set()
    while waiting:
        one = waiting.pop()
        if one in graph.parameters:
            return True
        if one not in seen and one not in graph.constants:
            seen.add(one)
            waiting += graph.inputs(one) if one.op == "call_function" else []
    return False


def _called(emitter: Emitter, node: Node, attribute: str) -> str:
    emitter.layers[node] = attribute
    return f"self.{attribute}({emitter.tensor(node.args[0])})"


def _numbered(emitter: Emitter, attribute: str, count: int) -> list[str]:
    return [attribute] if count == 1 else [emitter.template.name(f"{attribute}_{i + 1}") for i in range(count)]


def _source(
    emitter: Emitter, node: Node, position: int, parameter: str, cuts: tuple[tuple[int, int, int], ...]
) -> None:
    if len(node.args) <= position or node.args[position] is None:
        return
    held = emitter.graph.real(node.args[position])  # type: ignore[arg-type]
    name = emitter.graph.parameters.get(held) or emitter.graph.buffers[held]
    shape = tuple(held.meta["val"].shape)
    emitter.template.sources.append(Source(parameter, name, shape, cuts))
    if not cuts or all(start == 0 for _, start, _ in cuts):
        emitter.own(name, emitter.flow.dims(held))


def _whole_sources(emitter: Emitter, node: Node, attribute: str, owned: Sequence[tuple[int, str]]) -> None:
    for position, own in owned:
        _source(emitter, node, position, f"{attribute}.{own}", ())


def _computed(emitter: Emitter, node: Node, places: Poly | None, macs: Poly | None = None) -> str:
    """A layer whose weight is computed: as the operation that it is."""
    weight = emitter.flow.dims(node.args[1])
    counted = macs if macs is not None else times(elements(weight), places or {})
    emitter.part(node, "product", NO, NO, counted)
    name = overload(node)
    arguments = ", ".join(
        emitter.template.size(poly_of(weight[0]), "groups")
        if position == 6 and isinstance(one, int) and one > 1
        else emitter.argument(one, "option")
        for position, one in enumerate(node.args)
    )
    return f"torch.ops.aten.{name}({arguments})"


def _pieced(
    emitter: Emitter,
    node: Node,
    made: Callable[[str, str, bool], str],
    operation: str,
    places: Poly,
    area: int,
    axis: int,
) -> str:
    """A layer for every piece of its rows and columns."""
    flow, template = emitter.flow, emitter.template
    weight, bias = flow.dims(node.args[1]), flow.given(node, 2, "bias")
    attribute = attribute_of(emitter, name_of(emitter, node.args[1]))  # type: ignore[arg-type]
    rows, columns = pieces_of(weight[0]) or [], pieces_of(weight[1]) or []
    x = emitter.tensor(node.args[0])
    if len(columns) > 1:
        lengths = ", ".join(template.size(total([piece]), "part") for piece in columns)
        x = f"{x}.split([{lengths}], {axis})"
        emitter.assign_text(f"{attribute}_parts", x)
    sums, at_row = [], 0
    for i, row in enumerate(rows):
        terms, at_column = [], 0
        for j, column in enumerate(columns):
            many = len(rows) * len(columns) > 1
            name = template.name(f"{attribute}_{i * len(columns) + j + 1}") if many else attribute
            has_bias = bias is not None and j == 0
            inputs = template.size(total([column]), "inputs")
            outputs = template.size(total([row]), "outputs", f"{attribute}_width")
            template.init.append(f"self.{name} = {made(inputs, outputs, has_bias)}")
            cuts = [(0, at_row, row.size)] * (len(rows) > 1) + [(1, at_column, column.size)] * (len(columns) > 1)
            _source(emitter, node, 1, f"{name}.weight", tuple(cuts))
            if has_bias:
                _source(emitter, node, 2, f"{name}.bias", ((0, at_row, row.size),) if len(rows) > 1 else ())
            weights = times(times(total([row]), total([column])), {(): area})
            extras = total([row]) if has_bias else NO
            emitter.part(node, name, weights, extras, times(weights, places), operation, total([row]))
            terms.append(f"self.{name}({f'{attribute}_parts[{j}]' if len(columns) > 1 else x})")
            at_column += column.size
            if not many:
                emitter.layers[node] = name
        sums.append(" + ".join(terms))
        at_row += row.size
    return sums[0] if len(sums) == 1 else f"torch.cat([{', '.join(sums)}], {axis})"


def _apart(emitter: Emitter, node: Node, names: Sequence[str], axis: int, dim: Dim) -> str:
    """Each piece of an axis through a module of its own."""
    lengths = ", ".join(emitter.template.size(total([piece]), "part") for piece in pieces_of(dim) or [])
    emitter.assign_text(f"{names[0]}_parts", f"{emitter.tensor(node.args[0])}.split([{lengths}], {axis})")
    return f"torch.cat([{', '.join(f'self.{name}({names[0]}_parts[{i}])' for i, name in enumerate(names))}], {axis})"
