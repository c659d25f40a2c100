"""`model.onnx`, with a free batch dimension, for ONNX Runtime and everything that reads ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# Another runtime fuses and orders floating-point operations differently.
TOLERANCE = 1e-3

RELOAD = """
def reload(folder):
    import onnxruntime
    session = onnxruntime.InferenceSession(folder + "/model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]
"""


def write(network: nn.Module, example: Tensor, folder: Path) -> None:
    """Write `model.onnx` with a free batch dimension."""
    batch = torch.export.Dim("batch", min=1)
    write_graph(network, example[:2], folder / "model.onnx", dynamic_shapes=({0: batch},))


def write_graph(
    network: nn.Module, example: Tensor, path: Path, dynamic_shapes: tuple[dict[int, Any], ...] | None = None
) -> None:
    """Export through torch's current exporter, weights inside the file.

    Without dynamic shapes the graph is for the example's batch alone, which takes half the time to write
    and is what latency is measured on. The exporter talks a great deal; its talk is dropped, its errors
    are not.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (example.contiguous(),),
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=dynamic_shapes,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
