"""Reports against numbers worked out by hand, and validation that does not see what it judges."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from predictors.predictor import Predictor
from predictors.report import Report, cross_validated, held_out
from search_space import Choice, SearchSpace
from search_space.architecture import Architecture

SPACE = SearchSpace("squares", [Choice(name, tuple(range(8))) for name in "ab"])
EVERY = list(SPACE.every())


class Memory(Predictor):
    """Knows what it saw, and says so of nothing else."""

    def _fit(self, architectures: Sequence[Architecture], values: np.ndarray) -> None:
        self._seen = dict(zip([a.id for a in architectures], values, strict=True))

    def _predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        mean = np.array([self._seen.get(a.id, -1.0) for a in architectures])
        return mean, np.ones(len(architectures))


def report(true: list[float], predicted: list[float], std: float = 1.0) -> Report:
    return Report.of(np.array(true), np.array(predicted), np.full(len(true), std), 10, "hold-out")


def test_definitions() -> None:
    made = report([1.0, 2.0, 4.0, 10.0], [1.04, 2.0, 4.5, 8.8], std=0.3)
    assert made.rmspe_percent == pytest.approx(100 * np.sqrt((0.04**2 + 0.125**2 + 0.12**2) / 4))
    assert made.within_percent == {5: 0.5, 10: 0.5, 15: 1.0}
    assert made.rmse == pytest.approx(np.sqrt((0.04**2 + 0.5**2 + 1.2**2) / 4))
    assert (made.kendall_tau, made.spearman) == (pytest.approx(1.0), pytest.approx(1.0))
    # 1.96 * 0.3 = 0.588
    assert made.inside_95 == 0.75


def test_shares_are_of_true_values_above_zero_only() -> None:
    made = report([0.0, 1.0, 2.0, 3.0], [0.1, 1.0, 2.0, 3.0])
    assert made.rmspe_percent is None
    assert made.within_percent is None
    assert "RMSE" in str(made)


def test_constant_predictions_have_no_rank() -> None:
    made = report([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0])
    assert (made.kendall_tau, made.spearman) == (0.0, 0.0)


class TestMargin:
    def test_is_the_conformal_quantile(self) -> None:
        predicted = [1.0] * 19
        made = report([1 + i / 100 for i in range(19)], predicted)
        # rank ceil(20 * 0.9) = 18 of residuals 0, 0.01, ..., 0.18
        assert made.margin(0.9) == pytest.approx(0.17)
        assert made.margin_in_units(0.5) == pytest.approx(0.09)
        assert made.margin(0.999) == pytest.approx(0.18)

    def test_is_never_a_licence_to_overshoot(self) -> None:
        assert report([1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0]).margin() == 0.0

    def test_keeps_its_promise_on_new_draws(self) -> None:
        rng = np.random.default_rng(0)
        over = []
        for _ in range(300):
            factor = rng.lognormal(sigma=0.1, size=41)
            made = report(list(factor[:40]), [1.0] * 40)
            over.append(factor[40] > 1 + made.margin(0.9))
        assert 0.05 < np.mean(over) < 0.15

    @pytest.mark.parametrize("confidence", [0.0, 1.0, 90.0])
    def test_impossible_confidence(self, confidence: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            report([1.0] * 4, [1.0] * 4).margin(confidence)

    def test_in_proportion_to_nothing(self) -> None:
        with pytest.raises(ValueError, match="margin_in_units"):
            report([1.0] * 4, [0.0] * 4).margin()


@pytest.mark.parametrize("made", [report([1.0, 2, 3, 4], [1.0, 2, 3, 5]), report([0.0, 2, 3, 4], [1.0, 2, 3, 5])])
def test_written_as_json_and_read_it_is_the_same(made: Report) -> None:
    assert Report.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_what_is_no_report() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        report([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        report([1.0, 2.0, 3.0, float("nan")], [1.0] * 4)
    with pytest.raises(ValueError, match="must be one"):
        Report.of(np.ones(4), np.ones(5), np.ones(4), 10, "hold-out")


class TestValidation:
    def test_no_example_is_predicted_by_who_saw_it(self) -> None:
        networks = EVERY[:20]
        # Each is there twice: a fold that held only one of the two would know the other.
        made = cross_validated(lambda: Memory(SPACE), networks * 2, np.arange(1.0, 41))
        assert set(made.predicted) == {-1.0}
        assert (made.num_examples, made.num_fitted, made.method) == (40, 32, "5 folds")

    def test_few_examples_have_fewer_folds(self) -> None:
        made = cross_validated(lambda: Memory(SPACE), EVERY[:4], [1.0, 2.0, 3.0, 4.0])
        assert made.method == "4 folds"
        with pytest.raises(ValueError, match="3 different"):
            cross_validated(lambda: Memory(SPACE), EVERY[:3], [1.0, 2.0, 3.0])

    def test_hold_out(self) -> None:
        memory = Memory(SPACE)
        memory.fit(EVERY[:10], np.arange(10.0))
        made = held_out(memory, EVERY[:5], np.arange(5.0))
        assert (made.rmse, made.num_fitted, made.num_examples) == (0.0, 10, 5)
