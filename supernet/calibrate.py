"""Re-estimation of batch-norm statistics: every sub-network needs its own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn


def calibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace every batch norm's running statistics by their plain average over `batches`.

    Only the statistics change; the network is left in evaluation mode. As in the published recipes,
    normalisation layers run in training mode with a cumulative average and everything else in
    evaluation mode (bignas.md, 1.5). Batches should be training images.

    Args:
        network: a plain network, such as `extract` gives.
        batches: inputs, each with the batch as its first dimension.

    Raises:
        ValueError: there are no batches, so there is nothing to average.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    network.eval()
    if not norms:
        return
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise ValueError("Calibration needs at least one batch of inputs; got none.")
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for inputs in chain([first], remaining):
            network(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
