"""A quantized network as ONNX: the folded network's graph, with the operators that runtimes turn into INT8 kernels.

`int8_static` becomes QuantizeLinear and DequantizeLinear around a layer (QDQ), `int8_dynamic` DynamicQuantizeLinear and
MatMulInteger, weight-only schemes DequantizeLinear or MatMulNBits. The file holds weights as they are stored, so its
tensors have the bytes that `size_bytes` counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor

from quantization.affine import QuantizedWeight, Range
from quantization.layer import Plan
from quantization.schemes.int8_static import whole_bias
from search_space.layers.precision import EMBEDDING, SCHEMES

OPSET, MICROSOFT = 18, "com.microsoft"
TABLES = tuple(name for name, scheme in SCHEMES.items() if EMBEDDING in scheme.operations and scheme.bits < 32)
ACTIVATIONS = {"ReLU": "Relu", "ReLU6": "Clip"}


class NotFoundInGraphError(RuntimeError):
    """The exporter did not write a node for a layer; a mistake of ours."""


def quantize_file(model: Path, plans: Mapping[str, Plan], tied: Mapping[str, str] | None = None) -> None:
    """Rewrite a file that was exported from a folded network.

    Args:
        plans: path of a layer's module -> how it is executed.
        tied: path of a linear layer -> path of the quantized table that its weight is.

    Raises:
        ValueError: a scheme that ONNX Runtime has no kernels for.
    """
    writer = _Writer(onnx.load(str(model)))
    for path, plan in plans.items():
        if plan.precision.scheme in TABLES:
            writer.table(path, plan, [reader for reader, table in (tied or {}).items() if table == path])
        else:
            writer.layer(path, plan)
    onnx.save(writer.finished(), str(model))


def _nibbles(weight: QuantizedWeight) -> np.ndarray[Any, Any]:
    """4-bit rows, two numbers in a byte, moved up by 8; the last group of a row is filled up."""
    filled = np.pad(weight.values.numpy(), ((0, 0), (0, -weight.values.shape[1] % weight.group)))
    stored = (filled.astype(np.int16) + 8).astype(np.uint8)
    packed: np.ndarray[Any, Any] = stored[:, ::2] | (stored[:, 1::2] << 4)
    return packed


def tensor_bytes(model: Path) -> int:
    """Bytes of all tensors that a file stores, numbers of the graph itself (shapes, indices) left out."""
    graph = onnx.load(str(model)).graph
    constants = [a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute if a.name == "value"]
    return sum(
        numpy_helper.to_array(tensor).nbytes
        for tensor in (*graph.initializer, *constants)
        if tensor.data_type != onnx.TensorProto.INT64
    )


class _Writer:
    """Edits a graph layer by layer."""

    def __init__(self, model: Any) -> None:
        self._model, self._graph = model, model.graph
        self._nodes: dict[str, NodeProto] = {node.name: node for node in self._graph.node}
        # (tensor, scale, zero point) -> the tensor after bytes.
        self._stored: dict[tuple[str, float, int], str] = {}
        self._made = 0

    # --- layers ---------------------------------------------------------------------------------

    def layer(self, path: str, plan: Plan) -> None:
        """Make one layer what its plan says."""
        prefix = "/" + path.replace(".", "/") + "/"
        node = next(
            (self._nodes[prefix + kind] for kind in ("Conv", "MatMul", "Gemm") if prefix + kind in self._nodes), None
        )
        if node is None:
            raise NotFoundInGraphError(f"The exported graph has no node for layer {path!r}.")
        scheme = plan.precision.scheme
        if plan.weight is None:
            raise ValueError(f"ONNX Runtime has no kernels for scheme {scheme!r} on a CPU; choose 8 or 4 bits, or 32.")
        if node.op_type == "Gemm" and scheme == "int8_static":
            # A linear layer of one vector per example, whose kernel wants a bias of integers.
            self._whole_arguments(path, node, plan, plan.weight)
            return
        if node.op_type == "Gemm":
            node = self._without_gemm(node)
        if node.op_type == "Conv":
            self._convolution(path, node, plan, plan.weight)
        elif scheme == "int8_static":
            assert plan.inputs is not None
            node.input[0] = self._in_bytes(node, node.input[0], plan.inputs)
            node.input[1] = self._linear_weight(path, node, plan.weight, SCHEMES[scheme].zero_points)
        elif scheme == "int8_dynamic":
            self._dynamic(path, node, plan.weight)
        elif plan.weight.group:
            self._grouped(path, node, plan.weight, SCHEMES[scheme].bits)
        else:
            node.input[1] = self._linear_weight(path, node, plan.weight, SCHEMES[scheme].zero_points)

    def table(self, path: str, plan: Plan, readers: list[str]) -> None:
        """Make a table of rows what its plan says, and linear layers whose weight it is read it."""
        weight = plan.weight
        assert weight is not None
        names = {f"{prefix}{name}.weight" for name in (path, *readers) for prefix in ("", "network.")}
        look = next((n for n in self._graph.node if n.op_type == "Gather" and n.input[0] in names), None)
        heads = [self._nodes.get(f"/{name.replace('.', '/')}/MatMul") for name in readers]
        if look is None or None in heads:
            raise NotFoundInGraphError(f"The exported graph has no node for the table {path!r}.")
        ids, out = look.input[1], look.output[0]
        values = self._tensor(f"{path}.w", _nibbles(weight) if weight.group else weight.values.numpy())
        scale = self._tensor(f"{path}.ws", weight.scale.numpy())
        stored, row, real = (self._name() for _ in range(3))
        if weight.group:
            made = [self._grouped_rows(values, scale, ids, row, weight)]
            ends = [self._tensor(self._name(), np.array([n], np.int64)) for n in (0, weight.values.shape[1], -1)]
            made.append(helper.make_node("Slice", [row, *ends], [out]))
        else:
            made = [
                helper.make_node("Gather", [values, ids], [stored]),
                helper.make_node("Cast", [stored], [real], to=onnx.TensorProto.FLOAT),
                helper.make_node("Gather", [scale, ids], [row]),
                helper.make_node("Mul", [real, row], [out]),
            ]
        self._put_instead(look, made)
        for head in heads:
            assert head is not None
            self._tied(head, values, scale, weight)

    def _grouped_rows(self, values: str, scale: str, ids: str, out: str, weight: QuantizedWeight) -> NodeProto:
        self._microsoft()
        return helper.make_node(
            "GatherBlockQuantized",
            [values, ids, scale],
            [out],
            domain=MICROSOFT,
            gather_axis=0,
            quantize_axis=1,
            block_size=weight.group,
            bits=4,
        )

    def _tied(self, head: NodeProto, values: str, scale: str, weight: QuantizedWeight) -> None:
        """A product with the table: whole rows are turned into numbers as it runs, groups have a kernel."""
        if weight.group:
            outputs, groups = weight.scale.shape
            shape = self._tensor(self._name(), np.array([outputs, groups, weight.group // 2], np.int64))
            flat = self._tensor(self._name(), np.array([-1], np.int64))
            blocks = self._before(head, "Reshape", [values, shape])
            scales = self._before(head, "Reshape", [scale, flat])
            sizes = {"K": weight.values.shape[1], "N": outputs, "bits": 4, "block_size": weight.group}
            inputs, output = [head.input[0], blocks, scales], [head.output[0]]
            self._put_instead(head, [helper.make_node("MatMulNBits", inputs, output, domain=MICROSOFT, **sizes)])
            return
        flat = self._tensor(self._name(), np.array([-1], np.int64))
        steps = self._before(head, "Reshape", [scale, flat])
        table = self._before(head, "DequantizeLinear", [values, steps], axis=0)
        head.input[1] = self._before(head, "Transpose", [table], perm=[1, 0])

    def _convolution(self, path: str, node: NodeProto, plan: Plan, weight: QuantizedWeight) -> None:
        assert plan.outputs is not None
        self._whole_arguments(path, node, plan, weight)
        last = node
        if plan.activation:
            users = [user for user in self._graph.node if node.output[0] in user.input]
            if len(users) == 1 and users[0].op_type == ACTIVATIONS[plan.activation]:
                last = users[0]
        self._answer_in_bytes(last, plan.outputs)

    def _whole_arguments(self, path: str, node: NodeProto, plan: Plan, weight: QuantizedWeight) -> None:
        """Input, weight and bias in integers."""
        assert plan.inputs is not None
        node.input[0] = self._in_bytes(node, node.input[0], plan.inputs)
        node.input[1] = self._dequantized(
            path, node, weight.values.numpy(), weight.scale[:, 0], weight.zero_point[:, 0], 0
        )
        if plan.bias is not None:
            node.input[2] = self._whole_bias(path, node, plan.bias, plan.inputs, weight)

    def _whole_bias(self, path: str, node: NodeProto, bias: Tensor, inputs: Range, weight: QuantizedWeight) -> str:
        _, whole, scale = whole_bias(bias, inputs, weight)
        names = [self._tensor(f"{path}.b", whole.numpy()), self._tensor(f"{path}.bs", scale.numpy())]
        return self._before(node, "DequantizeLinear", names, axis=0)

    def _dynamic(self, path: str, node: NodeProto, weight: QuantizedWeight) -> None:
        x, out = node.input[0], node.output[0]
        values = self._tensor(f"{path}.w", np.ascontiguousarray(weight.values.numpy().T))
        scale = self._tensor(f"{path}.ws", weight.scale[:, 0].numpy())
        zero = self._tensor(f"{path}.wz", weight.zero_point[:, 0].numpy())
        stored, step, middle, whole, real, steps = (self._name() for _ in range(6))
        made = [
            helper.make_node("DynamicQuantizeLinear", [x], [stored, step, middle]),
            helper.make_node("MatMulInteger", [stored, values, middle, zero], [whole]),
            helper.make_node("Cast", [whole], [real], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [step, scale], [steps]),
            helper.make_node("Mul", [real, steps], [out]),
        ]
        self._put_instead(node, made)

    def _grouped(self, path: str, node: NodeProto, weight: QuantizedWeight, bits: int) -> None:
        outputs, inputs = weight.values.shape
        groups = weight.scale.shape[1]
        missing = groups * weight.group - inputs
        stored = np.pad(weight.values.numpy().astype(np.int16), ((0, 0), (0, missing))) + 2 ** (bits - 1)
        stored = stored.astype(np.uint8).reshape(outputs, groups, weight.group)
        packed = stored if bits == 8 else stored[..., ::2] | (stored[..., 1::2] << 4)
        names = [
            self._tensor(f"{path}.w", np.ascontiguousarray(packed)),
            self._tensor(f"{path}.ws", weight.scale.numpy().reshape(-1)),
        ]
        made = helper.make_node(
            "MatMulNBits",
            [node.input[0], *names],
            [node.output[0]],
            domain=MICROSOFT,
            K=inputs,
            N=outputs,
            bits=bits,
            block_size=weight.group,
        )
        self._put_instead(node, [made])
        self._microsoft()

    def _microsoft(self) -> None:
        if all(entry.domain != MICROSOFT for entry in self._model.opset_import):
            self._model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))

    def _without_gemm(self, node: NodeProto) -> NodeProto:
        """Gemm as MatMul and Add, for schemes whose kernels know only the product."""
        name, (x, weight, *bias), out = node.name, node.input, node.output[0]
        product = self._name() if bias else out
        made = [helper.make_node("MatMul", [x, weight], [product], name=name)]
        if bias:
            made.append(helper.make_node("Add", [product, bias[0]], [out]))
        self._put_instead(node, made)
        # Protocol buffers copy what is inserted: the node of the graph is another object.
        return next(known for known in self._graph.node if known.name == name)

    # --- pieces ---------------------------------------------------------------------------------

    def _linear_weight(self, path: str, node: NodeProto, weight: QuantizedWeight, has_zero_points: bool) -> str:
        values = np.ascontiguousarray(weight.values.numpy().T)
        zero = weight.zero_point[:, 0] if has_zero_points else None
        return self._dequantized(path, node, values, weight.scale[:, 0], zero, 1)

    def _dequantized(self, path: str, node: NodeProto, values: np.ndarray, scale: Any, zero: Any, axis: int) -> str:
        names = [self._tensor(f"{path}.w", values), self._tensor(f"{path}.ws", scale.numpy())]
        if zero is not None:
            names.append(self._tensor(f"{path}.wz", zero.numpy()))
        return self._before(node, "DequantizeLinear", names, axis=axis)

    def _range(self, of: str, stored: Range) -> tuple[str, str]:
        scale = self._tensor(f"{of}.s", np.array(stored.scale, np.float32))
        return scale, self._tensor(f"{of}.z", np.array(stored.zero_point, np.uint8))

    def _in_bytes(self, node: NodeProto, x: str, stored: Range) -> str:
        """The tensor after bytes, made before this node unless somebody made it already."""
        for (_, scale, zero), made in self._stored.items():
            if made == x and (scale, zero) == (stored.scale, stored.zero_point):
                return x
        key = x, stored.scale, stored.zero_point
        if key not in self._stored:
            names = self._range(self._name(), stored)
            quantized = self._before(node, "QuantizeLinear", [x, *names])
            self._stored[key] = self._before(node, "DequantizeLinear", [quantized, *names])
        return self._stored[key]

    def _answer_in_bytes(self, node: NodeProto, stored: Range) -> None:
        """Everything that read this node's output reads it after bytes."""
        out = node.output[0]
        raw, names = self._name(), self._range(self._name(), stored)
        node.output[0] = raw
        quantized = self._name()
        at = self._place(node) + 1
        self._graph.node.insert(at, helper.make_node("QuantizeLinear", [raw, *names], [quantized]))
        self._graph.node.insert(at + 1, helper.make_node("DequantizeLinear", [quantized, *names], [out]))
        self._stored[raw, stored.scale, stored.zero_point] = out

    # --- the graph ------------------------------------------------------------------------------

    def _name(self) -> str:
        self._made += 1
        return f"q{self._made}"

    def _tensor(self, name: str, array: np.ndarray) -> str:
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _place(self, node: NodeProto) -> int:
        return next(i for i, known in enumerate(self._graph.node) if known.output == node.output)

    def _before(self, node: NodeProto, kind: str, inputs: list[str], **attributes: Any) -> str:
        out = self._name()
        self._graph.node.insert(self._place(node), helper.make_node(kind, inputs, [out], **attributes))
        return out

    def _put_instead(self, node: NodeProto, made: list[NodeProto]) -> None:
        at = self._place(node)
        del self._graph.node[at]
        for new in reversed(made):
            self._graph.node.insert(at, new)

    def _keep_in_float(self) -> None:
        """Give layers in float whose input was in bytes a DequantizeLinear of their own, with a scale per channel.

        ONNX Runtime's WeightBiasQuantization (on by default) turns a Conv or Gemm between bytes and bytes into an
        integer one, with weights rounded its own way, though they are stored in float; it asks for an input with one
        scale. The scales here are all the same, so nothing else changes.
        """
        weights = {tensor.name: tensor for tensor in self._graph.initializer}
        makers = {out: node for node in self._graph.node for out in node.output}
        for node in [node for node in self._graph.node if node.op_type in ("Conv", "Gemm")]:
            weight, source = weights.get(node.input[1]), makers.get(node.input[0])
            if weight is None or source is None or source.op_type != "DequantizeLinear":
                continue
            attributes = {attribute.name: attribute.i for attribute in node.attribute}
            if node.op_type == "Conv":
                channels = weight.dims[1] * attributes.get("group", 1)
            else:
                channels = weight.dims[1 if attributes.get("transB") else 0]
            shape = self._tensor(self._name(), np.array([channels], np.int64))
            stored, *scale_and_zero = source.input
            spread = [self._before(node, "Expand", [name, shape]) for name in scale_and_zero]
            node.input[0] = self._before(node, "DequantizeLinear", [stored, *spread], axis=1)

    def finished(self) -> Any:
        """The model without tensors that nothing reads."""
        self._keep_in_float()
        read = {name for node in self._graph.node for name in node.input}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in read]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        onnx.checker.check_model(self._model) if MICROSOFT not in {o.domain for o in self._model.opset_import} else None
        return self._model
