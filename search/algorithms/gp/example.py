"""How the contract tries this algorithm in a second."""

from __future__ import annotations

from search.algorithms.gp.options import GPOptions

# Each ask of optuna's sampler takes a second or more; tests/search/test_algorithms.py has a few real ones.
QUICK = GPOptions(batch=10, startup=200)
# With the defaults: the first are random, and one proposal from so many scores takes seconds.
DEFAULT_EVALUATIONS = 12
