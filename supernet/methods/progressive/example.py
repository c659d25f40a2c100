"""How the contract tries this method."""

from __future__ import annotations

# Steps in which losses must fall: those of the first phase and the beginning of the second.
STEPS = 70
