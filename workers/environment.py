"""The machine that a job runs on: chosen device, threads, versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import torch

from export.measure import describe_machine
from service.version import version


def choose_device() -> torch.device:
    """The first CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fix_threads(num_threads: int | None) -> int:
    """Pin torch's threads: to the number an earlier run of the job used, or to the number of cores.

    Results on a CPU are the same to the bit only for the same number of threads.
    """
    number = num_threads or os.cpu_count() or 1
    torch.set_num_threads(number)
    return number


def describe(device: torch.device, num_threads: int) -> dict[str, Any]:
    """Facts of the run that are stored with the job."""
    return {
        **describe_machine(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": num_threads,
        "versions": {
            "winnow": version(),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "pymoo", "onnxruntime", "numpy")},
        },
    }
