"""Predictor: guesses one metric of architectures and says how far to trust the guess."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from search_space.architecture import Architecture
from search_space.space import SearchSpace

# Below this nothing can be told from chance.
MIN_EXAMPLES = 2


class NotFittedError(RuntimeError):
    """A predictor was asked before it was fitted: a mistake of the caller."""


class Predictor(ABC):
    """Learns one metric of one space from examples.

    What a subclass promises:

    - `_fit` forgets what was fitted before and depends on the examples and the seed alone, in any order of calls;
    - `_predict` gives, for every architecture of the space, a finite mean in the metric's unit and a standard
      deviation above 0 that holds the noise of one more measurement too;
    - equal architectures get equal predictions.

    A fitted predictor is not stored: its examples are, in rows, and fitting again gives the same.

    Args:
        space: whose architectures it predicts.
        seed: seed of everything random about it.
    """

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        self.space, self.seed = space, seed
        self.num_examples = 0

    def fit(self, architectures: Sequence[Architecture], values: Sequence[float] | np.ndarray) -> None:
        """Learn from measured examples, forgetting earlier ones.

        Args:
            architectures: may repeat, where one was measured more than once.
            values: values of the metric, one for each architecture.

        Raises:
            ValueError: fewer than 2 examples, lengths that differ, a value that is not finite, or an architecture of
                another space.
        """
        numbers = np.asarray(values, dtype=float)
        if numbers.shape != (len(architectures),):
            raise ValueError(f"Got {len(architectures)} architectures and values of shape {numbers.shape}.")
        if len(numbers) < MIN_EXAMPLES:
            raise ValueError(f"Got {len(numbers)} examples; a predictor needs at least {MIN_EXAMPLES}, better 20.")
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad):
            at = int(bad[0])
            raise ValueError(f"Example {at} ({architectures[at]!r}) has the value {numbers[at]}; leave it out.")
        self._check(architectures)
        self._fit(architectures, numbers)
        self.num_examples = len(numbers)

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation for each architecture, both of shape (num_architectures,).

        Raises:
            NotFittedError: `fit` comes first.
            ValueError: an architecture of another space.
        """
        if not self.num_examples:
            raise NotFittedError(f"{type(self).__name__} was asked before it was fitted.")
        self._check(architectures)
        if not len(architectures):
            return np.zeros(0), np.zeros(0)
        return self._predict(architectures)

    def _check(self, architectures: Sequence[Architecture]) -> None:
        for architecture in architectures:
            if architecture not in self.space:
                raise ValueError(f"{architecture!r} is not of space {self.space.name!r}, which this predictor is for.")

    @abstractmethod
    def _fit(self, architectures: Sequence[Architecture], values: np.ndarray) -> None:
        """Learn; the input has been checked."""

    @abstractmethod
    def _predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """Predict at least one architecture; the input has been checked."""
