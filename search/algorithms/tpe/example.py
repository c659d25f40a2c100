"""How the contract tries this algorithm in a second."""

from __future__ import annotations

from search.algorithms.tpe.options import TPEOptions

QUICK = TPEOptions(batch=5, startup=50)
