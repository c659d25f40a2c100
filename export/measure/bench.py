"""The parent of measuring processes: loads networks into them, lets them run in turns, and sums up.

Every series (a network under a setting, and of a language model a phase) is measured in short blocks, and blocks
of all series and all processes take turns. So a minute in which the machine was busy falls on all of them, not on
one, and the blocks of one series are far enough apart to show how the machine drifts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import cast

import numpy as np

from export.measure.answers import Energy, LoadedNetwork, Timed, Warm
from export.measure.machine import affinity, available_memory_bytes, clocks, describe_machine
from export.measure.spread import Block, half_width, summary
from predictors.readings import Clocks, MeasurementError, Reading, Results, RuntimeFacts
from predictors.setting import Effort, Setting, Tick, unheard

MAX_WARM_UP_SECONDS = 2.0
# A runtime holds the file, its own copy of the weights, and activations.
MEMORY_PER_WEIGHT_BYTE = 2.5
TIMEOUT_SECONDS = 300.0
# How often it is looked whether somebody else still measures.
LOCK_SECONDS = 0.1
ENERGY_SECONDS = 0.5
# Share of a measurement in which networks are loaded and warmed up. The least blocks are half of a series that is not
# done: on a quiet machine they are all of it, and on a busy one it goes on until its time is over.
LOADED, LEAST_BLOCKS = 0.2, 0.5
# Whether a series is done is asked again when it has so many times the blocks.
JUDGED_AGAIN = 1.2


def measure(
    model: Path,
    threads: Sequence[int] = (1,),
    batch: int = 1,
    timeout_seconds: float = TIMEOUT_SECONDS,
    *,
    runtime: str = "cpu-onnxruntime",
    effort: Effort | None = None,
) -> Results:
    """Latency of an exported network, one result per number of threads (and phase of a language model).

    Args:
        model: an ONNX file, or for torch the folder of a bundle.
        runtime: one of `predictors.targets.RUNTIMES`.

    Raises:
        MeasurementError: there is no number, with the reason.
    """
    settings = [Setting(runtime, n, batch) for n in threads]
    (results,) = measure_many([model], settings, effort or Effort(), timeout_seconds=timeout_seconds)
    if isinstance(results, MeasurementError):
        raise results
    return results


def measure_many(
    models: Sequence[Path],
    settings: Sequence[Setting],
    effort: Effort,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    tick: Tick = unheard,
) -> list[Results | MeasurementError]:
    """Latency of several networks, measured in turns. One that cannot be measured gives its error.

    Args:
        timeout_seconds: most time in which a measuring process may be silent.
        tick: called between blocks with the share that is done; it may raise to stop.
    """
    with one_at_a_time(tick):
        try:
            return _measure_together(models, settings, effort, timeout_seconds, tick)
        except _ProcessEnded as ended:
            if len(models) == 1:
                return [MeasurementError(f"Measuring {models[0].name} {ended}")]
        # One of them ended the process: each alone shows which.
        alone: list[Results | MeasurementError] = []
        for number, model in enumerate(models):

            def part(done: float | None = None, number: int = number) -> None:
                tick((number + (done or 0.0)) / len(models))

            try:
                alone += _measure_together([model], settings, effort, timeout_seconds, part)
            except _ProcessEnded as ended:
                alone.append(MeasurementError(f"Measuring {model.name} {ended}"))
        return alone


@contextlib.contextmanager
def one_at_a_time(tick: Callable[[], None] = unheard) -> Iterator[None]:
    """Holds this machine's lock of measuring: two measurements at once would measure each other.

    Args:
        tick: called while somebody else measures; it may raise to stop.
    """
    path = Path(tempfile.gettempdir()) / f"winnow-measure-{os.getuid()}.lock"
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tick()
                time.sleep(LOCK_SECONDS)
        yield


# --- one measuring process ---------------------------------------------------------------------------


class _ProcessEnded(Exception):
    """The measuring process ended or went silent; the message continues a sentence."""


class _Refused(Exception):
    def __init__(self, message: str, operator: str | None) -> None:
        super().__init__(message)
        self.operator = operator


class Child:
    """One measuring process. It ends by itself when this one is gone, because its standard input does."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "export.measure.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._buffer = b""

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def load(self, path: Path, setting: Setting) -> LoadedNetwork:
        """Load a network. Raises as `_ask` does."""
        return cast(LoadedNetwork, self._ask(do="load", path=str(path), setting=setting.as_dict()))

    def warm(self, handle: int, phase: str, seconds: float) -> Warm:
        """Run it until its time is stable, at most so long."""
        return cast(Warm, self._ask(do="warm", handle=handle, phase=phase, seconds=seconds))

    def block(self, handle: int, phase: str, seconds: float, runs: int) -> Timed:
        """Run it for so long, at least so often."""
        return cast(Timed, self._ask(do="block", handle=handle, phase=phase, seconds=seconds, runs=runs))

    def energy(self, handle: int, phase: str, seconds: float) -> Energy:
        """Run it long enough for a GPU's counter."""
        return cast(Energy, self._ask(do="energy", handle=handle, phase=phase, seconds=seconds))

    def _ask(self, **asked: object) -> object:
        """Send one line, get one back.

        Raises:
            _Refused: the engine cannot run the network.
            _ProcessEnded: it died or is silent for too long.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            answer = json.loads(self._line())
        except BrokenPipeError:
            raise self._ended() from None
        if "refused" in answer:
            raise _Refused(answer["refused"], answer["operator"])
        return answer

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        until = time.monotonic() + self._timeout_seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise _ProcessEnded(f"took longer than {self._timeout_seconds:g} s.")
            read = os.read(self._process.stdout.fileno(), 1 << 20)
            if not read:
                raise self._ended()
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _ended(self) -> _ProcessEnded:
        code = self._process.wait()
        if code == -9:
            return _ProcessEnded(
                "was killed: it does not fit in this machine's memory, unless somebody did it by hand."
            )
        self._errors.seek(0)
        tail = self._errors.read().decode(errors="replace").strip().split("\n")[-1]
        if "bad_alloc" in tail:
            return _ProcessEnded("failed: it does not fit in this machine's memory.")
        return _ProcessEnded(f"failed with exit code {code}: {tail}")


# --- all series together -------------------------------------------------------------------------------


@dataclass
class Series:
    """One network under one setting in one phase, in every process, and the blocks that were run so far.

    Attributes:
        model: position of the network among those that are measured together.
        handles: handles of the loaded network, one for each process.
        seconds: seconds of measuring, over all processes.
        memory_bytes: that the network took in a process, the runtime's own left out.
        judged_at: blocks when their interval was last worked out.
        energy_mj: energy of a run, on a GPU with a counter.
    """

    model: int
    setting: Setting
    phase: str
    facts: RuntimeFacts
    handles: list[int]
    blocks: list[Block] = field(default_factory=list)
    warm_up_runs: int = 0
    seconds: float = 0.0
    memory_bytes: int = 0
    judged_at: int = 0
    energy_mj: float | None = None

    def is_done(self, effort: Effort) -> bool:
        """Whether enough was measured."""
        if len(self.blocks) < 2 * len(self.handles):
            return False
        if self.seconds >= effort.max_seconds:
            return True
        # An interval takes as long to work out as a block of a small network: not after every one.
        if len(self.blocks) < max(effort.blocks, JUDGED_AGAIN * self.judged_at):
            return False
        self.judged_at = len(self.blocks)
        return half_width(self.blocks) <= effort.width

    def share(self, effort: Effort) -> float:
        """About how much of it is measured, while it is not done."""
        blocks = LEAST_BLOCKS * min(1.0, len(self.blocks) / max(1, effort.blocks))
        return min(1.0, max(blocks, self.seconds / effort.max_seconds))

    def add_blocks(self, children: Sequence[Child], effort: Effort) -> None:
        """One block in every process."""
        began = time.monotonic()
        for process, (child, handle) in enumerate(zip(children, self.handles, strict=True)):
            said = child.block(handle, self.phase, effort.block_seconds, effort.min_runs)
            preempted = np.array(said["preempted"], dtype=bool)
            self.blocks.append(Block(np.array(said["times_ms"]), preempted, process))
        self.seconds += time.monotonic() - began

    def add_energy(self, child: Child, effort: Effort) -> None:
        """Run it long enough for a GPU's counter of energy, which moves a few times a second."""
        if effort.energy and self.setting.how.device == "cuda":
            seconds = min(ENERGY_SECONDS, effort.max_seconds)
            said = child.energy(self.handles[0], self.phase, seconds)
            self.energy_mj = said["energy_mj"]

    def result(self, before: Clocks, after: Clocks) -> Reading:
        """What is stored: the number, its spread, and everything that it depends on."""
        numbers = summary(self.blocks)
        shape = self.facts["input_shape"]
        result: Reading = {
            "metric": "latency_ms",
            "target": self.setting.runtime,
            "phase": self.phase,
            **numbers,
            "warm_up_runs": self.warm_up_runs,
            "seconds": round(self.seconds, 3),
            "memory_bytes": self.memory_bytes,
            "threads": self.setting.threads,
            "batch": self.setting.batch,
            **self.facts,
            **describe_machine(),  # type: ignore[typeddict-item]  # no part has the keys that are set below
            "isolated": True,
            "affinity": affinity(),
            "clocks_before": before,
            "clocks_after": after,
        }
        if self.energy_mj is not None:
            result["energy_mj"] = self.energy_mj
        if self.phase in ("prefill", "decode"):
            tokens = self.setting.batch * (shape[1] if self.phase == "prefill" else 1)
            result["sequence_length"] = shape[1]
            result["tokens_per_second"] = 1000 * tokens / numbers["median_ms"]
        if self.phase == "prefill":
            result["time_to_first_token_ms"] = numbers["median_ms"]
        return result


