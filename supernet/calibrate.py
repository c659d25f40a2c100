"""Re-estimation of batch-norm statistics: every sub-network needs its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from supernet.inputs import Inputs, named

# Training images on which networks that are delivered are calibrated; more change nothing (docs/training.md).
DELIVERED_IMAGES = 2048

BatchNorm = nn.modules.batchnorm._BatchNorm


def calibrate(network: nn.Module, batches: Iterable[Tensor | Inputs]) -> None:
    """Replace every batch norm's running statistics by their plain average over `batches`.

    Only the statistics change; the network is left in evaluation mode. As in the published recipes,
    normalisation layers run in training mode with a cumulative average and everything else in
    evaluation mode (arXiv 2003.11142, 3.1). Batches should be training images.

    Args:
        network: a plain network, such as `extract` gives.
        batches: inputs, each with the batch as its first dimension.

    Raises:
        ValueError: there are no batches, so there is nothing to average.
    """
    norms = norms_of(network)
    network.eval()
    if not norms:
        return
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise ValueError("Calibration needs at least one batch of inputs; got none.")
    with cumulative(norms), torch.no_grad():
        for inputs in chain([first], remaining):
            network(*named(inputs).values())


def norms_of(module: nn.Module) -> list[BatchNorm]:
    """Every batch norm in a module."""
    return [m for m in module.modules() if isinstance(m, BatchNorm)]


@contextmanager
def cumulative(norms: Sequence[BatchNorm]) -> Iterator[None]:
    """Start the running statistics anew and average them over the batches that follow; then evaluation mode again."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
