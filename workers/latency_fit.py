"""Fitting: from measured networks and a table to a predictor with an honest report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predictors.cost import costs
from predictors.tables import LatencyTable
from search_space.architecture import Architecture
from search_space.space import SearchSpace

FOLDS = 5


@dataclass(frozen=True)
class Fitted:
    """A predictor that is ready.

    Attributes:
        value: an architecture's predicted number.
        margin: relative error that it rarely exceeds on networks that it has not seen.
        report: how good it is, for rows and pages.
    """

    value: Callable[[Architecture], float]
    margin: float
    report: Mapping[str, Any]


def fit_predictor(
    space: SearchSpace,
    table: LatencyTable | None,
    architectures: Sequence[Architecture],
    values: Sequence[float],
    quantile: float,
) -> Fitted:
    """A predictor of one metric, and its errors on networks that were held out.

    Args:
        table: latencies of the space's layers, if they were measured.
        values: measured, one for each architecture.
        quantile: of the relative errors, that becomes the margin.
    """
    inputs = np.array([_features(space, table, one) for one in architectures])
    truth = np.array(values)
    guesses = np.empty(len(truth))
    for fold in range(FOLDS):
        held = np.arange(len(truth)) % FOLDS == fold
        guesses[held] = inputs[held] @ _solve(inputs[~held], truth[~held])
    weights = _solve(inputs, truth)
    errors = np.abs(guesses - truth) / truth

    def value(one: Architecture) -> float:
        return float(np.array(_features(space, table, one)) @ weights)

    report = {
        "kind": "table and fitted overhead" if table is not None else "costs",
        "samples": len(truth),
        "rmspe": float(100 * np.sqrt(np.mean(errors**2))),
        "within_5_percent": float(np.mean(errors <= 0.05)),
        "within_10_percent": float(np.mean(errors <= 0.10)),
        "points": [
            {"architecture_id": one.id, "measured": float(t), "predicted": float(g)}
            for one, t, g in zip(architectures, truth, guesses, strict=True)
        ],
    }
    return Fitted(value, float(np.quantile(errors, quantile)), report)


def _features(space: SearchSpace, table: LatencyTable | None, one: Architecture) -> list[float]:
    layers = space.layers(one)
    if table is not None:
        return [1.0, table.price(layers), float(len(layers))]
    known = costs(space, one)
    return [1.0, known["macs"], known["params"], known["peak_activation_bytes"], float(len(layers))]


def _solve(inputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Least squares of relative errors."""
    weights: np.ndarray = np.linalg.lstsq(inputs / truth[:, None], np.ones(len(truth)), rcond=None)[0]
    return weights
