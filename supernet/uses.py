"""What sub-networks of one step share: how many of them use a weight, and scales of their own for batch norms.

In a sandwich a leading channel is in every member and the last one in the biggest alone, so summed gradients give
shared weights up to as many times the step of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.network import Supernet

# Random networks that are looked at for widths; a width that none of them has shares the widest's scales.
LOOKED_AT = 512


@contextmanager
def divided_by_uses(supernet: Supernet, members: Sequence[Architecture], power: float) -> Iterator[None]:
    """Divide the gradients that are added inside by `uses ** power`, element by element.

    `uses` is how many members have the element: 1 gives the mean over them, 0 the sum. Gradients of earlier
    micro-batches stay as they are. The members may be changed inside.

    Raises:
        ValueError: the weights are spread over processes, where nobody has whole gradients.
    """
    if not power:
        yield
        return
    weights = list(supernet.parameters())
    if any(isinstance(weight, DTensor) for weight in weights):
        raise ValueError("training.options.use_power needs whole weights; set it to 0, or training.sharded to false.")
    before = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    yield
    counts = uses(supernet, members)
    with torch.no_grad():
        for weight, earlier in zip(weights, before, strict=True):
            if weight.grad is not None and weight in counts:
                weight.grad.div_(counts[weight].clamp_(min=1).pow_(power))
            if earlier is not None:
                weight.grad = earlier if weight.grad is None else weight.grad.add_(earlier)


def uses(supernet: Supernet, members: Iterable[Architecture]) -> dict[Tensor, Tensor]:
    """How many members use each element of each weight, in the weight's shape."""
    counts: dict[Tensor, Tensor] = {}
    for member in members:
        for name, spec in supernet.layers(member).items():
            supernet.slot(name).add_uses(spec, counts)
    return counts


def add_own_scales(supernet: Supernet) -> None:
    """Give every batch norm scales and shifts for each of its widths, which start as the widest's do."""
    for architecture in _looked_at(supernet.space):
        for name, spec in supernet.layers(architecture).items():
            supernet.slot(name).add_scales(spec)


def _looked_at(space: SearchSpace) -> Iterator[Architecture]:
    """The ends, both with one choice changed, and random networks; the same ones every time."""
    ends = [space.smallest(), space.largest()]
    yield from ends
    for end in ends:
        for position, count in enumerate(space.option_counts.tolist()):
            for option in range(count):
                yield space.from_genes([*end.genes[:position], option, *end.genes[position + 1 :]])
    rng = np.random.default_rng(0)
    for _ in range(LOOKED_AT):
        yield space.sample(rng)
