"""`model.onnx`, with a free batch dimension, for ONNX Runtime and everything that reads ONNX.

The same graph is measured and shipped. It is written by torch's TorchScript exporter, which takes 0.15 s
for a digits network where the newer one takes 2.5 to 4.3 s; the files run equally fast
(docs/decisions/0004).
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

# Another runtime fuses and orders floating-point operations differently.
TOLERANCE = 1e-3

OPSET = 18

RELOAD = """
def reload(folder):
    import onnxruntime
    session = onnxruntime.InferenceSession(folder + "/model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]
"""


def write(network: nn.Module, example: Tensor, folder: Path) -> None:
    """Write `model.onnx`, weights inside the file.

    The exporter talks a great deal; its talk is dropped, its errors are not.
    """
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (example[:1].contiguous(),),
            str(folder / "model.onnx"),
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
            verbose=False,
        )
