"""Accuracy predictors, learned from evaluations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from predictors.columns import known_columns
from predictors.learned import Candidate, LearnedPredictor
from search_space.architecture import Architecture
from search_space.space import SearchSpace

# Normal scores first: a few networks that learned nothing would set the scale otherwise. On NAS-Bench-201 tau at 100
# examples is 0.62 with them and 0.54 without; ridge on one-hot encodings has 0.40 (docs/predictors.md).
CANDIDATES = (
    Candidate("gaussian_process", "scores"),
    Candidate("gaussian_process", "plain"),
    Candidate("ridge", "scores"),
    Candidate("support_vectors", "scores"),
    Candidate("boosting", "scores"),
)


def accuracy_predictor(
    space: SearchSpace,
    *,
    known: Mapping[str, Callable[[Architecture], float]] | None = None,
    candidates: Sequence[Candidate] | None = None,
    seed: int = 0,
) -> LearnedPredictor:
    """A predictor of accuracy, perplexity or another score, in its unit.

    Costs are no columns of it: they made it worse from 50 examples on (docs/log.md).

    Args:
        known: numbers that are known of any architecture, by name, such as its accuracy after little training or its
            Label-Gradient Alignment.
        candidates: models to choose from; None: `CANDIDATES`.
    """
    given = [known_columns(known)] if known else []
    return LearnedPredictor(space, CANDIDATES if candidates is None else candidates, given=given, seed=seed)
