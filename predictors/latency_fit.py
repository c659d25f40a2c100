"""Fitting: from measured networks and a table to a predictor that the search may ask, with its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predictors import make_predictor
from predictors.predictor import Predictor
from predictors.report import Report, cross_validated
from predictors.tables import LatencyTable
from search.metrics import Goal
from search_space.architecture import Architecture
from search_space.space import SearchSpace


@dataclass(frozen=True)
class Fitted:
    """A predictor that is ready.

    Attributes:
        value: an architecture's predicted number.
        margin: relative error that it rarely exceeds, on the side that breaks a limit.
        report: how good it is on networks that it did not see, for rows and pages.
        spreads: standard deviations of what is believed of architectures, as shares of their predicted numbers; such
            that the held-out networks were off by one of theirs in the root of the mean square.
    """

    value: Callable[[Architecture], float]
    margin: float
    report: Mapping[str, Any]
    spreads: Callable[[Sequence[Architecture]], list[float]] = lambda architectures: [0.0] * len(architectures)

    @property
    def within_10_percent(self) -> float:
        """Share of held-out networks that it predicts within 10 %."""
        return float((self.report["within_percent"] or {}).get("10", 0.0))


def fit_predictor(
    space: SearchSpace,
    table: LatencyTable | None,
    architectures: Sequence[Architecture],
    values: Sequence[float],
    quantile: float,
    goal: Goal,
    seed: int,
    progress: Callable[[float], object] = lambda done: None,
) -> Fitted:
    """A predictor of one metric, and its errors on networks that were held out.

    Args:
        table: latencies of the space's layers, if they were measured.
        values: measured, one for each architecture.
        quantile: quantile of the relative errors, that becomes the margin.
        progress: hears the share of the judging that is done; may raise to stop.

    Raises:
        ValueError: too few different architectures to judge it.
    """

    def make() -> Predictor:
        return make_predictor("latency", space, table=table, seed=seed)

    is_rate = goal == "maximize"
    # Times add up over layers and rates do not, so a rate is learned as the time that it takes.
    times = [1 / value for value in values] if is_rate else list(values)
    report = cross_validated(make, architectures, times, seed=seed, progress=progress)
    predictor = make()
    predictor.fit(architectures, times)
    shown = _of_rates(report) if is_rate else report
    facts = {
        **shown.to_json(),
        "architecture_ids": [architecture.id for architecture in architectures],
        "model": str(getattr(predictor, "chosen", None) or type(predictor).__name__),
        "layers_in_table": 0 if table is None else len(table.rows),
    }
    # A time that is longer by a margin is a rate that is lower by the same margin.
    cost = PredictedCost(predictor, is_rate)
    honest = _too_small_by(report)
    return Fitted(cost, report.margin(quantile), facts, lambda ones: [honest * each for each in cost.spreads(ones)])


def _too_small_by(report: Report) -> float:
    """What a predictor's standard deviations are to be multiplied by.

    The root of the mean of ((true - predicted) / std)^2 over held-out networks (Levi et al. 2022, Sensors 22: 5540).
    """
    true, predicted, std = (np.array(numbers) for numbers in (report.true, report.predicted, report.std))
    return float(np.sqrt(np.mean(((true - predicted) / np.maximum(std, 1e-12)) ** 2)))


def _of_rates(report: Report) -> Report:
    """The report of times as one of rates."""
    true, predicted, std = (np.array(numbers) for numbers in (report.true, report.predicted, report.std))
    return Report.of(1 / true, 1 / predicted, std / predicted**2, report.num_fitted, report.method)


class PredictedCost:
    """A predictor's mean as a cost that a search may ask for; what was asked once is remembered.

    Args:
        is_rate: the predictor knows the time of one, and what is asked for is how many in a unit of time.
    """

    def __init__(self, predictor: Predictor, is_rate: bool = False) -> None:
        self._predictor, self._is_rate = predictor, is_rate
        self._known: dict[str, float] = {}
        self._spreads: dict[str, float] = {}

    def __call__(self, architecture: Architecture) -> float:
        """Prediction of one architecture."""
        return self.many([architecture])[0]

    def many(self, architectures: Sequence[Architecture]) -> list[float]:
        """Predictions of several in one go: 20 times as fast as one by one."""
        new = {one.id: one for one in architectures if one.id not in self._known}
        if new:
            means, deviations = self._predictor.predict(list(new.values()))
            self._spreads.update(zip(new, map(float, deviations / means), strict=True))
            means = 1 / means if self._is_rate else means
            self._known.update(zip(new, map(float, means), strict=True))
        return [self._known[one.id] for one in architectures]

    def spreads(self, architectures: Sequence[Architecture]) -> list[float]:
        """The predictor's standard deviations as shares of its means, which are those of rates too."""
        self.many(architectures)
        return [self._spreads[one.id] for one in architectures]
