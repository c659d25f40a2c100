"""Quality of a predictor, on architectures that it did not see."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from predictors.predictor import Predictor
from search_space.architecture import Architecture

FOLDS = 5
# Shares of the true value within which predictions are counted.
WITHIN_PERCENT = (5, 10, 15)
# Below this a report says nothing.
MIN_HELD_OUT = 4
NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Report:
    """How well held-out architectures were predicted.

    Attributes:
        num_examples: architectures that were held out; a predictor fitted without it predicted each.
        num_fitted: examples that each such predictor saw, the smallest number of them.
        method: `5 folds` or `hold-out`.
        rmse: root of the mean squared error, in the metric's unit.
        rmspe_percent: 100 sqrt(mean(((y - p) / y)^2)), as nn-Meter defines it; None where a value is 0 or less.
        within_percent: for 5, 10 and 15 %, the share of predictions that near their true values; None as above.
        kendall_tau, spearman: rank correlations of predicted and true; 0 where either is constant.
        inside_95: share of true values within 1.96 standard deviations of their predictions; 0.95 would be honest.
        true, predicted, std: numbers of each held-out architecture, for a plot of residuals.
    """

    num_examples: int
    num_fitted: int
    method: str
    rmse: float
    rmspe_percent: float | None
    within_percent: dict[int, float] | None
    kendall_tau: float
    spearman: float
    inside_95: float
    true: tuple[float, ...]
    predicted: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, true: np.ndarray, predicted: np.ndarray, std: np.ndarray, num_fitted: int, method: str) -> Report:
        """The report of predictions and what turned out.

        Raises:
            ValueError: fewer than 4 of them, shapes that differ, or a number that is not finite.
        """
        if not true.shape == predicted.shape == std.shape or true.ndim != 1:
            raise ValueError(f"Got shapes {true.shape}, {predicted.shape} and {std.shape}; they must be one.")
        if len(true) < MIN_HELD_OUT:
            raise ValueError(f"Got {len(true)} held-out architectures; a report needs at least {MIN_HELD_OUT}.")
        if not np.isfinite([true, predicted, std]).all():
            raise ValueError("True values, predictions and spreads must be finite.")
        # Imported here because it takes a second, and most processes that know of reports make none.
        from scipy.stats import kendalltau, spearmanr

        error = true - predicted
        relative = np.abs(error) / true if (true > 0).all() else None
        constant = np.ptp(true) == 0 or np.ptp(predicted) == 0
        return cls(
            num_examples=len(true),
            num_fitted=num_fitted,
            method=method,
            rmse=float(np.sqrt(np.mean(error**2))),
            rmspe_percent=None if relative is None else 100 * float(np.sqrt(np.mean(relative**2))),
            within_percent=None
            if relative is None
            else {k: float(np.mean(relative <= k / 100)) for k in WITHIN_PERCENT},
            kendall_tau=0.0 if constant else float(kendalltau(true, predicted).statistic),
            spearman=0.0 if constant else float(spearmanr(true, predicted).statistic),
            inside_95=float(np.mean(np.abs(error) <= NORMAL_95 * std)),
            true=tuple(map(float, true)),
            predicted=tuple(map(float, predicted)),
            std=tuple(map(float, std)),
        )

    def margin(self, confidence: float = 0.9) -> float:
        """Share by which a true value may exceed its prediction, with this confidence; 0 or more.

        A limit L is kept with that confidence by architectures predicted at most L / (1 + margin). It is the quantile
        of the held-out (y - p) / p with rank ceil((n + 1) confidence), so it holds for a new architecture drawn as
        the examples were (split conformal prediction). Where n is too small for that rank it is the largest one.

        Raises:
            ValueError: a confidence outside (0, 1), or predictions that are not all above 0.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"Got a confidence of {confidence}; it must be between 0 and 1.")
        predicted = np.array(self.predicted)
        if not (predicted > 0).all():
            raise ValueError("A margin in proportion needs predictions above 0; use `margin_in_units`.")
        return max(0.0, self._upper((np.array(self.true) - predicted) / predicted, confidence))

    def margin_in_units(self, confidence: float = 0.9) -> float:
        """`margin` as a difference in the metric's unit."""
        if not 0 < confidence < 1:
            raise ValueError(f"Got a confidence of {confidence}; it must be between 0 and 1.")
        return max(0.0, self._upper(np.array(self.true) - np.array(self.predicted), confidence))

    def _upper(self, residuals: np.ndarray, confidence: float) -> float:
        rank = min(math.ceil((len(residuals) + 1) * confidence), len(residuals))
        return float(np.sort(residuals)[rank - 1])

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON takes it; `from_json` gives it back."""
        written = asdict(self)
        if self.within_percent is not None:
            written["within_percent"] = {str(k): share for k, share in self.within_percent.items()}
        return written

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> Report:
        """The report that `to_json` wrote."""
        within = written["within_percent"]
        lists = {name: tuple(written[name]) for name in ("true", "predicted", "std")}
        shares = None if within is None else {int(k): share for k, share in within.items()}
        return cls(**{**written, **lists, "within_percent": shares})

    def __str__(self) -> str:
        parts = [f"tau {self.kendall_tau:.3f}", f"Spearman {self.spearman:.3f}"]
        if self.rmspe_percent is not None and self.within_percent is not None:
            shares = ", ".join(f"{100 * share:.0f} % within {k} %" for k, share in self.within_percent.items())
            parts = [f"RMSPE {self.rmspe_percent:.1f} %", shares, *parts]
        else:
            parts = [f"RMSE {self.rmse:.3g}", *parts]
        return f"{'; '.join(parts)} ({self.num_examples} held out, {self.method})"


def cross_validated(
    make: Callable[[], Predictor],
    architectures: Sequence[Architecture],
    values: Sequence[float] | np.ndarray,
    folds: int = FOLDS,
    seed: int = 0,
    progress: Callable[[float], object] = lambda done: None,
) -> Report:
    """The report of K-fold validation: every example gets its prediction from a predictor that did not see it.

    Repeated architectures stay in one fold. A predictor that chooses among models chooses anew within each fold, so
    what chose did not judge.

    Args:
        make: a new predictor each time.
        progress: hears the share of the folds that is done; may raise to stop.

    Raises:
        ValueError: fewer than 4 examples of different architectures.
    """
    numbers = np.asarray(values, dtype=float)
    networks = {a.id: i for i, a in enumerate(dict.fromkeys(architectures))}
    if len(networks) < MIN_HELD_OUT:
        raise ValueError(f"Got {len(networks)} different architectures; a report needs at least {MIN_HELD_OUT}.")
    folds = min(folds, len(networks))
    fold_of_network = np.random.default_rng(seed).permutation(len(networks)) % folds
    fold_of = fold_of_network[[networks[a.id] for a in architectures]]
    mean, std = np.zeros(len(numbers)), np.zeros(len(numbers))
    for fold in range(folds):
        held, rest = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        predictor = make()
        predictor.fit([architectures[i] for i in rest.tolist()], numbers[rest])
        mean[held], std[held] = predictor.predict([architectures[i] for i in held.tolist()])
        progress((fold + 1) / folds)
    smallest = len(numbers) - int(np.bincount(fold_of).max())
    return Report.of(numbers, mean, std, smallest, f"{folds} folds")


def held_out(
    predictor: Predictor, architectures: Sequence[Architecture], values: Sequence[float] | np.ndarray
) -> Report:
    """The report of a fitted predictor on architectures that it did not see, as the caller knows."""
    mean, std = predictor.predict(architectures)
    return Report.of(np.asarray(values, dtype=float), mean, std, predictor.num_examples, "hold-out")
