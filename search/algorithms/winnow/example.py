"""How the contract tries this algorithm in a second."""

from __future__ import annotations

from search.algorithms.winnow.options import WinnowOptions

QUICK = WinnowOptions(batch=20)
