"""A Gaussian process over genes and columns: best or equal from 10 examples on, and it knows what it does not know."""

from __future__ import annotations

import numpy as np

from predictors.model import Inputs, Model
from search.gaussian_process.regression import FIT_ROWS, Features, GaussianProcess, Posterior

# Measured latencies of NAS-Bench-201's devices have noise of 1 to 20 % of their variance, so expect more than the
# noise of a search's scores: with 0.01 instead of 0.001 tau rose by 0.01 at 20 and 50 examples, and a little more here.
# Measurements of a quiet device have a hundredth of that, hence the spread.
NOISE, NOISE_SPREAD = 0.05, 2.0
# Examples that are conditioned on; the time grows with their cube.
MOST_ROWS = 1000


# Once the others doubt an example this much, it is left out when relevances are learned anew; but no more than this
# share of the examples, since more would be a part of the space and not accidents.
GROSS, MOST_GROSS = 4.0, 0.2


class GaussianProcessModel(Model):
    """Relevances by marginal likelihood; examples that the others find strange are doubted."""

    def fit(self, inputs: Inputs, values: np.ndarray) -> None:
        """Learn from at most 300 examples how much features matter, and condition on at most 1,000."""
        features, values = _spread_out(inputs.kernel, values, MOST_ROWS)
        process = self._learn(features, values)
        doubts = process.doubts(features, self._standard(values))
        clear = doubts < GROSS
        if not clear.all() and clear.mean() >= 1 - MOST_GROSS:
            process = self._learn(features.rows(clear), values[clear])
            doubts = process.doubts(features, self._standard(values))
        self._posterior: Posterior = process.given(features, self._standard(values), doubts)

    def predict(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean, and standard deviation with noise."""
        mean, std, _ = self._posterior.predict(inputs.kernel)
        std = np.sqrt(std**2 + self._posterior.process.noise)
        return self._centre + self._spread * mean, self._spread * std

    def _learn(self, features: Features, values: np.ndarray) -> GaussianProcess:
        self._centre = float(values.mean())
        self._spread = max(float(values.std()), np.finfo(float).eps)
        process = GaussianProcess(features, NOISE, NOISE_SPREAD)
        some, of_them = _spread_out(features, values, FIT_ROWS)
        process.learn(some, self._standard(of_them))
        return process

    def _standard(self, values: np.ndarray) -> np.ndarray:
        standard: np.ndarray = (values - self._centre) / self._spread
        return standard


def _spread_out(features: Features, values: np.ndarray, most: int) -> tuple[Features, np.ndarray]:
    """At most so many examples, evenly over the ranks of their values."""
    if len(values) <= most:
        return features, values
    order = np.argsort(values, kind="stable")
    chosen = np.sort(order[np.linspace(0, len(order) - 1, most).round().astype(int)])
    return features.rows(chosen), values[chosen]


MODEL = GaussianProcessModel
