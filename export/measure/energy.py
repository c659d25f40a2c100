"""Energy of a GPU through NVML, where there is one. Nothing is estimated: no counter, no number."""

from __future__ import annotations

import importlib
from typing import Any


class EnergyMeter:
    """Reads a GPU's total energy counter (NVIDIA Volta and newer).

    Args:
        device: index of the GPU.
    """

    def __init__(self, device: int = 0) -> None:
        self._handle: Any = None
        try:
            self._nvml: Any = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByIndex(device)
            self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except Exception:
            # No library, no driver, no GPU, or one without a counter: NVML has an exception class for each.
            self._handle = None

    def read_mj(self) -> float | None:
        """Millijoules used since the driver was loaded; None where they cannot be read."""
        if self._handle is None:
            return None
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def facts(self) -> dict[str, Any]:
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
