"""The measuring process: `python -m export.measure.child`. It loads networks and runs them when told.

One JSON object a line comes in on standard input, one goes out. It keeps nothing of its parent: no heap, no
threads, no clock. The collector of garbage is off, and the first run of every block is not counted, because
another network may have had the caches before.

    {"do": "load", "path": ..., "setting": {...}}                  -> {"handle": 0, "phases": [...], "facts": {...}}
    {"do": "block", "handle": 0, "phase": ..., "seconds": 0.05, "runs": 3} -> {"times_ms": [...], ...}
    {"do": "energy", "handle": 0, "phase": ..., "seconds": 0.5}    -> {"energy_mj": 51.2}
    {"do": "warm", "handle": 0, "phase": ..., "seconds": 2.0}      -> {"runs": 60, "memory_bytes": ...}
    {"do": "unload", "handle": 0}                                  -> {}
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from export.measure.answers import Answer, Energy, LoadedNetwork, Timed, Unloaded, Warm
from export.measure.energy import EnergyMeter, visible_gpu
from export.measure.machine import resident_memory_bytes
from export.runtimes import Prepared, Refused
from plugins.kinds import RUNTIMES
from predictors.readings import GpuFacts, RuntimeFacts
from predictors.setting import Setting, SettingRow

# Warm-up ends when the medians of two windows in a row differ by less than this.
STABLE = 0.02
WINDOW = 10
# Most runs in a block: of a network so small that the time alone would not end it.
MAX_RUNS = 100_000


class Measurer:
    """Networks that are loaded, by handle."""

    def __init__(self) -> None:
        self._loaded: dict[int, Prepared] = {}
        self._memory: dict[int, int] = {}
        self._next = 0
        self._meter: EnergyMeter | None = None

    def answer(self, do: str, **asked: Any) -> Answer:
        """Do what one line asks for.

        Raises:
            Refused: the engine cannot run the network.
        """
        orders: dict[str, Callable[..., Answer]] = {
            "load": self._load,
            "warm": self._warm,
            "block": self._block,
            "energy": self._energy,
            "unload": self._unload,
        }
        return orders[do](**asked)

    def _load(self, path: str, setting: SettingRow) -> LoadedNetwork:
        conditions = Setting(**setting)
        engine = RUNTIMES.load(conditions.how.engine)
        before = resident_memory_bytes()
        prepared: Prepared = engine.prepare(Path(path), conditions)
        if conditions.how.device == "cuda" and self._meter is None:
            self._meter = EnergyMeter(prepared.gpu_uuid or visible_gpu())
        handle, self._next = self._next, self._next + 1
        self._loaded[handle] = prepared
        self._memory[handle] = resident_memory_bytes() - before
        gpu: GpuFacts = self._meter.facts() if self._meter is not None else {}
        facts: RuntimeFacts = {**prepared.facts, **gpu}
        return {"handle": handle, "phases": list(prepared.phases), "facts": facts}

    def _warm(self, handle: int, phase: str, seconds: float) -> Warm:
        run = self._loaded[handle].phases[phase]
        before = resident_memory_bytes()
        runs = warm_up(run, seconds)
        self._memory[handle] += resident_memory_bytes() - before
        return {"runs": runs, "memory_bytes": max(0, self._memory[handle])}

    def _block(self, handle: int, phase: str, seconds: float, runs: int) -> Timed:
        run = self._loaded[handle].phases[phase]
        run()
        times_ms, preempted = timed_runs(run, seconds, runs)
        return {"times_ms": times_ms, "preempted": preempted}

    def _energy(self, handle: int, phase: str, seconds: float) -> Energy:
        run = self._loaded[handle].phases[phase]
        return {"energy_mj": None if self._meter is None else self._meter.per_run_mj(run, seconds)}

    def _unload(self, handle: int) -> Unloaded:
        self._loaded.pop(handle).close()
        del self._memory[handle]
        gc.collect()
        return {}


def warm_up(run: Callable[[], float], max_seconds: float) -> int:
    """Run until the medians of two windows in a row agree, or the time is over; the number of runs."""
    began, runs, last = time.monotonic(), 0, 0.0
    while True:
        times = []
        for _ in range(WINDOW):
            times.append(run())
            if time.monotonic() - began >= max_seconds:
                break
        runs += len(times)
        now = float(np.median(times))
        if time.monotonic() - began >= max_seconds or abs(now - last) <= STABLE * last:
            return runs
        last = now


def timed_runs(run: Callable[[], float], seconds: float, least: int) -> tuple[list[float], list[bool]]:
    """Times of runs in milliseconds until both the time is over and enough were made; which were preempted."""
    times: list[float] = []
    preempted: list[bool] = []
    until = time.monotonic() + seconds
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    while len(times) < least or (time.monotonic() < until and len(times) < MAX_RUNS):
        times.append(run())
        now = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        preempted.append(now > taken)
        taken = now
    return times, preempted


def main() -> None:
    """Answer lines until standard input ends. Whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Not once per block: a collection takes longer than a block of a small network.
    gc.disable()
    measurer = Measurer()
    for line in sys.stdin:
        try:
            said: Mapping[str, object] = measurer.answer(**json.loads(line))
        except Refused as refused:
            said = {"refused": str(refused), "operator": refused.operator}
        except MemoryError:
            said = {"refused": "It does not fit in this machine's memory.", "operator": None}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
