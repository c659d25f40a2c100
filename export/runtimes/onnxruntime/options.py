"""Runtimes of the engine `onnxruntime`."""

from __future__ import annotations

from predictors.runtime import Runtime

RUNTIMES = (Runtime("cpu-onnxruntime", "onnxruntime", "cpu"), Runtime("cuda-onnxruntime", "onnxruntime", "cuda"))
