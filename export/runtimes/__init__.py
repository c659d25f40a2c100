"""Runtimes that measure: one folder per engine. `options.py` declares its `RUNTIMES`, `runtime.py` runs networks.

`SUFFIX` is what the engine reads: `.onnx` for a file, `""` for a folder of a bundle. `write(network, layers, inputs,
folder, tied=True)` writes that and gives its path. `prepare(path, setting)` loads the network and gives a `Prepared`;
it runs in the measuring process, so it may import what it likes. It raises `Refused` with a sentence for the user when
the engine cannot run the network. `devices()` says on which devices it runs here, with facts of each. The file is
imported where the engine is not installed, so it imports that inside its functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from predictors.readings import RuntimeFacts


class Refused(Exception):
    """This engine cannot run this network here; the message says why. `operator` is what it lacks, if that is it."""

    def __init__(self, message: str, operator: str | None = None) -> None:
        super().__init__(message)
        self.operator = operator


@dataclass(frozen=True)
class Prepared:
    """A loaded network.

    Attributes:
        phases: name -> runs it once and returns the time in milliseconds. `forward` for images and labelled text;
            language models have `prefill` (a whole prompt) and, where the engine keeps keys and values, `decode`
            (one more token).
        facts: what stands beside the numbers: dtype, input_shape, versions.
        close: frees it.
        gpu_uuid: UUID of the GPU that it runs on, as NVML writes it, where the engine says so.
    """

    phases: Mapping[str, Callable[[], float]]
    facts: RuntimeFacts
    close: Callable[[], None] = field(default=lambda: None)
    gpu_uuid: str | None = None
