"""A scale on which a metric's scores are normal: the one that models learn on."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

# How far the scale goes on beyond the scores, in standard deviations.
BEYOND = 6.0
# Points between the scores' bounds at which an expectation is integrated.
GRID = 25


class NormalScale:
    """Costs to normal scores: the value of rank r among n maps to the quantile (r + 1/2) / n of a normal.

    Between two scores the map is linear, and beyond the best and the worst it goes on with the slope of the eighth of
    the scores nearest to them. It makes one network of 90 % error count no more than another bad one, and as a search
    finds more good ones it spreads them: where the scores are dense, the model looks closely.

    Args:
        costs: at least one, finite.
    """

    def __init__(self, costs: np.ndarray) -> None:
        x, times = np.unique(costs, return_counts=True)
        z = ndtri((np.cumsum(times) - 0.5 * times) / len(costs))
        if len(x) == 1:
            unit = max(abs(x[0]), 1.0) * 1e-6
            x, z = x[0] + unit * np.array([-1.0, 0.0, 1.0]), np.array([-1.0, 0.0, 1.0])
        k = max(1, len(x) // 8)
        low = (x[k] - x[0]) / (z[k] - z[0])
        high = (x[-1] - x[-1 - k]) / (z[-1] - z[-1 - k])
        self._x = np.concatenate([[x[0] - BEYOND * low], x, [x[-1] + BEYOND * high]])
        self._z = np.concatenate([[z[0] - BEYOND], z, [z[-1] + BEYOND]])

    def score(self, costs: np.ndarray) -> np.ndarray:
        """Normal scores of costs."""
        return np.asarray(np.interp(costs, self._x, self._z))

    def cost(self, scores: np.ndarray) -> np.ndarray:
        """Costs of normal scores."""
        return np.asarray(np.interp(scores, self._z, self._x))

    def gain(self, levels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """E[(level - cost)+] for costs whose scores are normal, shape (num_candidates, num_levels).

        It is the integral of P(cost < t) up to the level, here by trapezoids.

        Args:
            levels: costs, shape (num_levels,); those below the scale gain nothing.
            mean, std: mean and std of the scores, shape (num_candidates,).
        """
        inside = levels[levels > self._x[0]]
        grid = np.unique(np.concatenate([inside, self.cost(np.linspace(self._z[0], self._z[-1], GRID))]))
        below = ndtr((self.score(grid) - mean[:, None]) / np.maximum(std, 1e-9)[:, None])
        areas = np.cumsum(0.5 * (below[:, 1:] + below[:, :-1]) * np.diff(grid), axis=1)
        areas = np.concatenate([np.zeros((len(mean), 1)), areas], axis=1)
        gained: np.ndarray = areas[:, np.clip(np.searchsorted(grid, levels), 0, len(grid) - 1)]
        return gained
