"""How much a candidate of uncertain cost lies below levels, on the scale of the costs themselves."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr


def normal_gain(levels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """E[(level - y)+] of normal costs y, shape (num_candidates, num_levels)."""
    gap = levels - mean[:, None]
    width = np.maximum(std, 1e-12)[:, None]
    z = np.clip(gap / width, -1e3, 1e3)
    gained: np.ndarray = np.maximum(gap * ndtr(z) + width * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi), 0.0)
    return gained


def exact_gain(levels: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """(level - cost)+ of costs that are known, shape (num_candidates, num_levels)."""
    gained: np.ndarray = np.maximum(levels - cost[:, None], 0.0)
    return gained
