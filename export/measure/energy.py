"""Energy of a GPU through NVML, where there is one. Nothing is estimated: no counter, no number."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from typing import Any

from predictors.readings import GpuFacts

# Between readings: one takes as long as a small network, and the counter moves ten to fifty times a second.
BETWEEN_SECONDS = 0.005
# The counter has stopped where it does not move in so many times the time that was asked for, and a second more.
PATIENCE = 3


def visible_gpu() -> int | str:
    """The first GPU that CUDA shows to this process: its index, or its UUID as `GPU-...` (of a part of one `MIG-...`).

    A runtime that knows the UUID of its device says it itself: CUDA may count GPUs in another order than NVML.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return int(first) if first.isdigit() else first or 0


class EnergyMeter:
    """Reads a GPU's total energy counter (NVIDIA Volta and newer).

    Args:
        gpu: index or UUID of the GPU, as NVML has them.
    """

    def __init__(self, gpu: int | str) -> None:
        self._handle: Any = None
        try:
            self._nvml: Any = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            by = "UUID" if isinstance(gpu, str) else "Index"
            self._handle = getattr(self._nvml, f"nvmlDeviceGetHandleBy{by}")(gpu)
            self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except Exception:
            # No library, no driver, no GPU, or one without a counter: NVML has an exception class for each.
            self._handle = None

    def read_mj(self) -> float | None:
        """Millijoules used since the driver was loaded; None where they cannot be read."""
        if self._handle is None:
            return None
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def per_run_mj(self, run: Callable[[], object], seconds: float) -> float | None:
        """Millijoules of a run, idle power included: what the counter rose between two of its own steps.

        Args:
            run: returns when the GPU has finished.
            seconds: least time that is counted.

        Returns:
            None where there is no counter, or it does not move.
        """
        last = self.read_mj()
        if last is None:
            return None
        first, runs = None, 0
        since = read_at = time.monotonic()
        until = since + PATIENCE * seconds + 1
        while (at := time.monotonic()) < until:
            run()
            runs += 1
            if at - read_at < BETWEEN_SECONDS:
                continue
            read_at, now = at, self.read_mj()
            assert now is not None
            if now == last:
                continue
            last = now
            if first is None:
                first, since, runs = now, time.monotonic(), 0
            elif time.monotonic() - since >= seconds:
                return (now - first) / runs
        return None

    def facts(self) -> GpuFacts:
        """Name, driver and clocks of the GPU."""
        if self._handle is None:
            return {}
        nvml = self._nvml
        return {
            "gpu": _text(nvml.nvmlDeviceGetName(self._handle)),
            "driver": _text(nvml.nvmlSystemGetDriverVersion()),
            "gpu_clock_mhz": nvml.nvmlDeviceGetClockInfo(self._handle, nvml.NVML_CLOCK_SM),
        }


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
