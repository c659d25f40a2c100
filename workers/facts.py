"""What this machine has, as far as jobs may ask for it: found out without loading torch, which would touch the GPU."""

from __future__ import annotations

import importlib
import os
import platform
from functools import cache
from typing import Any

from export.measure.machine import cpu_name, installed_version
from export.runtimes.onnxruntime.exactness import exact_weight_bits
from service.settings import Settings
from service.store.nodes import NodeFacts
from service.version import version

PACKAGES = ("torch", "onnxruntime", "transformers")


def node_facts(settings: Settings, queues: tuple[str, ...]) -> NodeFacts:
    """Facts of a worker that listens to these queues."""
    names = gpu_names()
    versions = {"python": platform.python_version(), "winnow": version()}
    versions |= {name: found for name in PACKAGES if (found := installed_version(name)) is not None}
    facts: dict[str, Any] = {
        "host": platform.node(),
        "device": cpu_name(),
        "cores": os.cpu_count(),
        "gpus": list(names),
        "versions": versions,
        "weight_bits": exact_weight_bits(),
        "pid": os.getpid(),
    }
    return NodeFacts(queues, settings.own_labels, len(names), memory_bytes(), facts)


def memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def gpu_names() -> tuple[str, ...]:
    """GPUs that this process sees: those of NVIDIA's driver that CUDA_VISIBLE_DEVICES leaves."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        found = [str(nvml.nvmlDeviceGetName(handle)) for handle in handles]
        nvml.nvmlShutdown()
    except Exception:  # no library, no driver, no permission: this machine has no GPU that a job could use
        return ()
    return _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _visible(found: list[str], asked: str | None) -> tuple[str, ...]:
    """As CUDA reads the variable: numbers until the first that is none of its devices; names of devices count as one
    each."""
    if asked is None:
        return tuple(found)
    chosen: list[str] = []
    for word in asked.split(","):
        word = word.strip()
        if word.isdigit() and int(word) < len(found):
            chosen.append(found[int(word)])
        elif word.startswith(("GPU-", "MIG-")):
            chosen.append(word)
        else:
            break
    return tuple(chosen)
