"""Sampling that sees small and large networks alike: uniform over bins of a cost.

Uniform genes give networks of middling size nearly always: in a space of many choices their costs add up
to a narrow bell. AttentiveNAS (2011.09011) and Whittle bin the cost for that reason; here a bin is hit by
tilting the genes instead of by rejection, which for the outer bins would never end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from search_space.layers import LayerSpec

if TYPE_CHECKING:
    from search_space.architecture import Architecture
    from search_space.space import SearchSpace

COSTS: dict[str, Callable[[LayerSpec], int]] = {"params": LayerSpec.params, "macs": LayerSpec.macs}
NUM_BINS = 20
# Beyond this tilt every gene is its first or last option: exp(-60) is below a double's resolution of 1.
MAX_TILT = 60.0
TRIES, HALVINGS = 4, 24


class BinnedSampler:
    """Draws architectures whose cost is uniform over equal bins between smallest and largest.

    Genes are drawn with probability proportional to exp(tilt * position of the option), each from a random
    number of its own by inverting the cumulative distribution. For given random numbers every gene rises
    with the tilt, so bisection finds a tilt that puts the cost into the drawn bin. Where the cost does not
    rise with the genes, or jumps over the bin, the nearest network found is returned.

    Args:
        cost: a key of `COSTS`.
    """

    def __init__(self, space: SearchSpace, cost: str) -> None:
        self._space, self._cost = space, COSTS[cost]
        counts = space.option_counts
        steps = np.arange(counts.max())
        self._position = steps / np.maximum(counts - 1, 1)[:, None]
        self._absent = steps >= counts[:, None]
        self._least, self._most = self.cost(space.smallest()), self.cost(space.largest())

    def cost(self, architecture: Architecture) -> int:
        """The binned cost of an architecture."""
        return sum(map(self._cost, self._space.layers(architecture).values()))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """An architecture of a random bin."""
        width = (self._most - self._least) / NUM_BINS
        low = self._least + width * int(rng.integers(NUM_BINS))
        nearest: tuple[float, Architecture] | None = None
        for _ in range(TRIES):
            numbers = rng.random((len(self._position), 1))
            lower, upper = -MAX_TILT, MAX_TILT
            for _halving in range(HALVINGS):
                tilt = (lower + upper) / 2
                architecture = self._space.from_genes(self._genes(numbers, tilt))
                cost = self.cost(architecture)
                miss = max(low - cost, cost - (low + width), 0.0)
                if nearest is None or miss < nearest[0]:
                    nearest = miss, architecture
                if miss == 0.0:
                    return architecture
                lower, upper = (tilt, upper) if cost < low else (lower, tilt)
        assert nearest is not None
        return nearest[1]

    def _genes(self, numbers: np.ndarray, tilt: float) -> np.ndarray:
        logits = np.where(self._absent, -np.inf, tilt * self._position)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        edges = np.cumsum(weights, axis=1)
        genes: np.ndarray = (numbers * edges[:, -1:] >= edges).sum(axis=1)
        return genes
