"""Optimizers of a supernet's weights."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor

from supernet.options import OPTIMIZERS, TrainingOptions


def make_optimizer(weights: list[torch.nn.Parameter], options: TrainingOptions) -> torch.optim.Optimizer:
    """The optimizer that the options name."""
    name, arguments = OPTIMIZERS[options.optimizer]
    groups = decayed(weights, options.weight_decay)
    made: torch.optim.Optimizer = getattr(torch.optim, name)(groups, options.learning_rate, **arguments(options))
    return made


def decayed(weights: list[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: matrices and kernels decay; biases and normalisation, which have one dimension, do not.

    So AlphaNet trains its supernets (arXiv 2102.07954) and GPT-like models are trained: a scale that decays to
    zero switches a channel off and regularises nothing. Weights that are spread over processes are updated
    apart from whole ones, as torch's fused updates want it.
    """
    groups = []
    for spread in (False, True):
        for matrices in (True, False):
            members = [w for w in weights if isinstance(w, DTensor) is spread and (w.dim() >= 2) is matrices]
            groups.append({"params": members, "weight_decay": weight_decay if matrices else 0.0})
    return [group for group in groups if group["params"]]
