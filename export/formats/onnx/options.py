"""What the export format `onnx` is."""

from __future__ import annotations

MEANING = "`model.onnx` with a free batch dimension, for ONNX Runtime and everything that reads ONNX."
