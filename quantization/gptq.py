"""GPTQ (arXiv 2210.17323): weights rounded one column after the other, each error made up for by those that follow.

For a linear layer with inputs X, H = 2 X X^T. Column q is rounded, and the others that are still real move by
-(w_q - quant(w_q)) / [H^-1]_qq * [H^-1]_q: (equations 2 and 3), after which q is taken out of H^-1. The rows of the
upper Cholesky factor of H^-1 are all that needs (section 3.3, step 3), and columns are updated in blocks (step 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from quantization.affine import QuantizedWeight, quantize_groups

# Of the paper: columns in a block, and the share of the mean diagonal that is added to H's.
BLOCK, DAMPING = 128, 0.01


def quantize_gptq(
    weight: Tensor,
    moments_II: Tensor,
    bits: int,
    group: int,
    *,
    block: int = BLOCK,
    damping: float = DAMPING,
    by_activity: bool = True,
) -> QuantizedWeight:
    """A weight in signed numbers around zero, stored as round-to-nearest stores it.

    Scales are those of the groups as they lie in the file, fixed before anything moves, so that columns may be taken in
    any order (the authors' `static_groups`).

    Args:
        weight: (outputs, inputs).
        moments_II: sum over inputs x of x x^T, on calibration data; a factor changes nothing.
        group: inputs that share a scale; 0: all.
        by_activity: whether columns of large inputs are taken first (the authors' `act_order`).

    Raises:
        ValueError: moments of another size, or that are no numbers.
    """
    outputs, inputs = weight.shape
    if moments_II.shape != (inputs, inputs):
        raise ValueError(f"Got moments of shape {tuple(moments_II.shape)} for a weight of {inputs} inputs.")
    if not bool(torch.isfinite(moments_II).all()):
        raise ValueError("The layer's inputs on calibration data are infinite or no numbers.")
    nearest = quantize_groups(weight, bits, group)
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    hessian = 2 * moments_II.double()
    mean = hessian.diagonal().mean()
    if not float(mean) > 0:
        return nearest  # no example reaches the layer, such as an expert that none chooses
    hessian.diagonal().add_(damping * mean)
    order = hessian.diagonal().argsort(descending=True, stable=True) if by_activity else torch.arange(inputs)
    hessian = hessian[order][:, order]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    upper = torch.linalg.cholesky(inverse, upper=True)
    real = weight.detach().double()[:, order]
    scale = nearest.scale.double()[:, order // (group or inputs)]
    stored = torch.empty_like(real)
    for start in range(0, inputs, block):
        stop = min(start + block, inputs)
        errors = torch.empty(outputs, stop - start, dtype=torch.float64)
        for q in range(start, stop):
            column = real[:, q]
            stored[:, q] = (column / scale[:, q]).round().clamp(least, most)
            error = (column - stored[:, q] * scale[:, q]) / upper[q, q]
            real[:, q:stop] -= error[:, None] * upper[q, q:stop]
            errors[:, q - start] = error
        real[:, stop:] -= errors @ upper[start:stop, stop:]
    values = torch.empty_like(stored)
    values[:, order] = stored
    return QuantizedWeight(values.to(torch.int8), nearest.scale, nearest.zero_point, group)
