"""Which networks to measure: those that together tell most about all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from predictors.devices import Device
from predictors.latency import known_device_columns, known_sources
from predictors.model import View
from predictors.models.gaussian_process import NOISE
from search.gaussian_process.regression import GaussianProcess
from search_space.architecture import Architecture
from search_space.space import SearchSpace

# Random networks among which to choose, and by which to judge; the time grows with its square.
POOL = 1000


def telling_networks(
    space: SearchSpace,
    count: int,
    *,
    devices: Sequence[Device] = (),
    known: Mapping[str, Callable[[Architecture], float]] | None = None,
    seed: int = 0,
) -> list[Architecture]:
    """Networks to measure, most telling first, so that any first part of them is a choice too.

    Greedily, each next network is the one whose measurement would take most of the variance that a Gaussian process
    still has over the whole pool (Cohn 1996, "Neural network exploration using optimal experiment design"); no
    measurement is needed to know that. Networks of unlike encodings and costs come first, and no outliers.

    Args:
        devices: known devices; networks that differ on those are then told apart too.
        known: numbers that are known of any architecture, as `make_predictor` takes them.

    Raises:
        ValueError: fewer than one network is asked for, or more than the space has.
    """
    if not 1 <= count <= space.size():
        raise ValueError(f"Got a count of {count}; space {space.name!r} has {space.size()} networks to choose from.")
    pool = _pool(space, max(POOL, 4 * count), np.random.default_rng(seed))
    covariance = _covariance(space, pool, devices, known, seed)
    return [pool[i] for i in most_telling(covariance, min(count, len(pool)), NOISE)]


def most_telling(covariance: np.ndarray, count: int, noise: float) -> list[int]:
    """Rows of a prior covariance that, measured with this noise, take most of its trace away; greedy, in order.

    Args:
        covariance: shape (num_networks, num_networks).
    """
    left = covariance.copy()
    free = np.ones(len(left), dtype=bool)
    chosen: list[int] = []
    for _ in range(count):
        taken = (left * left).sum(axis=0) / (np.maximum(np.diag(left), 0) + noise)
        best = int(np.argmax(np.where(free, taken, -np.inf)))
        free[best] = False
        chosen.append(best)
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + noise)
    return chosen


def _pool(space: SearchSpace, size: int, rng: np.random.Generator) -> list[Architecture]:
    """Different random networks, or all of a small space."""
    if space.size() <= size:
        return list(space.every())
    found: dict[str, Architecture] = {}
    while len(found) < size:
        drawn = space.sample(rng)
        found.setdefault(drawn.id, drawn)
    return list(found.values())


def _covariance(
    space: SearchSpace,
    pool: Sequence[Architecture],
    devices: Sequence[Device],
    known: Mapping[str, Callable[[Architecture], float]] | None,
    seed: int,
) -> np.ndarray:
    """What latencies are expected to share before anything is measured; variance 1 on average."""
    costs, given = known_sources(space, known)
    if devices:
        given += known_device_columns(space, devices, known, seed).values()
    features = View(space, costs, given, None, pool).of(pool).kernel
    covariance = GaussianProcess(features).covariance(features, features)
    covariance = covariance - covariance.mean(axis=0) - covariance.mean(axis=1)[:, None] + covariance.mean()
    scaled: np.ndarray = covariance / np.diag(covariance).mean()
    return scaled
