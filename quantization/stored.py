"""What an export stores of a quantized network: a recipe in JSON, and tensors with the bytes that are counted."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from quantization.layer import Plan, Stored
from quantization.portable import QuantizedLayer, quantize
from quantization.quantizable import Applied
from search_space.layers.precision import SCHEMES


def recipe_of(applied: Applied) -> dict[str, Any]:
    """What `quantization.portable.quantize` needs to rebuild the network's shape."""
    layers = {path: _how(plan) for path, plan in applied.plans.items()}
    told = {"format": "winnow-quantization/1", "folded": dict(applied.norms), "layers": layers}
    return told | ({"tied": dict(applied.tied)} if applied.tied else {})


def _how(plan: Plan) -> dict[str, Any]:
    scheme = SCHEMES[plan.precision.scheme]
    used = {"weight_bits": plan.precision.weight_bits} if plan.precision.weight_bits > 7 else {}
    return {
        "scheme": plan.precision.scheme,
        "mode": plan.precision.mode,
        "bits": scheme.bits,
        "group": plan.precision.group,
        "zero_points": scheme.zero_points,
        "inputs": None if plan.inputs is None else [plan.inputs.scale, plan.inputs.zero_point],
        "outputs": None if plan.outputs is None else [plan.outputs.scale, plan.outputs.zero_point],
        "dynamic": plan.dynamic,
        "activation": plan.activation,
        **used,
    }


def stored_network(applied: Applied) -> nn.Module:
    """The network as it is stored, whose `state_dict` is what a file holds."""
    network = copy.deepcopy(applied.folded).cpu()
    recipe = recipe_of(applied)
    quantize(network, {**recipe, "folded": {}})
    for path, plan in applied.plans.items():
        layer, full = network.get_submodule(path), applied.folded.get_submodule(path)
        assert isinstance(layer, QuantizedLayer)
        assert isinstance(full, nn.Conv2d | nn.Linear | nn.Embedding)
        for name, tensor in _tensors(plan, full).items():
            getattr(layer, name).copy_(tensor.detach().cpu())
    return network.eval()


def _tensors(plan: Plan, full: Stored) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {} if plan.bias is None else {"bias": plan.bias}
    weight = plan.weight
    if weight is None:
        return found | {"values": full.weight.bfloat16()}
    found["scale"] = weight.scale
    if plan.precision.bits == 4:
        return found | {"values": packed(weight.values, weight.group)}
    if SCHEMES[plan.precision.scheme].zero_points:
        found["zero_point"] = weight.zero_point
    return found | {"values": weight.values}


def packed(values: Tensor, group: int) -> Tensor:
    """Signed 4-bit values, two in a byte (the first in the low half), moved up by 8; the last group is filled up.

    Args:
        values: shape (outputs, ...), int8 from -8 to 7.
    """
    flat = values.reshape(values.shape[0], -1)
    filled = nn.functional.pad(flat, (0, -flat.shape[1] % (group or 2))).add(8).to(torch.uint8)
    return filled[:, ::2] | (filled[:, 1::2] << 4)
