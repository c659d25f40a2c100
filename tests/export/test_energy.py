"""Energy through NVML: a counter that is read, never estimated."""

import sys
import types

from export.measure.energy import EnergyMeter


def test_without_a_gpu_there_is_no_number(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = EnergyMeter()
    assert meter.read_mj() is None
    assert meter.facts() == {}


def test_the_counter_of_the_gpu_is_read(monkeypatch):
    counter = iter([5_000, 5_000, 5_250])
    nvml = types.SimpleNamespace(
        NVML_CLOCK_SM=1,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(counter),
        nvmlDeviceGetName=lambda handle: b"A GPU",
        nvmlSystemGetDriverVersion=lambda: "550.1",
        nvmlDeviceGetClockInfo=lambda handle, clock: 1410,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meter = EnergyMeter()
    before, after = meter.read_mj(), meter.read_mj()
    assert after - before == 250
    assert meter.facts() == {"gpu": "A GPU", "driver": "550.1", "gpu_clock_mhz": 1410}
