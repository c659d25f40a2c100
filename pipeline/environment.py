"""The machine that a job runs on: chosen device, threads, versions."""

from __future__ import annotations

import os
import platform

import torch

from export.measure import describe_machine
from export.measure.machine import installed_version
from predictors.readings import Machine
from service.version import version


class Environment(Machine):
    """What a job ran on, as it is stored with it.

    Attributes:
        accelerator: name of the GPU; None without one.
        threads: threads of torch.
        versions: by package; None: not installed.
    """

    accelerator: str | None
    threads: int
    versions: dict[str, str | None]


def choose_device() -> torch.device:
    """The CUDA device of this process if there is one (the first, without torchrun), else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def local_processes() -> int:
    """Processes of the training on this machine: as many as torchrun started, or this one."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def shared_threads() -> int:
    """Threads of each of the processes that torchrun started on this machine."""
    return max(1, (os.cpu_count() or 1) // local_processes())


# Below this many MACs of the largest network a second thread gains nothing and costs much as soon as
# somebody else wants the core: digits (0.5 M) took 71 to 95 ms a step with one thread and 71 to 79 ms with
# two on an idle machine, 0.24 s and 2.6 s on a busy one.
ONE_THREAD_MACS = 5_000_000


def fix_threads(num_threads: int | None, largest_macs: int) -> int:
    """Pin torch's threads: to the number an earlier run of the job used, or to what suits the networks.

    Results on a CPU are the same to the bit only for the same number of threads, so the choice depends on
    the space and the machine alone, never on a timing.
    """
    number = num_threads or (1 if largest_macs < ONE_THREAD_MACS else os.cpu_count() or 1)
    torch.set_num_threads(number)
    return number


def describe(device: torch.device, num_threads: int) -> Environment:
    """Facts of the run that are stored with the job."""
    return {
        **describe_machine(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": num_threads,
        "versions": {
            "winnow": version(),
            "python": platform.python_version(),
            **{name: installed_version(name) for name in ("torch", "pymoo", "onnxruntime", "numpy")},
        },
    }
