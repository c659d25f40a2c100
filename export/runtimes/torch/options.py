"""Runtimes of the engine `torch`."""

from __future__ import annotations

from predictors.runtime import Runtime

RUNTIMES = (
    Runtime("cpu-torch", "torch", "cpu", keeps_cache=True),
    Runtime("cpu-torch-compiled", "torch", "cpu", compiled=True),
    Runtime("cuda-torch", "torch", "cuda", keeps_cache=True),
    Runtime("cuda-torch-compiled", "torch", "cuda", compiled=True),
)
