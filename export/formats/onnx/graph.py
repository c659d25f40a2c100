"""A graph of torch's exporter made ready: nodes named after the layers they are, and no talk of where it was made."""

from __future__ import annotations

import ast

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"
LAYERS = ("Conv", "MatMul", "Gemm")


def name_layers(model: onnx.ModelProto, prefix: str) -> None:
    """Name the node of every convolution and linear layer `/path/of/the/layer/Conv`, as quantization looks for them.

    Args:
        prefix: prefix of paths, that is left out.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    made = {out: node for node in graph.node for out in node.output}
    taken: set[str] = set()
    for node in graph.node:
        if node.op_type not in LAYERS or len(node.input) < 2 or not _is_weight(node.input[1], stored, made):
            continue
        path = _path(node).removeprefix(prefix)
        name = f"/{path.replace('.', '/')}/{node.op_type}"
        if path and name not in taken:
            node.name = name
            taken.add(name)


def _path(node: onnx.NodeProto) -> str:
    """The module that a node computes, or the layer that batch normalisation was folded into."""
    if node.op_type == "Conv" and node.input[1].endswith(".weight"):
        return str(node.input[1]).removesuffix(".weight")
    scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
    names = [str(name) for name in ast.literal_eval(scopes)]
    return names[-2] if len(names) > 1 else ""


def _is_weight(name: str, stored: set[str], made: dict[str, onnx.NodeProto]) -> bool:
    """Whether a tensor is stored, or the transpose of one that is."""
    source = made.get(name)
    return name in stored or (source is not None and source.op_type == "Transpose" and source.input[0] in stored)


def rid_of_talk(model: onnx.ModelProto) -> None:
    """Drop stack traces and paths of the machine, nodes whose outputs nobody reads, and tensors that none has."""
    graph = model.graph
    for holder in (*graph.node, *graph.initializer, *graph.input, *graph.output, graph, model):
        if hasattr(holder, "metadata_props"):
            del holder.metadata_props[:]
        holder.doc_string = ""
    while True:
        read = {name for node in graph.node for name in node.input} | {out.name for out in graph.output}
        kept = [node for node in graph.node if any(out in read for out in node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    read = {name for node in graph.node for name in node.input} | {out.name for out in graph.output}
    tensors = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
