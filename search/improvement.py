"""Expected hypervolume improvement, exact for any number of objectives.

The region that no point of a front dominates is cut into disjoint boxes (Lacour, Klamroth and Fonseca 2017,
"A box decomposition algorithm to compute the hypervolume indicator", algorithm 3 and equation 5). A point y adds
`prod_d (u_d - max(l_d, y_d))+` of the box [l, u]; with independent costs the expectation of the product is the
product of expectations, so for each candidate

    EHVI = sum_boxes prod_d (psi_d(u_d) - psi_d(l_d)),    psi_d(a) = E[(a - y_d)+].
"""

from __future__ import annotations

import moocore
import numpy as np
from scipy.special import ndtr

# Stands for "as good as can be": finite, so that differences of bounds stay numbers.
FAR = 1e9


def non_dominated_boxes(front: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint boxes of everything better than the reference that no point dominates; less is better.

    Args:
        front: shape (num_points, num_objectives); points not better than the reference are left out.

    Returns:
        lower and upper corners, each of shape (num_boxes, num_objectives); `-FAR` stands for no lower bound.
    """
    inside = front[(front < reference).all(axis=1)]
    if len(inside):
        inside = inside[moocore.is_nondominated(inside, keep_weakly=False)]
    bounds, _ = _upper_bounds(inside, reference)
    # Seen from the other side, the region is what the points -bounds dominate.
    far = np.full(len(reference), FAR)
    lower, upper = _dominated_boxes(*_upper_bounds(-bounds, far), far)
    return -upper, -lower


def _upper_bounds(points: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local upper bounds of the region that no point dominates, and their defining points.

    Returns:
        bounds, shape (num_bounds, d), and defining points, shape (num_bounds, d, d).
    """
    # The algorithm needs coordinates without ties, so it runs on ranks, where each tie is broken one way; back
    # in values, what came between two tied points is empty.
    n, d = points.shape
    ranks = np.argsort(np.argsort(points, axis=0, kind="stable"), axis=0, kind="stable")
    bounds = np.full((1, d), n)
    defining = np.where(np.eye(d, dtype=bool), n, -1)[None]
    for point in ranks:
        hit = (point < bounds).all(axis=1)
        old, old_defining = bounds[hit], defining[hit]
        grown, grown_defining = [bounds[~hit]], [defining[~hit]]
        for j in range(d):
            others = np.delete(old_defining[:, :, j], j, axis=1)
            kept = point[j] > others.max(axis=1, initial=-1)
            new, new_defining = old[kept].copy(), old_defining[kept].copy()
            new[:, j] = point[j]
            new_defining[:, j] = point
            grown.append(new)
            grown_defining.append(new_defining)
        bounds, defining = np.concatenate(grown), np.concatenate(grown_defining)
    values = np.concatenate([np.sort(points, axis=0), reference[None], np.full((1, d), -FAR)])
    columns = np.arange(d)
    return values[bounds, columns], values[defining, columns]


def _dominated_boxes(bounds: np.ndarray, defining: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equation 5: disjoint boxes of the region between the points and the reference."""
    d = len(reference)
    lower, upper = np.empty_like(bounds), bounds.copy()
    upper[:, 0] = reference[0]
    lower[:, 0] = defining[:, 0, 0]
    for j in range(1, d):
        lower[:, j] = defining[:, :j, j].max(axis=1)
    real = (lower < upper).all(axis=1)
    return lower[real], upper[real]


def normal_gain(levels: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """E[(a - y)+] of normal costs y for every level a, shape (num_candidates, num_levels)."""
    gap = levels - mean[:, None]
    std = np.maximum(std, 1e-12)[:, None]
    z = gap / std
    return np.where(
        levels <= -FAR, 0.0, gap * ndtr(z) + std * np.exp(-0.5 * np.minimum(z * z, 1400)) / np.sqrt(2 * np.pi)
    )


def expected_improvement(lower: np.ndarray, upper: np.ndarray, gains: list) -> np.ndarray:
    """EHVI of every candidate; `gains[d]` maps levels to E[(a - y_d)+], shape (num_candidates, num_levels)."""
    total = None
    for d, gain in enumerate(gains):
        levels, where = np.unique(np.concatenate([lower[:, d], upper[:, d]]), return_inverse=True)
        values = gain(levels)
        side = values[:, where[len(lower) :]] - values[:, where[: len(lower)]]
        total = side if total is None else total * side
    return total.sum(axis=1)
