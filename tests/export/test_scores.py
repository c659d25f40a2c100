"""What a file scores, with its interval, and whether that is what the front says."""

import math

import numpy as np
import pytest
import torch

from export.scores import Promise, Score, against
from supernet.data import Split
from supernet.evaluate import perplexity

RNG = np.random.default_rng(0)


def classified(right: int, of: int) -> Score:
    score = Score(language=False)
    logits = np.zeros((of, 3))
    logits[:, 1] = 1.0
    score.add(logits, np.array([1] * right + [0] * (of - right)))
    return score


def spoken(texts: int, spread: float = 1.0) -> Score:
    score = Score(language=True)
    score.add(RNG.normal(0, spread, (texts, 12, 7)), RNG.integers(0, 7, (texts, 12)))
    return score


def test_perplexity_is_that_of_the_evaluation():
    ids = torch.randint(0, 7, (9, 12), generator=torch.Generator().manual_seed(0))
    table = torch.nn.Embedding(7, 7)
    score = Score(language=True)
    with torch.no_grad():
        score.add(table(ids).numpy(), ids.numpy())
    assert score.value == pytest.approx(perplexity(table, Split(ids, ids)), rel=1e-6)


def test_positions_that_do_not_count_are_left_out():
    logits = RNG.normal(0, 1, (4, 6, 5))
    targets = RNG.integers(0, 5, (4, 6))
    whole, cut = Score(language=True), Score(language=True)
    whole.add(logits[:, :3], targets[:, :3])
    cut.add(logits, np.where(np.arange(6) < 3, targets, -100))
    assert cut.value == pytest.approx(whole.value)
    assert (cut.accuracy, cut.answers) == (whole.accuracy, 12)


def test_answers_that_are_no_numbers_are_wrong():
    score = Score(language=False)
    score.add(np.full((4, 3), np.nan), np.zeros(4, dtype=np.int64))
    assert score.accuracy == 0


@pytest.mark.parametrize("language", [False, True])
def test_intervals_hold_the_true_value_about_as_often_as_they_say(language):
    held = 0
    for _ in range(300):
        if language:
            score = Score(language=True)
            score.add(np.zeros((40, 5, 4)), np.zeros((40, 5), dtype=np.int64))
            losses = RNG.normal(1.0, 0.3, 40)
            score.lost, score.tokens = list(5 * losses), [5] * 40
            truth = math.exp(1.0)
        else:
            score, truth = classified(int(RNG.binomial(200, 0.9)), 200), 0.9
        held += score.interval[0] <= truth <= score.interval[1]
    assert 0.90 <= held / 300 <= 0.99


@pytest.mark.parametrize(
    ("right", "of", "promised", "whole", "kept"),
    [
        (900, 1000, 0.9, 1000, True),
        (905, 1000, 0.9, 1000, True),
        (906, 1000, 0.9, 1000, False),
        (55, 56, 1.0, 56, True),  # one answer of few
        (54, 56, 1.0, 56, False),
        (880, 1000, 0.9, 10_000, True),  # a sample of the data
        (800, 1000, 0.9, 10_000, False),
        (0, 1000, 1.0, 10_000, False),
        (900, 1000, math.nan, 1000, False),
    ],
)
def test_an_accuracy_far_from_the_fronts_is_not_kept(right, of, promised, whole, kept):
    assert against(Promise("test_accuracy", promised, whole), classified(right, of))["kept"] is kept


def test_a_perplexity_far_from_the_fronts_is_not_kept():
    score = spoken(50)
    for factor, of, kept in ((1.009, 50, True), (1.02, 50, False), (1.02, 5000, True), (3.0, 5000, False)):
        found = against(Promise("test_perplexity", score.value * factor, of), score)
        assert found["kept"] is kept, (factor, of, found)
