"""What sub-networks of one step share: how many of them use a weight, and how much a width learns by itself.

In a sandwich a leading channel is in every member and the last one in the largest alone, so summed gradients give
shared weights up to as many times the step of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.network import Supernet

# Random networks that are looked at for widths; a width that none of them has shares the widest's values.
LOOKED_AT = 512


def divided_by_uses(supernet: Supernet, members: Sequence[Architecture], power: float) -> AbstractContextManager[None]:
    """Divide the gradients that are added inside by `uses ** power`, element by element.

    `uses` is how many members have the element: 1 gives the mean over them, 0 the sum. Gradients of earlier
    micro-batches stay as they are. The members may be changed inside.

    Raises:
        ValueError: the weights are spread over processes, where nobody has whole gradients.
    """

    def divide() -> None:
        counts = uses(supernet, members)
        for weight in supernet.parameters():
            if weight.grad is not None and weight in counts:
                weight.grad.div_(counts[weight].clamp_(min=1).pow_(power))

    return _changed(supernet, "use_power", divide) if power else nullcontext()


def shared_by_widths(supernet: Supernet, own: float) -> AbstractContextManager[None]:
    """Let the values of a parameter's widths learn from the gradients that are added inside as sums W + D would.

    W is shared by all widths and gets the sum of their gradients; D is a difference of one width's own and gets its
    own gradient at `own` times the rate. What is stored is the sum, so a network is a slice as ever, and its gradient
    is `sum + own * mine`. With an `own` of 0 all widths stay equal. Weights that are shared in part by several
    supernets are those of few-shot search (Zhao et al., arXiv 2006.06863); that they are shared by width is ours.

    Raises:
        ValueError: the weights are spread over processes, where nobody has whole gradients.
    """

    def learn_together() -> None:
        for name in supernet.slots:
            for whole, values in supernet.slot(name).widths():
                _learn_together(whole, values, own)

    return _changed(supernet, "own_weights", learn_together) if own else nullcontext()


def _learn_together(whole: nn.Parameter, values: Sequence[nn.Parameter], own: float) -> None:
    total = torch.zeros_like(whole) if whole.grad is None else whole.grad.clone()
    for value in values:
        if value.grad is not None:
            _leading(total, value).add_(value.grad)
    for each in (whole, *values):
        gradient = _leading(total, each).clone()
        each.grad = gradient if each.grad is None else gradient.add_(each.grad, alpha=own)


def _leading(whole: Tensor, part: Tensor) -> Tensor:
    """The part of a tensor that has another one's shape."""
    return whole[tuple(slice(size) for size in part.shape)]


@contextmanager
def _changed(supernet: Supernet, option: str, change: Callable[[], None]) -> Iterator[None]:
    """Change the gradients that are added inside; those of earlier micro-batches are added afterwards."""
    weights = list(supernet.parameters())
    if any(isinstance(weight, DTensor) for weight in weights):
        raise ValueError(f"training.options.{option} needs whole weights; set it to 0, or training.sharded to false.")
    before = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = None
    yield
    with torch.no_grad():
        change()
    for weight, earlier in zip(weights, before, strict=True):
        if earlier is not None:
            weight.grad = earlier if weight.grad is None else weight.grad.add_(earlier)


def uses(supernet: Supernet, members: Iterable[Architecture]) -> dict[Tensor, Tensor]:
    """How many members use each element of each weight, in the weight's shape."""
    counts: dict[Tensor, Tensor] = {}
    for member in members:
        for name, spec in supernet.layers(member).items():
            supernet.slot(name).add_uses(spec, counts)
    return counts


def add_own_weights(supernet: Supernet) -> None:
    """Give every parameter that networks have in several widths values for each of them, which start as the widest's.

    Parameters that two layers share, such as an embedding that is a head too, stay shared by all widths.
    """
    holders = Counter(weight for slot in supernet.slots.values() for weight in slot.parameters())
    tied = {weight for weight, count in holders.items() if count > 1}
    sizes = {layer for architecture in _looked_at(supernet.space) for layer in supernet.layers(architecture).items()}
    for name, spec in sorted(sizes, key=repr):  # the same order in every process
        supernet.slot(name).add_own_values(spec, tied)


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
