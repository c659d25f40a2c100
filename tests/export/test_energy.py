"""Energy through NVML: a counter that is read, never estimated."""

import sys
import types

import pytest

from export.measure import energy
from export.measure.energy import EnergyMeter


def test_without_a_gpu_there_is_no_number(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = EnergyMeter(0)
    assert meter.read_mj() is None
    assert meter.facts() == {}
    assert meter.per_run_mj(lambda: None, 0.01) is None


def nvml(read):
    """A stand-in of the library, whose counter is what `read` says."""
    return types.SimpleNamespace(
        NVML_CLOCK_SM=1,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetHandleByUUID={"GPU-1-2": 7}.__getitem__,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: read(),
        nvmlDeviceGetName=lambda handle: b"A GPU",
        nvmlSystemGetDriverVersion=lambda: "550.1",
        nvmlDeviceGetClockInfo=lambda handle, clock: 1410,
    )


def test_the_counter_of_the_gpu_is_read(monkeypatch):
    counter = iter([5_000, 5_000, 5_250])
    monkeypatch.setitem(sys.modules, "pynvml", nvml(lambda: next(counter)))
    meter = EnergyMeter(0)
    before, after = meter.read_mj(), meter.read_mj()
    assert after - before == 250
    assert meter.facts() == {"gpu": "A GPU", "driver": "550.1", "gpu_clock_mhz": 1410}


@pytest.mark.parametrize(
    ("shown", "gpu"),
    [(None, 0), ("", 0), ("2,3", 2), ("GPU-1-2", "GPU-1-2"), ("MIG-1", "MIG-1")],
)
def test_the_gpu_is_the_one_that_the_process_sees(monkeypatch, shown, gpu):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert energy.visible_gpu() == gpu


def test_a_gpu_is_found_by_its_uuid(monkeypatch):
    asked = []
    stand_in = nvml(lambda: 0)
    stand_in.nvmlDeviceGetTotalEnergyConsumption = asked.append
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    EnergyMeter("GPU-1-2")
    assert asked == [7]
    assert EnergyMeter("GPU-3").read_mj() is None


def test_energy_is_counted_between_two_steps_of_the_counter(monkeypatch):
    # A GPU of 40 W whose counter moves every 20 ms: in any 1 ms it shows nothing, or 800 mJ.
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)

    def a_millisecond():
        clock.now += 0.001

    monkeypatch.setattr(energy, "time", clock)
    monkeypatch.setitem(sys.modules, "pynvml", nvml(lambda: 5_000 + 800 * int(clock.now / 0.02)))
    assert EnergyMeter(0).per_run_mj(a_millisecond, 0.2) == pytest.approx(40, rel=0.15)  # it is read every few runs


def test_a_counter_that_does_not_move_gives_no_number(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", nvml(lambda: 5_000))
    monkeypatch.setattr(energy, "PATIENCE", -90)
    assert EnergyMeter(0).per_run_mj(lambda: None, 0.01) is None
