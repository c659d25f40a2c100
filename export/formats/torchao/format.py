"""The files of `winnow` with `torchao.json`, which says what is rounded how, and two loaders that apply it.

`load_int8.py` rounds to 8 bits. `load_int4.py` rounds linear layers to 4 bits in groups of inputs, where their inputs
are whole groups, and the rest to 8; it is left out where 4 bits cost more of the metric than half a point.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.contents import BundleContents, Part
from export.formats.safetensors.format import write as write_winnow
from export.formats.safetensors.format import write_contents as write_winnow_contents
from export.formats.torchao.options import KINDS
from export.tools import require
from quantization.quantizable import readers
from supernet.inputs import Inputs

# What a file of rounded weights may be off is asked of its metric; this is of the same rounding in this process.
TOLERANCE = 1e-5

PACKAGES = ("torch", "torchao", "safetensors", "transformers")
# Of these what only the networks of some families need.
SOMETIMES = ("transformers",)

# The second part, and inputs that share a scale in it.
INT4, GROUP = "int4", 32

LOADER = '''\
"""Loads this network and rounds its linear layers and tables of words: {told}."""
import json, sys
from pathlib import Path
import torch
from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerAxis, PerGroup, quantize_
here = Path(__file__).resolve().parent
sys.path.insert(0, str(here))
from load import model
recipe = json.loads((here / "torchao.json").read_text())
four, group = {four}, recipe["int4"]["group"]
quantize_(model, Int8WeightOnlyConfig(), lambda module, path: path in recipe["layers"] and path not in four)
groups = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(group))
quantize_(model, groups, lambda module, path: path in four)
rows = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
quantize_(model, rows, lambda module, path: path in recipe["tables"])
'''
LOADERS = {
    "load_int8.py": LOADER.format(told="to 8 bits, each row with a scale of its own", four="()"),
    f"load_{INT4}.py": LOADER.format(
        told="to 4 bits in groups of inputs, and to 8 what has no groups", four='recipe["int4"]["layers"]'
    ),
}

RELOAD = """
def reload(folder, part=""):
    import json, os, sys, torch
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.path.insert(0, folder)
    import importlib
    loader = "load_" + (part or "int8")
    for name in ("load", loader):
        sys.modules.pop(name, None)
    model = importlib.import_module(loader).model
    dtype = getattr(torch, json.load(open(folder + "/architecture.json")).get("dtype", "float32"))
    def run(*given):
        tensors = [torch.from_numpy(each).clone() for each in given]
        tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
        with torch.no_grad():
            return model(*tensors).float().numpy()
    return run
"""


def rounded(network: nn.Module) -> nn.Module:
    """The network with its linear layers rounded as the loader rounds them."""
    require("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerAxis, quantize_

    made, layers, tables = copy.deepcopy(network), set(rounded_layers(network)), set(rounded_tables(network))
    quantize_(made, Int8WeightOnlyConfig(), lambda module, path: path in layers)
    rows = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
    quantize_(made, rows, lambda module, path: path in tables)
    return made


REFERENCE = rounded


def rounded_layers(network: nn.Module) -> list[str]:
    """Paths of linear layers within layers of transformers; routers, which are small and decide, stay."""
    names = {"".join(word.title() for word in kind.split("_")) for kind in KINDS}
    blocks = [name for name, block in network.named_children() if type(block).__name__ in names]
    return [
        path
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear) and path.split(".")[0] in blocks and not path.endswith(".router")
    ]


def in_groups(network: nn.Module, layers: Sequence[str]) -> list[str]:
    """Those of these linear layers whose inputs are whole groups."""
    inputs = {path: network.get_submodule(path).get_parameter("weight").shape[1] for path in layers}
    return [path for path in layers if inputs[path] % GROUP == 0]


def rounded_tables(network: nn.Module) -> list[str]:
    """Paths of tables of words that no head is tied to: torchao would round one of the two."""
    tables = [
        path
        for path, module in network.named_modules()
        if isinstance(module, nn.Embedding) and path.endswith(".tokens")
    ]
    tied = set(readers(network, tables).values())
    return [path for path in tables if path not in tied]


def parts(folder: Path) -> dict[str, Part]:
    """Weights of 8 bits, which are compared with the same rounding here, and of 4, whose metric is compared."""
    four = {INT4: Part(None, optional=True)} if (folder / f"load_{INT4}.py").is_file() else {}
    return {"": Part(TOLERANCE), **four}


def leave_out(folder: Path, part: str) -> None:
    """Take a loader away again whose answers are not near enough."""
    (folder / f"load_{part}.py").unlink()


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Write all but `architecture.json`.

    Raises:
        MissingTool: the package `torchao` is not installed.
    """
    require("torchao")
    write_winnow(network, example, folder)
    _add(network, folder)


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> dict[str, Any]:
    """Write everything; the card is told how many weights are rounded."""
    require("torchao")
    write_winnow_contents(contents, example, folder)
    layers, tables = _add(contents.network, folder)
    stay = "" if tables else "; a table of words that the head is tied to stays"
    note = (
        f"torchao rounds {layers} linear layers and {tables} tables of words to 8 bits when the file is loaded{stay}."
    )
    return {"notes": [note]}


def _add(network: nn.Module, folder: Path) -> tuple[int, int]:
    layers, tables = rounded_layers(network), rounded_tables(network)
    grouped = in_groups(network, layers)
    recipe = {
        "format": "winnow-torchao/1",
        "torchao": metadata.version("torchao"),
        "config": "Int8WeightOnlyConfig",
        "layers": layers,
        "tables": tables,
        "int4": {"config": "IntxWeightOnlyConfig", "group": GROUP, "layers": grouped},
    }
    (folder / "torchao.json").write_text(json.dumps(recipe, indent=2) + "\n")
    for name in LOADERS if grouped else ("load_int8.py",):
        (folder / name).write_text(LOADERS[name])
    return len(layers), len(tables)
