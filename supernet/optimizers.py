"""Optimizers of a supernet's weights."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from supernet.options import OPTIMIZERS, TrainingOptions


def make_optimizer(
    weights: list[torch.nn.Parameter], options: TrainingOptions, spared: Collection[torch.nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The optimizer that the options name.

    Args:
        spared: weights that do not decay whatever their shape (see `undecayed`).
    """
    name, arguments = OPTIMIZERS[options.optimizer]
    groups = decayed(weights, options.weight_decay, spared)
    made: torch.optim.Optimizer = getattr(torch.optim, name)(groups, options.learning_rate, **arguments(options))
    return made


def decayed(
    weights: list[torch.nn.Parameter], weight_decay: float, spared: Collection[torch.nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """Parameter groups: matrices and kernels decay; biases and normalisation, which have one dimension, do not.

    So AlphaNet trains its supernets (arXiv 2102.07954) and GPT-like models are trained: a scale that decays to
    zero switches a channel off and regularises nothing. Weights that are spread over processes are updated
    apart from whole ones, as torch's fused updates want it.

    Args:
        spared: weights that do not decay whatever their shape.
    """
    groups, kept = [], {id(weight) for weight in spared}
    for spread in (False, True):
        for decays in (True, False):
            members = [
                w
                for w in weights
                if isinstance(w, DTensor) is spread and (w.dim() >= 2 and id(w) not in kept) is decays
            ]
            groups.append({"params": members, "weight_decay": weight_decay if decays else 0.0})
    return [group for group in groups if group["params"]]


def undecayed(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that are tables of positions, as their modules say in `undecayed`; ViT's recipes spare them.

    They are no matrices that are multiplied with: what decays in them is where a token stands (DeiT's code, arXiv
    2012.12877, and AutoFormer's, 2107.00651).
    """
    return [part.get_parameter(name) for part in module.modules() for name in getattr(part, "undecayed", ())]
