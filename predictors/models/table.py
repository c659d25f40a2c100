"""A latency table stretched to measured networks: latency = overhead + factor * price.

A sum of layers measured alone misses what a runtime costs beside them, and counts twice what overlaps; two numbers
from about ten whole networks put most of that right.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from predictors.model import Inputs, Model


class TableModel(Model):
    """Overhead and factor, neither negative, of least relative error."""

    in_units = True

    def fit(self, inputs: Inputs, values: np.ndarray) -> None:
        """Learn from examples; values must be above 0."""
        assert inputs.prices is not None
        design = np.stack([np.ones(len(values)), inputs.prices], axis=1)
        (self.overhead_ms, self.factor), _ = nnls(design / values[:, None], np.ones(len(values)))
        relative = self._price(inputs) / values - 1
        self._relative_std = float(np.sqrt((relative**2).sum() / max(len(values) - 2, 1))) + np.finfo(float).eps

    def predict(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """The stretched price in ms, and a spread proportional to it."""
        mean = self._price(inputs)
        return mean, mean * self._relative_std

    def _price(self, inputs: Inputs) -> np.ndarray:
        assert inputs.prices is not None
        priced: np.ndarray = self.overhead_ms + self.factor * inputs.prices
        return priced


MODEL = TableModel
