"""Scales: a metric's values as numbers of mean 0 and variance 1 that models learn, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from search.gaussian_process.normal_scale import NormalScale

# A spread below this share of the values' size is rounding.
SMALLEST_SPREAD = 1e-9
# A predicted latency is at least this share of the smallest one measured: none is zero or less.
FLOOR = 0.1


class Scale(ABC):
    """One metric's scale, made from the values of the examples."""

    @abstractmethod
    def __init__(self, values: np.ndarray) -> None: ...

    @abstractmethod
    def to(self, values: np.ndarray) -> np.ndarray:
        """Values as models see them."""

    @abstractmethod
    def back(self, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations in the metric's unit."""


class Plain(Scale):
    """The values as they are: what adds up stays a sum. Values that are all above 0 stay so."""

    def __init__(self, values: np.ndarray) -> None:
        self._centre, self._spread = _moments(values)
        self._least = FLOOR * float(values.min()) if (values > 0).all() else -np.inf

    def to(self, values: np.ndarray) -> np.ndarray:
        return (values - self._centre) / self._spread

    def back(self, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.maximum(self._centre + self._spread * mean, self._least), self._spread * std


class Logarithm(Scale):
    """Logarithms of values above 0: an error of a tenth counts the same for small and large ones."""

    def __init__(self, values: np.ndarray) -> None:
        self._centre, self._spread = _moments(np.log(values))

    def to(self, values: np.ndarray) -> np.ndarray:
        return np.asarray((np.log(values) - self._centre) / self._spread)

    def back(self, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        median = np.exp(self._centre + self._spread * mean)
        return median, median * self._spread * std


class NormalScores(Scale):
    """Normal scores: the value of rank r among n is a quantile of a normal. One network that learned nothing counts
    no more than another bad one."""

    def __init__(self, values: np.ndarray) -> None:
        self._scale = NormalScale(values)
        self._least = SMALLEST_SPREAD * max(float(np.abs(values).max()), 1.0)

    def to(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(self._scale.score(values))

    def back(self, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        width = 0.5 * (self._scale.cost(mean + std) - self._scale.cost(mean - std))
        return self._scale.cost(mean), np.maximum(width, self._least)


def _moments(values: np.ndarray) -> tuple[float, float]:
    centre = float(values.mean())
    return centre, max(float(values.std()), SMALLEST_SPREAD * max(abs(centre), 1.0))


SCALES: dict[str, type[Scale]] = {"plain": Plain, "log": Logarithm, "scores": NormalScores}
