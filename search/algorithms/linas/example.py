"""How the contract tries this algorithm in a second."""

from __future__ import annotations

from search.algorithms.linas.options import LINASOptions

# Fewer predictions than a job may ask for.
QUICK = LINASOptions.model_construct(population=40, inner_evaluations=200)
