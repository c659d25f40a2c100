"""Gradient-boosted trees on encoding and columns: for metrics with jumps, and examples by the hundred."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from predictors.model import Inputs, Model

TREES, DEPTH, RATE, SHARE = 200, 3, 0.08, 0.7


class BoostingModel(Model):
    """Each tree sees a share of the examples; how wrong the first trees are on the rest gives the spread."""

    needs = 40

    def fit(self, inputs: Inputs, values: np.ndarray) -> None:
        """Learn from examples."""
        self._trees = GradientBoostingRegressor(
            n_estimators=TREES, max_depth=DEPTH, learning_rate=RATE, subsample=SHARE, random_state=self.seed
        ).fit(inputs.matrix, values)
        # Out of bag: the error of each tree's left-out examples, at the end of boosting.
        self._std = float(np.sqrt(np.mean(self._trees.oob_scores_[-20:]))) + np.finfo(float).eps

    def predict(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """The sum of trees, and the out-of-bag error."""
        return self._trees.predict(inputs.matrix), np.full(len(inputs), self._std)


MODEL = BoostingModel
