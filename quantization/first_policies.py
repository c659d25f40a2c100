"""Policies that a search evaluates first: every width alone, and the least sensitive layers at each width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from quantization.quantized_space import QuantizedSpace
from search_space.architecture import Architecture
from search_space.layers import Precision

# Shares of the layers, least sensitive first, that the search's first policies quantize.
SHARES = (0.75, 0.5, 0.25)
# Of so many evaluations one at most is a first policy: of networks, which matter most, these say next to nothing.
EVALUATIONS_PER_SEED = 8


class LayerDivergence(Protocol):
    """What is known of the largest network with one layer quantized: a `Sensitivity`, or its stored form."""

    @property
    def layer(self) -> str:
        """`slot.part`."""

    @property
    def bits(self) -> int:
        """Its width."""

    @property
    def divergence(self) -> float | None:
        """Divergence of the network's answers from the full network's, in nats; None where it is no number."""


def candidates_of(space: QuantizedSpace, network: Architecture) -> dict[str, list[Precision]]:
    """Layer name -> every precision that a policy of this network may give it, in the usual mode."""
    found: dict[str, list[Precision]] = {}
    for bits in space.quantization.bits:
        for name, precision in space.policy(space.quantized(network, bits)).items():
            known = found.setdefault(name, [])
            if precision not in known:
                known.append(precision)
    return found


def seeds_from(space: QuantizedSpace, known: Sequence[LayerDivergence], evaluations: int) -> list[Architecture]:
    """Policies to evaluate first: of both ends of the space every width alone, and of the largest network the least
    sensitive layers at each width; the first of these, as the search's number of evaluations allows."""
    ends = [space.base.largest(), space.base.smallest()]
    found = [space.quantized(end, bits) for end in ends for bits in space.quantization.bits]
    for bits in space.quantization.bits:
        scored = [one for one in known if one.bits == bits]
        order = [one.layer for one in sorted(scored, key=divergence_of)]
        for share in SHARES if order else ():
            chosen = dict.fromkeys(order[: round(share * len(order))], bits)
            found.append(space.quantized(ends[0], chosen))
    return list(dict.fromkeys(found))[: max(1, evaluations // EVALUATIONS_PER_SEED)]


def divergence_of(known: LayerDivergence) -> float:
    """What layers are sorted by, in nats: one that is no number is the worst."""
    return math.inf if known.divergence is None or math.isnan(known.divergence) else known.divergence
