"""`openvino_model.xml` and `.bin`, made by `openvino.convert_model` from the graph that ships as ONNX.

In that graph (decision 0107) inputs have names, dimensions are free, and the integers of a policy are stored.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from export.contents import BundleContents
from export.formats.onnx import format as onnx_format
from export.formats.onnx.format import WEIGHT_BITS
from export.formats.onnx.traced import in_float32
from export.programs import quiet
from export.runtimes.onnxruntime.exactness import INEXACT, exact_weight_bits
from export.tools import CannotWrite, require
from quantization.quantizable import applied_to, weight_bits
from supernet.inputs import Inputs

# Compiled for exactness, see RELOAD; other kernels sum in another order.
TOLERANCE = 1e-4
SCALED = True
GENERATES = True

PACKAGES = ("openvino", "numpy")

REFERENCE = in_float32

FILE = "openvino_model.xml"

RELOAD = """
def reload(folder):
    import numpy, openvino, os
    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": int(os.environ.get("OMP_NUM_THREADS", "1"))}
    config["KV_CACHE_PRECISION"] = "f32"
    model = core.compile_model(folder + "/openvino_model.xml", "CPU", config)
    names = [one.get_any_name() for one in model.inputs]
    cache = [name for name in names if name.startswith("past_key_values")]
    shapes = {one.get_any_name(): one.get_partial_shape() for one in model.inputs}
    def step(ids, past, before):
        batch, tokens = ids.shape
        given = {
            "input_ids": ids,
            "attention_mask": numpy.ones((batch, before + tokens), dtype=numpy.int64),
            "position_ids": numpy.tile(numpy.arange(before, before + tokens), (batch, 1)),
        }
        found = list(model(given | past).values())
        return found[0], dict(zip(cache, found[1:]))
    def empty(batch):
        size = lambda name, place: shapes[name][place].get_length()
        return {name: numpy.zeros((batch, size(name, 1), 0, size(name, 3)), dtype=numpy.float32) for name in cache}
    def run(*given):
        if cache:
            return step(given[0], empty(len(given[0])), 0)[0]
        return next(iter(model(dict(zip(names, given))).values()))
    def generate(prompts, count):
        ids, past, before, found = prompts, empty(len(prompts)), 0, []
        for _ in range(count):
            logits, past = step(ids, past, before)
            before += ids.shape[1]
            ids = logits[:, -1].argmax(-1)[:, None].astype(numpy.int64)
            found.append(ids)
        return numpy.concatenate(found, 1)
    if cache:
        run.generate = generate
    return run
"""


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Write both files, weights in 32 bits or as the policy stores them.

    Raises:
        MissingTool: the package `openvino` is not installed.
        CannotWrite: the network has weights of 8 bits, which kernels of this machine do not multiply exactly.
    """
    require("openvino")
    import openvino

    applied = applied_to(network)
    bits = None if applied is None else weight_bits(applied.plans.values())
    if bits == 8 and exact_weight_bits() < 8:
        raise CannotWrite(
            f"The network has weights of 8 bits, and OpenVINO's kernels on this machine {INEXACT}, so the files could "
            "not be checked. Export on a worker with VNNI, take onnx, or search with quantization.weight_bits 7."
        )

    with tempfile.TemporaryDirectory(prefix="winnow-") as work:
        # One graph for both: named inputs, free dimensions and the policy's integers are in it.
        onnx_format.write(network, example, Path(work))
        with quiet():
            made: Any = openvino.convert_model(str(Path(work) / onnx_format.FILE))
        if bits is not None:
            made.set_rt_info(str(bits), WEIGHT_BITS)
        openvino.save_model(made, str(folder / FILE), compress_to_fp16=False)


def remark(folder: Path) -> str | None:
    """What must be known of the files on this machine; None: nothing."""
    if f'<{WEIGHT_BITS} value="8"' not in (folder / FILE).read_text(encoding="utf-8") or exact_weight_bits() == 8:
        return None
    return f"{FILE} has weights of 8 bits, and OpenVINO's kernels on this machine {INEXACT}: its answers may be wrong."


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> None:
    """Write both files."""
    write(contents.network, example, folder)
