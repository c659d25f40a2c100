"""A scale on which few costs are standardised: as they are, or as logarithms where all of them are positive."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from search.gaussian_process.gain import normal_gain

# Least spread of costs, as a share of their size.
LEAST = 1e-6
# Logarithms beyond which a cost is as good as infinite.
MOST = 700.0


class LinearScale:
    """Costs to standardised values.

    Ranks, as `NormalScale` takes them, say nothing of where a few chosen networks lie among all others; how far they
    are apart does. Positive costs, such as perplexities, are compared by their ratios.

    Args:
        costs: at least one, finite.
    """

    def __init__(self, costs: np.ndarray) -> None:
        self._logarithms = bool((costs > 0).all())
        values = np.log(costs) if self._logarithms else costs
        self._centre = float(values.mean())
        self._spread = max(float(values.std()), LEAST * max(1.0, abs(self._centre)))

    def score(self, costs: np.ndarray) -> np.ndarray:
        """Standardised values of costs; of those that no network can have, -inf."""
        if not self._logarithms:
            return np.asarray((costs - self._centre) / self._spread)
        with np.errstate(divide="ignore"):
            return np.asarray((np.log(np.maximum(costs, 0.0)) - self._centre) / self._spread)

    def cost(self, scores: np.ndarray) -> np.ndarray:
        """Costs of standardised values."""
        values = self._centre + self._spread * scores
        return np.asarray(np.exp(np.minimum(values, MOST)) if self._logarithms else values)

    def gain(self, levels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """E[(level - cost)+] for costs whose values are normal, shape (num_candidates, num_levels).

        Log-normal costs with parameters m and s have, with z = (log L - m) / s, the gain of Black and Scholes' put
        without interest: L N(z) - exp(m + s^2 / 2) N(z - s).
        """
        if not self._logarithms:
            return self._spread * normal_gain((levels - self._centre) / self._spread, mean, std)
        positive = np.maximum(levels, 0.0)
        centre = (self._centre + self._spread * mean)[:, None]
        width = np.maximum(self._spread * std, 1e-12)[:, None]
        with np.errstate(divide="ignore"):
            z = np.clip((np.log(positive) - centre) / width, -1e3, 1e3)
        expected = np.exp(np.minimum(centre + 0.5 * width**2, MOST))
        gained: np.ndarray = np.maximum(positive * ndtr(z) - expected * ndtr(z - width), 0.0)
        return np.where(positive > 0, gained, 0.0)
