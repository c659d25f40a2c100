"""`model.onnx` by torch's older, TorchScript exporter: for measuring, where hundreds of networks are written.

It takes 0.15 s for a digits network where the newer one takes 2.5 to 4.3 s; the files run equally fast and give the
same outputs (docs/decisions/0107). What is shipped goes through `torch.export`. Texts have one length here.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.onnx import symbolic_helper

from quantization.qdq import quantize_file
from quantization.quantizable import applied_to
from supernet.inputs import Inputs, named, part
from supernet.network import complete, float_type_of

OPSET = 18


def in_float32(network: nn.Module) -> nn.Module:
    """The network as ONNX Runtime computes it, which has no kernels for 16-bit floats on a CPU: the same values."""
    if applied_to(network) is not None or float_type_of(network) == torch.float32:
        return network
    return copy.deepcopy(network).float()


def write_for_measuring(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Write `model.onnx`, weights inside the file; of a network with a quantization policy as they are stored.

    Raises:
        ValueError: a scheme of the policy that ONNX Runtime cannot execute.
    """
    applied = applied_to(network)
    _export(in_float32(network) if applied is None else applied.folded, example, folder)
    if applied is not None:
        quantize_file(folder / "model.onnx", applied.plans, applied.tied)


def _export(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Write the file with torch's exporter.

    It talks a great deal; its talk is dropped, its errors are not.
    """
    said = io.StringIO()
    example = {name: one.contiguous() for name, one in part(named(example), slice(1)).items()}
    given = complete(network, example)
    names = list(given)
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            tuple(given.values()),
            str(folder / "model.onnx"),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch"} for name in (*names, "logits")},
            opset_version=OPSET,
            dynamo=False,
            verbose=False,
        )


def _bicubic_with_antialias(graph: Any, x: Any, size: Any, align_corners: Any, *_scales: Any) -> Any:
    """ONNX's Resize as torch resizes (a = -0.5, weights outside the image left out): the first layer of networks of
    an elastic resolution. The exporter does not know this operator; outputs differ by 4e-5 at most (docs/log.md)."""

    if symbolic_helper._get_const(align_corners, "b", "align_corners"):
        raise NotImplementedError("Bicubic resizing with align_corners=True is not exported; use align_corners=False.")

    def constant(values: list[int], dtype: torch.dtype = torch.int64) -> Any:
        return graph.op("Constant", value_t=torch.tensor(values, dtype=dtype))

    batch_and_channels = graph.op("Slice", graph.op("Shape", x), constant([0]), constant([2]))
    height_and_width = constant(symbolic_helper._get_const(size, "is", "output_size"))
    sizes = graph.op("Concat", batch_and_channels, height_and_width, axis_i=0)
    unused = constant([], torch.float32)
    return graph.op(
        "Resize",
        x,
        unused,
        unused,
        sizes,
        antialias_i=1,
        mode_s="cubic",
        cubic_coeff_a_f=-0.5,
        exclude_outside_i=1,
        coordinate_transformation_mode_s="half_pixel",
    )


torch.onnx.register_custom_op_symbolic(  # type: ignore[attr-defined]
    "aten::_upsample_bicubic2d_aa", _bicubic_with_antialias, OPSET
)