def _measure_together(
    models: Sequence[Path],
    settings: Sequence[Setting],
    effort: Effort,
    timeout_seconds: float,
    tick: Tick,
) -> list[Results | MeasurementError]:
    errors: dict[int, MeasurementError] = {}
    before = clocks()
    with contextlib.ExitStack() as stack:
        children, series = start_series(stack, models, settings, effort, errors, timeout_seconds, tick)
        while unfinished := [each for each in series if not each.is_done(effort)]:
            for each in unfinished:
                each.add_blocks(children, effort)
                begun = sum(one.share(effort) for one in unfinished)
                tick(LOADED + (1 - LOADED) * (len(series) - len(unfinished) + begun) / len(series))
        for each in series:
            each.add_energy(children[0], effort)
            tick(1.0)
    after = clocks()
    return [
        errors.get(i) or [each.result(before, after) for each in series if each.model == i] for i in range(len(models))
    ]


def start_series(
    stack: contextlib.ExitStack,
    models: Sequence[Path],
    settings: Sequence[Setting],
    effort: Effort,
    errors: dict[int, MeasurementError],
    timeout_seconds: float = TIMEOUT_SECONDS,
    tick: Tick = unheard,
) -> tuple[list[Child], list[Series]]:
    """Fresh processes, and every network under every setting loaded and warmed up in each of them.

    Args:
        stack: ends the processes.
        errors: by position of the network, gets those that cannot be measured.
        tick: hears the share of the measurement that is done by then.
    """
    num_processes = _fitting_processes(models, effort.processes, errors)
    children = [stack.enter_context(Child(timeout_seconds)) for _ in range(num_processes)]
    series = _load(children, models, settings, errors, lambda share: tick(LOADED / 2 * share))
    for number, each in enumerate(series, 1):
        for child, handle in zip(children, each.handles, strict=True):
            seconds = min(MAX_WARM_UP_SECONDS, effort.max_seconds)
            said = child.warm(handle, each.phase, seconds)
            each.warm_up_runs += said["runs"]
            each.memory_bytes = max(each.memory_bytes, said["memory_bytes"])
            tick(LOADED / 2 * (1 + number / len(series)))
    return children, series


