"""What is known of a job before any has ended here: the pace of this machine, and how much the job's files hold.

A product of matrices is timed for a moment on the API's machine, which stands for the worker's. So bounds of a time
that is counted from it (`service.work`) are wide, and the answer says that it was counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from os import walk
from pathlib import Path
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from job.paths import POLICY, PathRefused
from job.spec import JobSpec

# A counted time is a third to three times of what the job takes.
UNSURE = 3.0
# The product that is timed, small enough to end before something else takes the core; and for how long.
SIDE, TIMED_SECONDS = 128, 0.1
# Files that are weighed, which are enough to know how much lies there.
WEIGHED = 20_000


@cache
def pace() -> float:
    """Multiply-accumulates a second of one core in a product of matrices of float32, timed once for each process.

    The best of several counts: what else runs here in that moment says nothing of a job.
    """
    left = np.ones((SIDE, SIDE), np.float32)
    with threadpool_limits(1, "blas"):
        best, until = float("inf"), perf_counter() + TIMED_SECONDS
        while (began := perf_counter()) < until or best == float("inf"):
            np.matmul(left, left)
            best = min(best, perf_counter() - began)
    return float(SIDE**3 / best)


def likely_examples(spec: JobSpec) -> int | None:
    """About how many examples a job trains on, from the size of its files; None: they do not tell."""
    limit = getattr(spec.data, "limit", None)
    named = getattr(spec.data, "path", None)
    with suppress(PathRefused, OSError):
        num_bytes = 0 if named is None else _bytes_below(named)
        found = None if named is not None and num_bytes == 0 else spec.data.likely_examples(num_bytes)
        return found if limit is None or found is None else min(found, limit)
    return None


def _bytes_below(named: str) -> int:
    policy = POLICY.get()
    path = Path(named).expanduser() if policy is None else policy.check(named, "data.path")
    return path.stat().st_size if path.is_file() else sum(islice(_sizes(path), WEIGHED))


def _sizes(folder: Path) -> Iterator[int]:
    for where, _, files in walk(folder):
        yield from (Path(where, name).lstat().st_size for name in files)
