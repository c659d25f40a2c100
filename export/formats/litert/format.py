"""`model.tflite`, converted and run by a Python of its own: one picture, or one text of the example's length.

litert-torch pins packages of which Winnow's API needs newer ones, so it cannot live beside Winnow. It is given a
program of `torch.export`, which needs no source of ours.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from export.contents import BundleContents
from export.generation import in_float32
from export.programs import quiet, save_program
from export.tools import CannotWrite, interpreter
from supernet.inputs import Inputs, named, part
from supernet.network import arguments

# XNNPACK sums in another order.
TOLERANCE = 1e-4
SCALED = True

PACKAGES = ("ai_edge_litert", "numpy")

REFERENCE = in_float32

CONVERT = """
import sys, torch, litert_torch
source, target = sys.argv[1:]
made = torch.export.load(source)
litert_torch.convert(made.module(), made.example_inputs[0]).export(target)
"""

RELOAD = """
def reload(folder):
    import os, numpy
    from ai_edge_litert.interpreter import Interpreter
    model = Interpreter(folder + "/model.tflite", num_threads=int(os.environ.get("OMP_NUM_THREADS", "1")))
    call = model.get_signature_runner()
    types = {name: detail["dtype"] for name, detail in call.get_input_details().items()}
    def run(*given):
        rows = []
        for n in range(len(given[0])):
            one = {f"args_{place}": each[n : n + 1] for place, each in enumerate(given)}
            # Tokens of 64 bits became 32.
            rows.append(next(iter(call(**{name: x.astype(types[name]) for name, x in one.items()}).values())).copy())
        return numpy.concatenate(rows)
    return run
"""


def python() -> str:
    """The interpreter that has the converter and the runtime.

    Raises:
        MissingTool: none was named, or it is not there; the message has the commands that make one.
    """
    return interpreter(
        "WINNOW_LITERT_PYTHON",
        "litert-torch",
        f"python3.11 -m venv litert && litert/bin/pip install litert-torch torch=={torch.__version__.split('+')[0]}",
    )


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Write `model.tflite`.

    Raises:
        MissingTool: no interpreter with the converter was named.
        CannotWrite: the converter failed; the message ends with its words.
    """
    where = python()
    with quiet():
        plain = in_float32(network).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        given = tuple(each.clone().contiguous() for each in arguments(plain, part(named(example), slice(1))))
        with torch.no_grad():
            made = torch.export.export(plain, given, strict=False)
    with tempfile.TemporaryDirectory(prefix="winnow-") as work:
        with quiet():
            save_program(made, Path(work, "model.pt2"))
        asked = [where, "-I", "-B", "-c", CONVERT, f"{work}/model.pt2", str((folder / "model.tflite").absolute())]
        done = subprocess.run(asked, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (folder / "model.tflite").is_file():
        raise CannotWrite(f"litert-torch could not convert the network: {' '.join(done.stderr.split()[-40:])}")


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> None:
    """Write `model.tflite`."""
    write(contents.network, example, folder)
