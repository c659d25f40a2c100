"""What the networks of a front have in common: how often each layer is kept, and how wide it is.

LLaMA-NAS's analysis (arXiv 2405.18377): for every layer, the share of the front's networks that keep it, and of those
the shares of its sizes. What a search likes differs from task to task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search_space.architecture import Architecture
from search_space.encoding import active_mask, gene_matrix
from search_space.space import SearchSpace


@dataclass(frozen=True, slots=True)
class LayerInsight:
    """One layer among several networks.

    Attributes:
        kept: share of the networks that have it, from 0 to 1.
        size: mean parameters of it among those, as a share of its largest; None where no network has it, or where
            it has no parameters.
    """

    slot: str
    kind: str
    kept: float
    size: float | None


@dataclass(frozen=True, slots=True)
class ChoiceInsight:
    """One choice among several networks.

    Attributes:
        options: smallest first.
        shares: shares of each option, among all networks; the rest do not have the choice.
    """

    name: str
    options: tuple[Any, ...]
    shares: tuple[float, ...]


def layers_of(space: SearchSpace, architectures: Sequence[Architecture]) -> list[LayerInsight]:
    """Every layer that a network of the space may have, in forward order; empty for a space without a blueprint."""
    if not space.has_layers or not architectures:
        return []
    described = [space.layers(architecture) for architecture in architectures]
    found = []
    for slot, capacity in space.capacity().items():
        sizes = [layers[slot].params() for layers in described if slot in layers]
        largest = capacity.params()
        share = sum(sizes) / len(sizes) / largest if sizes and largest else None
        found.append(LayerInsight(slot, capacity.kind, len(sizes) / len(described), share))
    return found


def choices_of(space: SearchSpace, architectures: Sequence[Architecture]) -> list[ChoiceInsight]:
    """Every choice that has more than one option."""
    genes = gene_matrix(space, architectures)
    active = active_mask(space, genes) if architectures else genes
    found = []
    for i, choice in enumerate(space.choices):
        if len(choice.options) > 1:
            times = [
                int(((genes[:, i] == option) & (active[:, i] != 0)).sum()) for option in range(len(choice.options))
            ]
            shares = tuple(count / max(1, len(architectures)) for count in times)
            found.append(ChoiceInsight(choice.name, choice.options, shares))
    return found
