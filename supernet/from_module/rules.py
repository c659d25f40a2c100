"""What each operation makes equal, and what it gives: the widths' side of ATen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.fx import Node

from supernet.from_module import dims
from supernet.from_module.dims import Dim
from supernet.from_module.flow import Dims, Flow, Rule, broadcast, plain, sized

RULES: dict[str, Rule] = {}

ELEMENTWISE = """
    relu relu_ relu6 gelu silu sigmoid tanh hardswish hardsigmoid hardtanh elu leaky_relu softplus exp log sqrt
    rsqrt neg abs pow clamp clamp_min clamp_max mish erf square floor ceil
    round sin cos logical_not bitwise_not rsub reciprocal
    add sub mul div maximum minimum eq ne lt le gt ge where masked_fill logical_and logical_or bitwise_and bitwise_or
    floor_divide remainder _to_copy to type_as log1p expm1 sign nan_to_num selu celu log_sigmoid softsign fill
    zeros_like ones_like full_like isnan lerp addcmul
"""
POOLS = """
    max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d
    upsample_nearest1d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d upsample_linear1d
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa
"""
REDUCTIONS = "mean sum amax amin var std logsumexp linalg_vector_norm norm prod any all var_mean"


# Why maps and kernels keep their sides.
SIDE = "a side of a map or kernel"


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register what operations of these names do."""

    def put(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return put


@rule(*ELEMENTWISE.split())
def elementwise(flow: Flow, node: Node) -> Dims:
    """Result and arguments have the same dimensions, but for those of size one."""
    tensors = [one for one in node.all_input_nodes if isinstance(one.meta.get("val"), Tensor)]
    return broadcast(flow, node, [flow.dims(one) for one in tensors])


@rule("linear")
def linear(flow: Flow, node: Node) -> Dims:
    """(..., in) x (out, in) -> (..., out)."""
    x, weight = flow.dims(node.args[0]), flow.dims(node.args[1])
    dims.unify(x[-1], weight[1], flow.why(node))
    if (bias := flow.given(node, 2, "bias")) is not None:
        dims.unify(weight[0], flow.dims(bias)[0], flow.why(node))
    return [*x[:-1], weight[0]]


@rule("conv1d", "conv2d", "conv3d")
def convolution(flow: Flow, node: Node) -> Dims:
    """Channels as a linear layer has them, in groups of their own where there are several."""
    x, weight, why = flow.dims(node.args[0]), flow.dims(node.args[1]), flow.why(node)
    groups = int(flow.given(node, 6, "groups", 1))
    if groups == 1:
        dims.unify(x[1], weight[1], why)
    else:
        each = dims.free(groups)
        per_group = dims.size_of(weight[0])[1] // groups
        dims.unify(weight[0], (*each, *dims.constant(per_group, f"{why} has so many outputs a group")), why)
        dims.fix(weight[1], f"{why} has so many inputs a group")
        dims.unify(x[1], (*each, *weight[1]), why)
    for side in (*weight[2:], *x[2:]):
        dims.fix(side, SIDE)
    if (bias := flow.given(node, 2, "bias")) is not None:
        dims.unify(weight[0], flow.dims(bias)[0], why)
    return [x[0], weight[0], *flow.kept(node, SIDE)[2:]]


@rule("conv_transpose1d", "conv_transpose2d")
def transposed_convolution(flow: Flow, node: Node) -> Dims:
    """Weights are (in, out, ...)."""
    x, weight, why = flow.dims(node.args[0]), flow.dims(node.args[1]), flow.why(node)
    dims.unify(x[1], weight[0], why)
    if int(flow.given(node, 6, "groups", 1)) != 1:
        dims.fix((*weight[0], *weight[1]), f"{why} has groups")
        return [x[0], *flow.kept(node, f"{why} has groups")[1:]]
    for side in (*weight[2:], *x[2:]):
        dims.fix(side, SIDE)
    if (bias := flow.given(node, 2, "bias")) is not None:
        dims.unify(weight[1], flow.dims(bias)[0], why)
    return [x[0], weight[1], *flow.kept(node, SIDE)[2:]]


@rule("_native_batch_norm_legit_no_training", "instance_norm")
def channel_norm(flow: Flow, node: Node) -> Dims:
    """Each channel by itself."""
    x = flow.dims(node.args[0])
    for one in node.args[1:5]:
        if isinstance(one, Node):
            dims.unify(x[1], flow.dims(one)[0], flow.why(node))
    for side in x[2:]:
        dims.fix(side, f"{flow.why(node)} runs over it")
    return x


@rule("_native_batch_norm_legit")
def computed_norm(flow: Flow, node: Node) -> list[Dims]:
    """A batch norm by the batch's statistics, which standardised weights use: only without scales."""
    x = flow.dims(node.args[0])
    if any(isinstance(one, Node) for one in node.args[1:]):
        _fixed_all(flow, node)
    for side in (*x[:1], *x[2:]):
        dims.fix(side, f"{flow.why(node)} runs over it")
    return [x, [x[1]], [x[1]]]


@rule("layer_norm", "rms_norm")
def layer_norm(flow: Flow, node: Node) -> Dims:
    """Over the last dimensions, of any width: a narrower network normalises what it has."""
    x = flow.dims(node.args[0])
    for one in node.args[2:4]:
        if isinstance(one, Node):
            for mine, its in zip(reversed(flow.dims(one)), reversed(x), strict=False):
                dims.unify(its, mine, flow.why(node))
    return x


@rule("group_norm")
def group_norm(flow: Flow, node: Node) -> Dims:
    """Whole groups may be left out, never parts of one."""
    x, why, groups = flow.dims(node.args[0]), flow.why(node), int(node.args[1])  # type: ignore[arg-type]
    for side in x[2:]:
        dims.fix(side, f"{why} runs over it")
    if groups > 1:
        each = dims.size_of(x[1])[1] // groups
        dims.unify(x[1], (*dims.free(groups), *dims.constant(each, f"{why} normalises groups of it")), why)
    for one in (flow.given(node, 2, "weight"), flow.given(node, 3, "bias")):
        if one is not None:
            dims.unify(x[1], flow.dims(one)[0], why)
    return x


@rule("embedding")
def embedding(flow: Flow, node: Node) -> Dims:
    """A table's rows, which are as many as they are."""
    table = flow.dims(node.args[0])
    dims.fix(table[0], "rows of a table")
    return [*flow.dims(node.args[1]), table[1]]


@rule("matmul", "bmm", "mm")
def matrix_product(flow: Flow, node: Node) -> Dims:
    """(..., m, k) x (..., k, n). What two activations are summed over keeps its size: its scale is the module's."""
    a, b, why = flow.dims(node.args[0]), flow.dims(node.args[1]), flow.why(node)
    if min(len(a), len(b)) < 2:
        return _fixed_all(flow, node)
    dims.unify(a[-1], b[-2], why)
    if not _of_weights(flow, node.args[0]) and not _of_weights(flow, node.args[1]):
        dims.fix(a[-1], f"{why} sums over it, and scales by its size")
    return [*broadcast(flow, node, [a[:-2], b[:-2]]), a[-2], b[-1]]


@rule("einsum")
def einsum(flow: Flow, node: Node) -> Dims:
    """Equal letters are equal dimensions; a letter that is summed over keeps its size."""
    equation, tensors = str(node.args[0]).replace(" ", ""), node.args[1]
    if "." in equation or "->" not in equation:
        return _fixed_all(flow, node)
    inputs, output = equation.split("->")
    of: dict[str, Dim] = {}
    for letters, one in zip(inputs.split(","), tensors, strict=True):  # type: ignore[arg-type]
        for letter, dim in zip(letters, flow.dims(one), strict=True):
            dims.unify(of.setdefault(letter, dim), dim, flow.why(node))
    activations = sum(not _of_weights(flow, one) for one in tensors)  # type: ignore[union-attr]
    for letter, dim in of.items():
        if letter not in output and activations > 1:
            dims.fix(dim, f"{flow.why(node)} sums over it, and scales by its size")
    return [of[letter] for letter in output]


@rule("scaled_dot_product_attention")
def attention(flow: Flow, node: Node) -> Dims:
    """Heads may be left out, their width not: scores are divided by its root."""
    q, k, v, why = flow.dims(node.args[0]), flow.dims(node.args[1]), flow.dims(node.args[2]), flow.why(node)
    for one in (q[-1], v[-1]):
        dims.fix(one, "the width of a head, by whose root attention divides")
    for one in (q[-2], k[-2]):
        dims.fix(one, f"{why} runs over it")
    dims.unify(q[-1], k[-1], why)
    dims.unify(k[-2], v[-2], why)
    outer = broadcast(flow, node, [q[:-2], k[:-2], v[:-2]])
    if (mask := flow.given(node, 3, "attn_mask")) is not None:
        broadcast(flow, node, [[*outer, q[-2], k[-2]], flow.dims(mask)])
    return [*outer, q[-2], v[-1]]


@rule("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "flip", "argsort", "sort")
def along(flow: Flow, node: Node) -> Dims:
    """What is normalised over keeps its size."""
    x, why = flow.dims(node.args[0]), flow.why(node)
    axes = node.args[1] if isinstance(node.args[1], list | tuple) else [node.args[1]]
    for axis in axes:
        dims.fix(x[int(axis)], f"{why} runs over it")  # type: ignore[arg-type]
    return x


@rule(*REDUCTIONS.split())
def reduction(flow: Flow, node: Node) -> Any:
    """What is averaged or summed keeps its size."""
    x, why = flow.dims(node.args[0]), flow.why(node)
    name = str(node.target).removeprefix("aten.").split(".")[0]
    position = 2 if name in ("linalg_vector_norm", "norm") else 1
    axes = flow.given(node, position, "dim")
    if not isinstance(node.meta["val"], Tensor) or isinstance(axes, bool):
        return _fixed_all(flow, node)
    chosen = range(len(x)) if axes is None else [axes] if isinstance(axes, int) else axes or range(len(x))
    gone = {int(axis) % len(x) for axis in chosen}
    for axis in gone:
        dims.fix(x[axis], f"{why} sums over it")
    if node.meta["val"].dim() == len(x):
        return [dims.ONE if axis in gone else dim for axis, dim in enumerate(x)]
    return [dim for axis, dim in enumerate(x) if axis not in gone]


@rule(*POOLS.split())
def pooled(flow: Flow, node: Node) -> Any:
    """Maps of other sides, channel by channel."""
    x = flow.dims(node.args[0])
    if not isinstance(node.meta["val"], Tensor) or len(x) < 3:
        return _fixed_all(flow, node)
    for side in x[2:]:
        dims.fix(side, SIDE)
    return [x[0], x[1], *flow.kept(node, SIDE)[2:]]


@rule("pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d")
def padded(flow: Flow, node: Node) -> Dims:
    """What gets longer keeps its size."""
    x, widths = list(flow.dims(node.args[0])), node.args[1]
    after = flow.kept(node, "a padded side")
    for axis in range(len(widths) // 2):  # type: ignore[arg-type]
        if any(width != 0 for width in widths[2 * axis : 2 * axis + 2]):  # type: ignore[index,union-attr]
            dims.fix(x[-1 - axis], f"{flow.why(node)} makes it longer")
            x[-1 - axis] = after[-1 - axis]
    return x


@rule("roll")
def rolled(flow: Flow, node: Node) -> Dims:
    """What is turned round keeps its size."""
    x = flow.dims(node.args[0])
    for axis in flow.given(node, 2, "dims", range(len(x))):
        dims.fix(x[axis], f"{flow.why(node)} turns it round")
    return x


@rule("cat")
def concatenation(flow: Flow, node: Node) -> Dims:
    """The sum of dimensions along one axis; the others are equal."""
    tensors = [flow.dims(one) for one in node.args[0]]  # type: ignore[union-attr]
    axis = int(flow.given(node, 1, "dim", 0)) % len(tensors[0])
    if any(dims.BATCH in one[axis] for one in tensors):
        return _fixed_all(flow, node)
    made = broadcast(flow, node, [[*one[:axis], dims.ONE, *one[axis + 1 :]] for one in tensors])
    made[axis] = dims.concatenated([one[axis] for one in tensors], flow.why(node))
    return made


@rule("stack")
def stacked(flow: Flow, node: Node) -> Dims:
    """A new axis of as many as there are."""
    tensors = [flow.dims(one) for one in node.args[0]]  # type: ignore[union-attr]
    axis = int(flow.given(node, 1, "dim", 0)) % (len(tensors[0]) + 1)
    made = broadcast(flow, node, tensors)
    made.insert(axis, dims.constant(len(tensors), f"{flow.why(node)} lays so many side by side"))
    return made


@rule("split", "chunk", "split_with_sizes", "tensor_split", "unsafe_split", "unsafe_chunk")
def taken_apart(flow: Flow, node: Node) -> list[Dims]:
    """Parts of one axis."""
    x, name = flow.dims(node.args[0]), "dim"
    axis = int(flow.given(node, 2, name, 0)) % len(x)
    lengths = [sized(one.shape[axis], node) for one in node.meta["val"]]
    if any(batch for batch, _ in lengths):
        return [[plain(sized(size, node), "") for size in one.shape] for one in node.meta["val"]]
    bounds = [sum(size for _, size in lengths[:i]) for i in range(len(lengths) + 1)]
    return [[*x[:axis], part, *x[axis + 1 :]] for part in dims.cut(x[axis], bounds, flow.why(node))]


@rule("getitem")
def one_of_several(flow: Flow, node: Node) -> Dims:
    """A tensor of those that an operation gives."""
    found: Dims = flow.of[flow.graph.real(node.args[0])][node.args[1]]  # type: ignore[arg-type]
    return found


@rule("slice")
def sliced(flow: Flow, node: Node) -> Dims:
    """A stretch of one axis."""
    x, why = list(flow.dims(node.args[0])), flow.why(node)
    axis, start, stop, step = span(flow, node)
    size = dims.size_of(x[axis])[1]
    if dims.BATCH in dims.factors(x[axis]):
        return _fixed_all(flow, node)
    if step != 1:
        dims.fix(x[axis], f"{why} takes every {step}th of it")
        x[axis] = flow.kept(node, why)[axis]
        return x
    bounds = sorted({0, start, stop, size})
    x[axis] = dims.cut(x[axis], bounds, why)[bounds.index(start)]
    return x


def span(flow: Flow, node: Node) -> tuple[int, int, int, int]:
    """Axis, start, stop and step of a slice, as whole numbers from 0 to the size."""
    x = flow.dims(node.args[0])
    axis = int(flow.given(node, 1, "dim", 0)) % len(x)
    size = dims.size_of(x[axis])[1]
    start, stop, step = (flow.given(node, 2, "start"), flow.given(node, 3, "end"), flow.given(node, 4, "step", 1))
    start, stop, _ = slice(start, stop).indices(size)
    return axis, start, stop, int(step)


@rule("select")
def selected(flow: Flow, node: Node) -> Dims:
    """One place of an axis."""
    x = flow.dims(node.args[0])
    axis = int(node.args[1]) % len(x)  # type: ignore[arg-type]
    dims.fix(x[axis], f"{flow.why(node)} takes one place of it")
    return [*x[:axis], *x[axis + 1 :]]


@rule("unbind")
def unbound(flow: Flow, node: Node) -> list[Dims]:
    """Each place of an axis."""
    x = flow.dims(node.args[0])
    axis = int(flow.given(node, 1, "dim", 0)) % len(x)
    dims.fix(x[axis], f"{flow.why(node)} takes its places one by one")
    return [[*x[:axis], *x[axis + 1 :]] for _ in node.meta["val"]]


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "_reshape_copy")
def reshaped(flow: Flow, node: Node) -> Dims:
    """The same elements in another shape."""
    return dims.reshaped(flow.dims(node.args[0]), flow.sizes(node), flow.why(node))


@rule("permute")
def permuted(flow: Flow, node: Node) -> Dims:
    """Axes in another order."""
    x = flow.dims(node.args[0])
    return [x[axis] for axis in node.args[1]]  # type: ignore[union-attr,index]


@rule("transpose", "t")
def transposed(flow: Flow, node: Node) -> Dims:
    """Two axes in each other's place."""
    x = list(flow.dims(node.args[0]))
    one, other = (int(node.args[1]), int(node.args[2])) if len(node.args) > 2 else (-2, -1)  # type: ignore[arg-type]
    x[one], x[other] = x[other], x[one]
    return x


@rule("expand", "expand_as")
def expanded(flow: Flow, node: Node) -> Dims:
    """Axes of size one as long as asked."""
    x, sizes = flow.dims(node.args[0]), flow.sizes(node)
    x = [dims.ONE] * (len(sizes) - len(x)) + x
    made = []
    for dim, (batch, size) in zip(x, sizes, strict=True):
        grows = dims.size_of(dim) == (False, 1)
        made.append(((dims.BATCH,) if batch else ()) + dims.free(size) if grows else dim)
    return made


@rule("repeat")
def repeated(flow: Flow, node: Node) -> Dims:
    """Axes of size one are repeated as if expanded; others keep their size."""
    x, sizes = flow.dims(node.args[0]), flow.sizes(node)
    x = [dims.ONE] * (len(sizes) - len(x)) + x
    made = []
    for dim, (batch, size) in zip(x, sizes, strict=True):
        if dims.size_of(dim) == (batch, size):
            made.append(dim)
        elif dims.size_of(dim) == (False, 1):
            made.append(((dims.BATCH,) if batch else ()) + dims.constant(size, flow.why(node)))
        else:
            return _fixed_all(flow, node)
    return made


@rule("index")
def looked_up(flow: Flow, node: Node) -> Dims:
    """Places of an axis by a table of constants."""
    x, indices, why = flow.dims(node.args[0]), node.args[1], flow.why(node)
    places = [axis for axis, one in enumerate(indices) if one is not None]  # type: ignore[arg-type]
    tables = [flow.graph.real(indices[axis]) for axis in places]  # type: ignore[index,arg-type]
    if places != list(range(places[0], places[-1] + 1)) or any(one not in flow.graph.constants for one in tables):
        return _fixed_all(flow, node)
    for axis in places:
        dims.fix(x[axis], f"{why} looks its places up")
    rank = max(flow.graph.constants[one].dim() for one in tables)
    inside = flow.kept(node, why)[places[0] : places[0] + rank]
    return [*x[: places[0]], *inside, *x[places[-1] + 1 :]]


@rule("im2col")
def unfolded(flow: Flow, node: Node) -> Dims:
    """(batch, channels, ...) -> (batch, channels x kernel, places)."""
    x, after = flow.dims(node.args[0]), flow.kept(node, "places of a map")
    area = math.prod(node.args[1])  # type: ignore[arg-type]
    for side in x[2:]:
        dims.fix(side, SIDE)
    return [x[0], (*x[1], *dims.constant(area, "a kernel's area")), after[2]]


@rule("pixel_shuffle")
def shuffled(flow: Flow, node: Node) -> Dims:
    """(batch, channels x r x r, ...) -> (batch, channels, ...)."""
    x, after = flow.dims(node.args[0]), flow.kept(node, SIDE)
    each = int(node.args[1]) ** 2  # type: ignore[arg-type]
    for side in x[2:]:
        dims.fix(side, SIDE)
    channels = dims.free(dims.size_of(x[1])[1] // each)
    dims.unify(x[1], (*channels, *dims.constant(each, "places of a pixel")), flow.why(node))
    return [x[0], channels, *after[2:]]


@rule("glu")
def gated(flow: Flow, node: Node) -> Dims:
    """Halves of one axis, multiplied."""
    x, why = list(flow.dims(node.args[0])), flow.why(node)
    axis = int(flow.given(node, 1, "dim", -1)) % len(x)
    size = dims.size_of(x[axis])[1]
    left, right = dims.cut(x[axis], (0, size // 2, size), why)
    dims.unify(left, right, why)
    x[axis] = left
    return x


@rule("_prelu_kernel", "prelu")
def sloped(flow: Flow, node: Node) -> Dims:
    """A slope for each channel."""
    x, slopes = flow.dims(node.args[0]), flow.dims(node.args[1])
    if dims.size_of(slopes[0]) != (False, 1) and len(x) > 1:
        dims.unify(x[1], slopes[0], flow.why(node))
    return x


@rule("zeros", "ones", "full", "empty", "arange", "scalar_tensor", "new_zeros", "new_ones", "new_full")
def made(flow: Flow, node: Node) -> Dims:
    """A tensor of the batch's size; the others are constants."""
    return flow.kept(node, "a table of constants spans it")


def _of_weights(flow: Flow, argument: Any) -> bool:
    """Whether a tensor depends on weights alone."""
    node = flow.graph.real(argument)
    return node not in flow.graph.main and node is not flow.graph.source


def _fixed_all(flow: Flow, node: Node) -> Dims:
    why = f"{flow.why(node)} reads all of it"
    for one in node.all_input_nodes:
        for dim in flow.of.get(flow.graph.real(one)) or []:
            dims.fix(dim, why)
    return flow.kept(node, why) if isinstance(node.meta["val"], Tensor) else []


@rule("sym", "sym_size", "sym_numel")
def arithmetic(flow: Flow, node: Node) -> None:
    """Sizes are no tensors."""
