"""How alike two sequences rank the same things; None where one of them has no order, because all are ties."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def kendall_tau(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float | None:
    """Kendall's tau-b."""
    first, second = (np.sign(np.subtract.outer(values, values)) for values in (one, other))
    size = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return float((first * second).sum()) / size if size else None


def spearman_rho(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float | None:
    """Spearman's rho."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    from scipy.stats import spearmanr  # half a second of imports

    return float(spearmanr(one, other).statistic)
