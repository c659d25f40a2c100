"""A Gaussian process over genes and columns: best or equal from 10 examples on, and it knows what it does not know."""

from __future__ import annotations

import numpy as np

from predictors.model import Inputs, Model
from regression.gaussian_process import FIT_ROWS, Features, GaussianProcess, Posterior

# Measured latencies of NAS-Bench-201's devices have noise of 1 to 20 % of their variance, so expect more than the
# noise of a search's scores: with 0.01 instead of 0.001 tau rose by 0.01 at 20 and 50 examples.
NOISE = 0.01
# Examples that are conditioned on; the time grows with their cube.
MOST_ROWS = 1000


class GaussianProcessModel(Model):
    """Relevances by marginal likelihood; examples that the others find strange are doubted."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._posterior: Posterior | None = None

    def fit(self, inputs: Inputs, values: np.ndarray) -> None:
        """Learn from at most 300 examples how much features matter, and condition on at most 1,000."""
        process = GaussianProcess(inputs.kernel, NOISE)
        process.learn(*_spread_out(inputs.kernel, values, FIT_ROWS))
        self._posterior = process.given_with_outliers(*_spread_out(inputs.kernel, values, MOST_ROWS))

    def predict(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean, and standard deviation with noise."""
        assert self._posterior is not None
        mean, std, _ = self._posterior.predict(inputs.kernel)
        return mean, np.sqrt(std**2 + self._posterior.process.noise)


def _spread_out(features: Features, values: np.ndarray, most: int) -> tuple[Features, np.ndarray]:
    """At most so many examples, evenly over the ranks of their values."""
    if len(values) <= most:
        return features, values
    order = np.argsort(values, kind="stable")
    chosen = np.sort(order[np.linspace(0, len(order) - 1, most).round().astype(int)])
    return features.rows(chosen), values[chosen]


MODEL = GaussianProcessModel
