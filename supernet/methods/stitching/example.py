"""How the contract tries this method."""

from __future__ import annotations

# Steps in which losses must fall: one of these trains one random network.
STEPS = 100