def _fitting_processes(models: Sequence[Path], wanted: int, errors: dict[int, MeasurementError]) -> int:
    """How many processes can hold the networks at once; what fits in none is an error."""
    available = available_memory_bytes()
    if available is None:
        return wanted
    total = 0.0
    for i, model in enumerate(models):
        needed = MEMORY_PER_WEIGHT_BYTE * _size_bytes(model)
        if needed > available:
            errors[i] = MeasurementError(
                f"{model.name} does not fit in this machine's memory: it needs about {needed / 2**20:,.0f} MiB, and "
                f"{available / 2**20:,.0f} MiB are free. Measure a smaller network, or on a larger target."
            )
        else:
            total += needed
    return max(1, min(wanted, int(available / max(total, 1.0))))


def _size_bytes(model: Path) -> int:
    if model.is_dir():
        return sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    return model.stat().st_size if model.exists() else 0


def _load(
    children: Sequence[Child],
    models: Sequence[Path],
    settings: Sequence[Setting],
    errors: dict[int, MeasurementError],
    tick: Callable[[float], None],
) -> list[Series]:
    series: list[Series] = []
    for i, model in enumerate(models):
        tick(i / len(models))
        if i in errors:
            continue
        loaded: list[Series] = []
        try:
            for setting in settings:
                said = [child.load(model, setting) for child in children]
                handles = [answer["handle"] for answer in said]
                loaded += [Series(i, setting, phase, said[0]["facts"], handles) for phase in said[0]["phases"]]
        except _Refused as refused:
            errors[i] = MeasurementError(f"Measuring {model.name} failed: {refused}", refused.operator)
            continue
        series += loaded
    return series
