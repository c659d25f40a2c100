"""How long stages of a job take where no earlier job of this installation tells: counted work and this machine's pace.

The multiply-accumulates of a stage are counted, and a product of matrices is timed for a moment on the API's machine.
What layers reach of that pace, and what an operator, an export and an evaluation cost beside it, are constants that
were fitted to jobs of `examples/`. So bounds are wide, and the answer says that the time was counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from math import ceil
from os import walk
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from job.paths import POLICY, PathRefused
from job.spec import JobSpec
from predictors.cost import macs
from search.metrics import ON_TARGET
from service.store.models import Stage

if TYPE_CHECKING:
    from job.healing_spec import HealingSpec
    from search_space.space import SearchSpace

# A counted time is a third to three times of what the job takes.
UNSURE = 3.0
# Of a timed product of matrices, what layers reach.
REACHED = 0.25
# A backward pass costs twice its forward pass.
TRAINED = 3.0
# Seconds beside the arithmetic: of a layer's forward pass, of an evaluation (the search's own thinking and
# bookkeeping), of an export that is loaded and compared, and of starting a stage.
OPERATOR, EVALUATION, EXPORT, START = 2e-4, 0.05, 2.0, 2.0
# Networks that are measured at the end, until the front is stable.
FINALISTS = 16
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


@dataclass(frozen=True)
class Counted:
    """Seconds of a job's stages.

    Args:
        macs_per_second: what a core of the machine does in a product of matrices.
        examples: for training; None: nobody knows.
    """

    spec: JobSpec
    space: SearchSpace
    examples: int | None
    macs_per_second: float

    def seconds(self, stage: str) -> float | None:
        """How long a stage of this job takes; None: nobody can count it."""
        match stage:
            case Stage.TRAIN_SUPERNET:
                return self._training()
            case Stage.SEARCH:
                return START + self.spec.search.evaluations * self._evaluation()
            case Stage.MEASURE_HARDWARE:
                return self._measured(self.spec.hardware.networks) if self._is_predicted else 0.0
            case Stage.MEASURE_FINALISTS:
                return self._measured(FINALISTS)
            case Stage.MEASURE_BASELINES if self.spec.quantization is not None:
                return self._measured(3) + self.spec.quantization.baseline_evaluations * self._evaluation()
            case Stage.HEAL if self.spec.healing is not None:
                return self._healing(self.spec.healing)
            case _:
                return START

    def _training(self) -> float | None:
        part = self.spec.training
        if part.epochs == 0 or self.spec.supernet.reuse is not None:
            return 0.0
        if self.examples is None or self.spec.gradient is not None:
            return None
        steps = part.epochs * ceil(self.examples / part.batch_size)
        return steps * part.method_options.networks_of_a_step * TRAINED * self._forward(part.batch_size)

    def _healing(self, part: HealingSpec) -> float:
        """Each step has the network's own passes, and one of its parent."""
        batch, length = part.batch_size or self.spec.training.batch_size, getattr(self.spec.data, "length", None)
        many = {"knee": 1, "front": part.most}
        count = many[part.networks] if isinstance(part.networks, str) else len(part.networks)
        steps = part.num_steps(batch, length)
        if steps is None:
            assert part.minutes is not None
            return count * 60 * part.minutes
        return START + count * steps * (TRAINED + 1) * self._forward(batch)

    def _evaluation(self) -> float:
        """Calibration and scoring, each on as many examples as are read for calibration."""
        return EVALUATION + 2 * self._forward(self.spec.search.calibration_images)

    def _measured(self, networks: int) -> float:
        """Networks that are exported, compared and timed."""
        return networks * (EXPORT + self.spec.hardware.seconds + self._evaluation())

    def _forward(self, batch: int) -> float:
        """A forward pass of a batch through a network of the middle of the space."""
        return self._layers * OPERATOR + batch * self._macs / (REACHED * self.macs_per_second)

    @cached_property
    def _layers(self) -> int:
        return len(self.space.layers(self.space.largest()))

    @cached_property
    def _macs(self) -> float:
        return (macs(self.space, self.space.largest()) + macs(self.space, self.space.smallest())) / 2

    @property
    def _is_predicted(self) -> bool:
        goals = [*self.spec.objectives, *self.spec.constraints]
        return self.spec.hardware.predict != "never" and any(one.metric in ON_TARGET for one in goals)
