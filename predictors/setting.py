"""Setting: under which conditions a file is measured, and how much time that may take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NotRequired, Protocol, TypedDict

from predictors.runtime import Runtime
from predictors.targets import DEFAULT_TARGET, RUNTIMES


class SettingRow(TypedDict):
    """A setting as JSON."""

    runtime: str
    threads: int
    batch: int
    dtype: NotRequired[str]


@dataclass(frozen=True, slots=True)
class Setting:
    """The conditions of a measurement. Two numbers are comparable where these are equal.

    Attributes:
        runtime: one of `predictors.targets.RUNTIMES`.
        threads: threads of the runtime, inside an operator.
        batch: samples in one run.
        dtype: dtype of the numbers, where the engine is torch; ONNX Runtime computes in float32.
    """

    runtime: str = DEFAULT_TARGET
    threads: int = 1
    batch: int = 1
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise ValueError(f"Got runtime {self.runtime!r}. Known: {', '.join(RUNTIMES)}.")
        if self.threads < 1 or self.batch < 1:
            raise ValueError(f"Got {self.threads} threads and batch {self.batch}; both must be at least 1.")

    @property
    def how(self) -> Runtime:
        """Engine and device."""
        return RUNTIMES[self.runtime]

    def as_dict(self) -> SettingRow:
        """For rows and the measuring process; float32 is not said, as it was before there was anything else."""
        facts: SettingRow = {"runtime": self.runtime, "threads": self.threads, "batch": self.batch}
        if self.dtype != "float32":
            facts["dtype"] = self.dtype
        return facts

    def with_threads(self, threads: int) -> Setting:
        """The same with another number of threads."""
        return replace(self, threads=threads)


class Tick(Protocol):
    """Hears, again and again, that a measurement goes on."""

    def __call__(self, done: float | None = None) -> None:
        """May raise to stop.

        Args:
            done: share that is measured; None: it is not known.
        """


def unheard(done: float | None = None) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done for one number.

    Attributes:
        processes: fresh processes that each load the network; what differs between them (where memory lies, which
            core) is part of the spread.
        blocks: least number of blocks of runs, over all processes.
        block_seconds: length of a block; at least `min_runs` runs.
        width: blocks are added until the interval's half is within this share of the median.
        max_seconds: no block begins after so much measuring of one network.
        energy: whether a GPU's energy is measured too, for which half a second of runs must be waited for.
    """

    processes: int = 2
    blocks: int = 40
    block_seconds: float = 0.01
    min_runs: int = 3
    width: float = 0.02
    max_seconds: float = 2.0
    energy: bool = True

    @classmethod
    def quick(cls) -> Effort:
        """For the many layers of a table, whose errors even out in a sum: short blocks, far apart in time."""
        return cls(processes=1, blocks=12, block_seconds=0.002, width=0.05, max_seconds=0.25, energy=False)

    def limited(self, seconds: float) -> Effort:
        """The same with another most time."""
        return replace(self, max_seconds=seconds)
