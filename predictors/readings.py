"""What a measurement leaves behind: typed rows that are stored as JSON and shown. Standard library only."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class MeasurementError(RuntimeError):
    """There is no number: the runtime refused the network, was killed, or took too long. The message says which.

    `operator` is the operator that the runtime lacks, if that is the reason.
    """

    def __init__(self, message: str, operator: str | None = None) -> None:
        super().__init__(message)
        self.operator = operator


class Spread(TypedDict):
    """The numbers of a series of runs: milliseconds, runs, and how calm the machine was."""

    median_ms: float
    median_of_all_ms: float
    interval_ms: list[float]
    p95_ms: float
    mad_ms: float
    runs: int
    blocks: int
    processes: int
    preempted_share: float


class Machine(TypedDict):
    """The device, in words and numbers, that stand beside every latency."""

    device: str
    cores: int | None
    machine: str
    os: str


class Clocks(TypedDict, total=False):
    """Clock, governor and temperature at one moment, as far as a machine lets them be read."""

    governor: str
    clock_mhz: float
    temperature_celsius: float
    load_average: float


class GpuFacts(TypedDict, total=False):
    """A GPU's name, driver and clock, as NVML gives them."""

    gpu: str
    driver: str
    gpu_clock_mhz: int


class RuntimeFacts(GpuFacts):
    """What a runtime says of a network that it has loaded, and of the GPU that it uses."""

    dtype: str
    input_shape: list[int]
    versions: dict[str, str | None]
    gpu_memory_bytes: NotRequired[int]


class Reading(Spread, Machine, RuntimeFacts):
    """What is stored of one network under one setting in one phase: the number, and everything that it depends on.

    Attributes:
        target: what it was measured on; `runtime` beside it where that is a registered machine.
        phase: `forward`, or of a language model `prefill` or `decode`.
        energy_mj: energy of a run, on a GPU with a counter.
    """

    metric: str
    target: str
    runtime: NotRequired[str]
    phase: str
    warm_up_runs: int
    seconds: float
    memory_bytes: int
    threads: int
    batch: int
    energy_mj: NotRequired[float]
    sequence_length: NotRequired[int]
    tokens_per_second: NotRequired[float]
    time_to_first_token_ms: NotRequired[float]
    isolated: bool
    affinity: list[int]
    clocks_before: Clocks
    clocks_after: Clocks


# Of one network: one for every setting and phase.
Results = list[Reading]
