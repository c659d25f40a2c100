"""Bicubic resizing with antialiasing, which torch's exporter has no ONNX for: the first layer of networks of an elastic
resolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18

# Its methods are typed for values, not for the graph that they make here.
op: Any = opset18


def bicubic(x: Any, output_size: Any, align_corners: bool, *_scales: Any, **_more: Any) -> Any:
    """ONNX's Resize as torch resizes (a = -0.5, weights outside the image left out); outputs differ by 4e-5 at most."""
    if align_corners:
        raise NotImplementedError("Bicubic resizing with align_corners=True is not exported; use align_corners=False.")
    front = op.Slice(op.Shape(x), op.Constant(value_ints=[0]), op.Constant(value_ints=[2]))
    size = op.Constant(value_ints=[int(each) for each in output_size])
    return op.Resize(
        x,
        None,
        None,
        op.Concat(front, size, axis=0),
        antialias=1,
        mode="cubic",
        cubic_coeff_a=-0.5,
        exclude_outside=1,
        coordinate_transformation_mode="half_pixel",
    )


TABLE: dict[Callable[..., Any], Any] = {torch.ops.aten._upsample_bicubic2d_aa.default: bicubic}
