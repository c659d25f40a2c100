"""What the export format `onnx` is."""

from __future__ import annotations

MEANING = "`model.onnx` with free batch and length, a cache of keys and values for language models, for ONNX Runtime."

LOADS = """
import onnxruntime
session = onnxruntime.InferenceSession("onnx/model.onnx")
"""
