"""Random generators derived from a job's seed, a purpose and a position.

Because no generator lives longer than one step, a checkpoint needs no generator state: whoever resumes
at step 812 derives the same generator for step 812.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derived_rng(seed: int, purpose: str, position: int) -> np.random.Generator:
    """A generator that depends on all three arguments and on nothing else."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{position}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
