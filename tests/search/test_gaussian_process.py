"""The Gaussian process over genes: gradients, and what it learns of choices."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from search.gaussian_process.regression import GaussianProcess, kernel_features
from search_space import Choice, SearchSpace
from search_space.encoding import canonical_genes

SPACE = SearchSpace(
    "gp",
    [
        Choice("depth", (1, 2, 3)),
        *(
            Choice(f"width{i}", (8, 16, 32, 64), when=("depth", tuple(range(i, 4))) if i > 1 else None)
            for i in (1, 2, 3)
        ),
        Choice("kind", ("conv", "pool", "skip")),
        Choice("idle", ("a", "b", "c")),
    ],
)


def draw(count, seed):
    rng = np.random.default_rng(seed)
    return canonical_genes(SPACE, rng.integers(0, SPACE.option_counts, size=(count, len(SPACE.choices))))


def metric(genes):
    """Ordinal in the widths, categorical in the kind, blind to `idle`; standardised."""
    values = 0.5 * genes[:, 1:4].sum(axis=1) + np.array([0.0, 2.0, 0.5])[genes[:, 4]] + 0.3 * genes[:, 0]
    return (values - values.mean()) / values.std()


def test_the_gradient_of_the_loss_is_right():
    genes = draw(25, 0)
    features, values = kernel_features(SPACE, genes), metric(genes)
    process = GaussianProcess(features)
    theta = process._centre + 0.3 * np.random.default_rng(0).standard_normal(len(process._centre))
    _, gradient = process._loss(theta, features, values)
    numeric = approx_fprime(theta, lambda t: process._loss(t, features, values)[0], 1e-6)
    assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_few_scores_tell_most_of_a_metric_and_the_spread_is_honest():
    genes = draw(260, 1)
    values = metric(genes)
    seen, new = np.arange(60), np.arange(60, 260)
    process = GaussianProcess(kernel_features(SPACE, genes[seen]))
    process.learn(kernel_features(SPACE, genes[seen]), values[seen])
    mean, std, _ = process.given(kernel_features(SPACE, genes[seen]), values[seen]).predict(
        kernel_features(SPACE, genes[new])
    )
    error = mean - values[new]
    assert 1 - (error**2).mean() / values[new].var() > 0.9
    assert np.mean(np.abs(error) < 3 * np.sqrt(std**2 + process.noise)) > 0.9


def test_dead_genes_do_not_matter():
    genes = np.array([[0, 1, 0, 0, 1, 2], [0, 1, 3, 2, 1, 2]])
    matrix = kernel_features(SPACE, canonical_genes(SPACE, genes)).matrix
    assert (matrix[0] == matrix[1]).all()


def test_at_its_scores_it_is_sure():
    genes = np.unique(draw(40, 2), axis=0)
    features = kernel_features(SPACE, genes)
    process = GaussianProcess(features)
    process.learn(features, metric(genes))
    mean, std, _ = process.given(features, metric(genes)).predict(features)
    assert mean == pytest.approx(metric(genes), abs=0.15)
    assert std.max() < 0.2


def test_leaving_one_out_is_what_fitting_without_it_gives():
    genes = draw(20, 4)
    features, values = kernel_features(SPACE, genes), metric(genes)
    process = GaussianProcess(features, noise=0.05)
    error, std = process.given(features, values).left_out()
    for i in (0, 7, 19):
        rest = np.delete(np.arange(20), i)
        mean, spread, _ = process.given(features.rows(rest), values[rest]).predict(features.rows(np.array([i])))
        assert error[i] == pytest.approx(values[i] - mean[0], rel=1e-4)
        assert std[i] == pytest.approx(np.sqrt(spread[0] ** 2 + process.noise), rel=1e-4)


def test_scores_that_are_far_off_do_not_bend_the_rest():
    genes, new = draw(60, 5), draw(100, 6)
    features, clean = kernel_features(SPACE, genes), metric(genes)
    values = clean.copy()
    values[[3, 30]] += 12
    process = GaussianProcess(features, noise=0.01, noise_spread=2.0)
    process.learn(features, values)
    there = kernel_features(SPACE, new)
    truth = process.given(features, clean).predict(there)[0]
    misled = process.given(features, values).predict(there)[0]
    doubts = process.doubts(features, values)
    assert set(np.flatnonzero(doubts > 2)) == {3, 30}
    robust = process.given(features, values, doubts).predict(there)[0]
    assert np.abs(robust - truth).mean() < 0.5 * np.abs(misled - truth).mean()


def test_columns_that_say_it_all_make_few_scores_enough():
    genes = draw(230, 7)
    values = metric(genes)
    alone = kernel_features(SPACE, genes)
    helped = alone.with_columns(values[:, None] + 0.05 * np.random.default_rng(0).standard_normal((230, 1)), 1.0)
    assert helped.num_relevances == alone.num_relevances + 1
    errors = []
    for features in (alone, helped):
        process = GaussianProcess(features)
        seen, rest = features.rows(np.arange(8)), features.rows(np.arange(30, 230))
        process.learn(seen, values[:8])
        errors.append(np.abs(process.given(seen, values[:8]).predict(rest)[0] - values[30:]).mean())
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.parametrize("layers", [4, 60])
def test_choices_that_are_alike_weigh_as_one_however_many_they_are(layers):
    """Few scores of networks in one policy say something of networks in another."""
    bits = [Choice(f"layer{i}_bits", (8, 32), decides="bits") for i in range(layers)]
    space = SearchSpace("policies", [Choice("width", (8, 16, 32)), Choice("kernel", (3, 5, 7)), *bits])
    networks = [[width, kernel] for width in range(3) for kernel in range(3)]
    genes = np.array([[*network, *[policy] * layers] for policy in (0, 1) for network in networks])
    values = genes[:, 0] + 0.5 * genes[:, 1] - 0.1 * genes[:, 2].astype(float)
    values = (values - values.mean()) / values.std()
    seen = np.array([*range(9), 9])  # every network in few bits, and one in many
    errors = {}
    for together in (False, True):
        features = kernel_features(space, genes, together=together)
        process = GaussianProcess(features)
        process.learn(features.rows(seen), values[seen])
        mean = process.given(features.rows(seen), values[seen]).predict(features)[0]
        errors[together] = np.abs(mean - values)[10:].mean()
    assert errors[True] < 0.15
    if layers > 10:
        assert errors[True] < 0.6 * errors[False]
