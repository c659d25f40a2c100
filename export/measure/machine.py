"""The machine in words and numbers: what must stand beside every latency. Standard library only."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from importlib import metadata
from pathlib import Path

from predictors.readings import Clocks, Machine

CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
THERMAL = Path("/sys/class/thermal")
# glibc's way to give freed memory back; other C libraries have none.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None


def describe_machine() -> Machine:
    """The device, in words and numbers, that stand beside every latency."""
    return {
        "device": cpu_name(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "os": platform.platform(),
    }


def cpu_name() -> str:
    """The processor's name as the operating system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()


def installed_version(package: str) -> str | None:
    """Version of a library as installed here, in its usual or its GPU build; None: it is not."""
    for name in (package, f"{package}-gpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def clocks() -> Clocks:
    """Clock, governor and temperature now, as far as this machine lets them be read."""
    found: Clocks = {}
    if (governor := _read(CPUFREQ / "scaling_governor")) is not None:
        found["governor"] = governor
    if (khz := _read(CPUFREQ / "scaling_cur_freq")) is not None and khz.isdigit():
        found["clock_mhz"] = int(khz) / 1000
    else:
        info = _read(Path("/proc/cpuinfo")) or ""
        mhz = [line.split(":", 1)[1] for line in info.splitlines() if line.startswith("cpu MHz")]
        if mhz:
            found["clock_mhz"] = round(sum(map(float, mhz)) / len(mhz), 1)
    heat = [_read(zone / "temp") for zone in sorted(THERMAL.glob("thermal_zone*"))]
    degrees = [int(text) / 1000 for text in heat if text is not None and text.lstrip("-").isdigit()]
    if degrees:
        found["temperature_celsius"] = max(degrees)
    found["load_average"] = round(os.getloadavg()[0], 2)
    return found


def affinity() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def available_memory_bytes() -> int | None:
    """Memory that a new process can still have; None where the system does not say."""
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def resident_memory_bytes() -> int:
    """Memory that this process has now, what it has freed given back; where nothing tells that, the most it has had."""
    if _trim is not None:
        _trim(0)
    for line in (_read(Path("/proc/self/status")) or "").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
