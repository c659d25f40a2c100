"""The contract of `predictors/models`, for every file that is there, on a space with layers and one without."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from plugins import kinds
from predictors import make_predictor
from predictors.latency import TABLE
from predictors.learned import Candidate, LearnedPredictor, only
from predictors.model import Model
from predictors.report import held_out
from predictors.tables import LatencyTable, Row, key_of
from search_space import Choice, SearchSpace
from search_space.architecture import Architecture
from search_space.plugins import load_family
from tests.tiers import mostly_thorough

MODELS = kinds.MODELS.names()
# `table` learns from a table, which needs layers.
WITHOUT_LAYERS = [name for name in MODELS if name != TABLE.model]


@lru_cache
def space(kind: str) -> SearchSpace:
    if kind == "layers":
        return load_family("mobilenet", preset="digits")
    choices = [
        Choice("depth", (1, 2, 3)),
        *(Choice(f"op{i}", ("zero", "skip", "conv", "pool")) for i in range(4)),
        Choice("bits", (4, 8), when=("depth", (2, 3))),
    ]
    return SearchSpace("tabular", choices)


def true_latency(architecture: Architecture) -> float:
    """Additive, with a product, so that no model finds it trivial."""
    genes = np.array(architecture.genes, dtype=float)
    weights = 1 + np.arange(len(genes)) % 3
    return float(2 + genes @ weights + 0.3 * genes[0] * genes[-1])


@lru_cache
def examples(kind: str, count: int = 140) -> tuple[list[Architecture], np.ndarray]:
    rng = np.random.default_rng(3)
    found = list({a.id: a for a in (space(kind).sample(rng) for _ in range(6 * count))}.values())[:count]
    return found, np.array([true_latency(a) for a in found])


@lru_cache
def table() -> LatencyTable:
    """A table whose sums are the MACs: good enough to stretch."""
    layers = [space("layers").layers(a) for a in examples("layers")[0]]
    return LatencyTable("toy", {key_of(s): Row(1e-4 + 1e-6 * s.macs()) for net in layers for s in net.values()})


def predictor(model: str, kind: str, seed: int = 0) -> LearnedPredictor:
    made = make_predictor("latency", space(kind), model=model, table=table() if kind == "layers" else None, seed=seed)
    assert isinstance(made, LearnedPredictor)
    return made


# The space without layers asks nothing else of a model.
EVERY_RUN = [*((name, "layers") for name in MODELS), ("ridge", "tabular")]
CASES = [*((name, "layers") for name in MODELS), *((name, "tabular") for name in WITHOUT_LAYERS)]


def test_every_file_names_a_model_and_is_offered() -> None:
    assert {"gaussian_process", "ridge", "support_vectors", "boosting", "table"} <= set(MODELS)
    for name in MODELS:
        assert issubclass(kinds.MODELS.load(name).MODEL, Model)
        candidates = list(predictor(name, "layers").candidates)
        assert {candidate.model for candidate in candidates} == {name}
    assert only("ridge", [Candidate("ridge", "log")])


@pytest.mark.parametrize(("model", "kind"), mostly_thorough(CASES, *EVERY_RUN))
class TestModel:
    def test_answers_are_finite_positive_and_of_one_shape(self, model: str, kind: str) -> None:
        made, (architectures, values) = predictor(model, kind), examples(kind)
        made.fit(architectures[:60], values[:60])
        mean, std = made.predict(architectures[60:])
        assert mean.shape == std.shape == (len(architectures) - 60,)
        assert np.isfinite(mean).all()
        assert np.isfinite(std).all()
        assert (mean > 0).all()
        assert (std > 0).all()
        assert made.predict([])[0].shape == (0,)

    def test_the_same_examples_and_seed_give_the_same(self, model: str, kind: str) -> None:
        architectures, values = examples(kind)
        made, again = predictor(model, kind, seed=7), predictor(model, kind, seed=7)
        made.fit(architectures[:60], values[:60])
        # What was learned before is forgotten.
        again.fit(architectures[60:120], values[60:120] ** 2)
        again.fit(architectures[:60], values[:60])
        for one, other in zip(made.predict(architectures), again.predict(architectures), strict=True):
            assert (one == other).all()

    def test_it_knows_more_than_the_mean(self, model: str, kind: str) -> None:
        made, (architectures, values) = predictor(model, kind), examples(kind)
        made.fit(architectures[:80], values[:80])
        report = held_out(made, architectures[80:], values[80:])
        # A sum of MACs cannot say much about a latency that was made up from genes.
        least = 0.1 if model == TABLE.model else 0.6
        assert report.spearman > least
        assert report.inside_95 > 0.7

    def test_values_that_are_all_equal(self, model: str, kind: str) -> None:
        made, (architectures, _) = predictor(model, kind), examples(kind)
        made.fit(architectures[:60], np.full(60, 3.0))
        mean, std = made.predict(architectures[60:])
        assert np.isfinite(mean).all()
        assert (std > 0).all()
        if model != TABLE.model:
            assert mean == pytest.approx(3.0, rel=1e-3)
