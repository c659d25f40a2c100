"""Model: one way to learn a number from what is known of architectures; a file of `predictors/models` each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from predictors.columns import Columns, Source
from search.gaussian_process.regression import Features, kernel_features
from search_space.architecture import Architecture
from search_space.encoding import gene_matrix, one_hot
from search_space.space import SearchSpace

# Expected relevance of a column in a Gaussian process's kernel. With 20 columns of costs 0.1 to 1 differ by less than
# their spread over seeds (docs/log.md).
COLUMN_RELEVANCE = 0.3
# A few columns that somebody chose to give say more each.
GIVEN_RELEVANCE = 1.0


@dataclass(frozen=True, slots=True)
class Inputs:
    """What models see of some architectures.

    Attributes:
        one_hot: masked one-hot encoding, shape (num_architectures, num_options).
        columns: standardised columns, shape (num_architectures, num_columns).
        kernel: both as a Gaussian process compares them.
        prices: by the latency table in ms, shape (num_architectures,); None without a table.
    """

    one_hot: np.ndarray
    columns: np.ndarray
    kernel: Features
    prices: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.one_hot)

    @property
    def matrix(self) -> np.ndarray:
        """Encoding and columns side by side."""
        return np.concatenate([self.one_hot, self.columns], axis=1)

    def rows(self, chosen: np.ndarray) -> Inputs:
        """Some of the architectures."""
        prices = None if self.prices is None else self.prices[chosen]
        return Inputs(self.one_hot[chosen], self.columns[chosen], self.kernel.rows(chosen), prices)


class View:
    """Turns architectures into inputs, the same way each time.

    Args:
        costs: sources of many columns, of which each says little.
        given: sources of few columns, of which each may say much.
        price: gives the column `price` in ms, for the model that stretches a table.
        architectures: the examples that columns are standardised by.
    """

    def __init__(
        self,
        space: SearchSpace,
        costs: Sequence[Source],
        given: Sequence[Source],
        price: Source | None,
        architectures: Sequence[Architecture],
    ) -> None:
        self._space, self._price = space, price
        self._costs = Columns(costs, architectures)
        self._given = Columns([*given, *([price] if price else [])], architectures)

    def of(self, architectures: Sequence[Architecture]) -> Inputs:
        """Inputs of architectures, in order."""
        genes = gene_matrix(self._space, architectures)
        costs, given = self._costs.of(architectures), self._given.of(architectures)
        kernel = kernel_features(self._space, genes)
        kernel = kernel.with_columns(costs, COLUMN_RELEVANCE).with_columns(given, GIVEN_RELEVANCE)
        prices = None if self._price is None else np.array([row["price"] for row in self._price(architectures)])
        return Inputs(one_hot(self._space, genes), np.concatenate([costs, given], axis=1), kernel, prices)


class Model(ABC):
    """Learns numbers of mean 0 and variance 1, or, where `in_units`, numbers as they are.

    `fit` forgets what came before and depends on its arguments and the seed alone. `predict` gives finite means and,
    after `learn_spread`, standard deviations above 0, the noise of one more measurement included.
    """

    # Fewer examples than this it does not take.
    needs: ClassVar[int] = 2
    # Whether it must see the metric in its own unit: a price is in ms.
    in_units: ClassVar[bool] = False

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @abstractmethod
    def fit(self, inputs: Inputs, values: np.ndarray) -> None:
        """Learn from examples."""

    def learn_spread(self, inputs: Inputs, values: np.ndarray) -> None:  # noqa: B027 - most models have nothing to do
        """Learn how wrong predictions are, from what `fit` saw and after it; only for models whose `fit` does not.

        It may cost more than `fit`, so it is called for the model that is kept.
        """

    @abstractmethod
    def predict(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, both of shape (num_architectures,)."""
