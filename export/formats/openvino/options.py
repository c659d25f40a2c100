"""What the export format `openvino` is."""

from __future__ import annotations

MEANING = "`openvino_model.xml` and `.bin` for Intel's CPUs, GPUs and NPUs; INT8 by the network's policy."

WHEN_ASKED = True

LOADS = """
import openvino
model = openvino.compile_model("openvino/openvino_model.xml", "CPU")
"""
