"""What torch itself says of a network: counted block by block, without storage, each block once.

Hundreds of random networks of a space share most of their blocks, so a block is built and run (on torch's meta
device) the first time that it is met, and what was counted is remembered.
"""

from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search_space import LayerSpec
from supernet.slot import build_block

# These count no operations and keep the shape, but take most of the time on the meta device.
FREE = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid)


def params_and_bytes(layers: dict[str, LayerSpec]) -> tuple[int, int]:
    """Number of parameters, and bytes of their tensors; those that are another slot's are left out."""
    params, stored = zip(*map(_params_and_bytes, layers.values()), strict=True)
    return sum(params), sum(stored)


def flops(layers: dict[str, LayerSpec], inputs: torch.Tensor) -> int:
    """Operations of one pass, of which torch counts two for a multiply-accumulate."""
    shape, dtype, total = tuple(inputs.shape), inputs.dtype, 0
    for spec in layers.values():
        count, shape, dtype = _flops(spec, shape, dtype)
        total += count
    return total


@cache
def _params_and_bytes(spec: LayerSpec) -> tuple[int, int]:
    with torch.device("meta"):
        module = build_block(spec)
    own = [parameter for name, parameter in module.named_parameters() if name not in spec.ties()]
    return sum(p.numel() for p in own), sum(p.numel() * p.element_size() for p in own)


@cache
def _flops(spec: LayerSpec, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[int, tuple[int, ...], torch.dtype]:
    """Operations of a block for an input of this shape, and the shape and dtype of its output."""
    with torch.device("meta"):
        module = build_block(spec).eval()
    for name, child in list(module.named_modules()):
        if isinstance(child, FREE):
            module.set_submodule(name, nn.Identity())
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        out = module(torch.empty(shape, dtype=dtype, device="meta"))
    return counter.get_total_flops(), tuple(out.shape), out.dtype
