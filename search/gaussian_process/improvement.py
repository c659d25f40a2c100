"""Expected hypervolume improvement, exact for any number of objectives.

The region that no point of a front dominates is cut into disjoint boxes (Lacour, Klamroth and Fonseca 2017,
"A box decomposition algorithm to compute the hypervolume indicator", algorithm 3 and equation 5). A point y adds
`prod_d (u_d - max(l_d, y_d))+` of the box [l, u]; with independent costs the expectation of the product is the
product of expectations, so for each candidate

    EHVI = sum_boxes prod_d (psi_d(u_d) - psi_d(l_d)),    psi_d(a) = E[(a - y_d)+].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import moocore
import numpy as np

# Stands for "as good as can be": finite, so that differences of bounds stay numbers.
FAR = 1e300

# Levels (num_levels,) to E[(level - cost)+], shape (num_candidates, num_levels).
Gain = Callable[[np.ndarray], np.ndarray]


def non_dominated_boxes(front: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint boxes of everything better than the reference that no point dominates; less is better.

    Args:
        front: shape (num_points, num_objectives); points not better than the reference are left out.
        reference: shape (num_objectives,).

    Returns:
        lower and upper corners, each of shape (num_boxes, num_objectives); `-FAR` stands for no lower bound.
    """
    inside = front[(front < reference).all(axis=1)]
    if len(inside) == 0:
        return np.full((1, len(reference)), -FAR), reference[None].astype(float)
    inside = inside[moocore.is_nondominated(inside, keep_weakly=False)]
    if len(reference) == 1:
        return np.array([[-FAR]]), inside
    if len(reference) == 2:
        return _stairs(inside, reference)
    bounds, _ = _upper_bounds(inside, reference)
    # Seen from the other side, the region is what the points -bounds dominate.
    far = np.full(len(reference), FAR)
    lower, upper = _dominated_boxes(*_upper_bounds(-bounds, far), far)
    return -upper, -lower


def _stairs(points: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two objectives: one box under each step."""
    points = points[np.argsort(points[:, 0])]
    left = np.concatenate([[-FAR], points[:, 0]])
    right = np.concatenate([points[:, 0], reference[:1]])
    top = np.concatenate([reference[1:], points[:, 1]])
    return np.stack([left, np.full(len(left), -FAR)], axis=1), np.stack([right, top], axis=1)


def _upper_bounds(points: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local upper bounds of the region that no point dominates, and their defining points.

    The algorithm needs coordinates without ties, so it runs on ranks, where each tie is broken one way; back in
    values, what came between two tied points is empty.

    Returns:
        bounds, shape (num_bounds, d), and defining points, shape (num_bounds, d, d).
    """
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
    lower, upper = np.empty_like(bounds), bounds.copy()
    lower[:, 0], upper[:, 0] = defining[:, 0, 0], reference[0]
    for j in range(1, bounds.shape[1]):
        lower[:, j] = defining[:, :j, j].max(axis=1)
    real = (lower < upper).all(axis=1)
    return lower[real], upper[real]


def expected_improvement(lower: np.ndarray, upper: np.ndarray, gains: Sequence[Gain]) -> np.ndarray:
    """Expected hypervolume that each candidate adds, shape (num_candidates,).

    Args:
        lower, upper: corners of boxes, from `non_dominated_boxes`.
        gains: one for each objective.
    """
    product: np.ndarray | float = 1.0
    for d, gain in enumerate(gains):
        levels, where = np.unique(np.concatenate([lower[:, d], upper[:, d]]), return_inverse=True)
        real = levels > -FAR
        psi = gain(levels[real])
        psi = np.concatenate([np.zeros((len(psi), int((~real).sum()))), psi], axis=1)
        product = product * (psi[:, where[len(lower) :]] - psi[:, where[: len(lower)]])
    assert isinstance(product, np.ndarray)
    total: np.ndarray = product.sum(axis=1)
    return total


def spread_out(front: np.ndarray, count: int) -> np.ndarray:
    """Positions of points that cover a front: the best in each objective, then always the farthest from those."""
    span = np.ptp(front, axis=0)
    scaled = (front - front.min(axis=0)) / np.where(span > 0, span, 1.0)
    chosen = list(dict.fromkeys(scaled.argmin(axis=0).tolist()))
    distance = np.min([((scaled - scaled[i]) ** 2).sum(axis=1) for i in chosen], axis=0)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((scaled - scaled[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen)
