"""Who climbs where networks heal a little: those that the Gaussian processes believe in."""

from __future__ import annotations

from collections.abc import Callable

from search.fidelities.known import Fidelities
from search_space.architecture import Architecture


class ByBelief:
    """Networks climb by what is believed of them on the highest rung, and by what is there already.

    The first wave climbs when half of the networks are known; what it shows decides what is proposed and who climbs
    after it (see `Chooser`).

    Args:
        climbers: level and number to networks.
    """

    waves: tuple[float, ...] = (0.5, 0.75, 1.0)
    name = "Gaussian process"

    def __init__(self, climbers: Callable[[int, int], list[Architecture]]) -> None:
        self._climbers = climbers

    def choose(self, _known: Fidelities, level: int, count: int) -> list[Architecture]:
        """See `Chooser`."""
        return self._climbers(level, count)
