"""Gradient-boosted trees on encoding and columns: for metrics with jumps, and examples by the hundred."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from predictors.model import Inputs, Model

FOLDS = 5
TREES, DEPTH, RATE, SHARE = 120, 3, 0.1, 0.7


class BoostingModel(Model):
    """Each tree sees a share of the examples; the error in 5-fold validation is its spread.

    Out-of-bag errors would not do: what one tree did not see, the trees before it did.
    """

    needs = 40

    def fit(self, inputs: Inputs, values: np.ndarray) -> None:
        """Learn from examples."""
        self._std = 0.0
        self._trees = self._new().fit(inputs.matrix, values)

    def learn_spread(self, inputs: Inputs, values: np.ndarray) -> None:
        """Five more fits."""
        folds = KFold(FOLDS, shuffle=True, random_state=self.seed)
        errors = cross_val_predict(self._new(), inputs.matrix, values, cv=folds) - values
        self._std = float(np.sqrt(np.mean(errors**2))) + np.finfo(float).eps

    def _new(self) -> GradientBoostingRegressor:
        return GradientBoostingRegressor(
            n_estimators=TREES, max_depth=DEPTH, learning_rate=RATE, subsample=SHARE, random_state=self.seed
        )

    def predict(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """The sum of trees, and the error in validation."""
        return self._trees.predict(inputs.matrix), np.full(len(inputs), self._std)


MODEL = BoostingModel
