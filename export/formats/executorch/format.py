"""`model.pte`, lowered to XNNPACK: one picture, or one text of the example's length, at a time."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from export.contents import BundleContents
from export.generation import in_float32
from export.programs import quiet
from export.tools import require
from supernet.inputs import Inputs, named, part
from supernet.network import arguments

# XNNPACK sums in another order.
TOLERANCE = 1e-4
SCALED = True

PACKAGES = ("executorch", "torch")

REFERENCE = in_float32

RELOAD = """
def reload(folder):
    import numpy, torch
    from executorch.runtime import Runtime
    method = Runtime.get().load_program(folder + "/model.pte").load_method("forward")
    def run(*given):
        rows = []
        for n in range(len(given[0])):
            one = [torch.from_numpy(each[n : n + 1]).contiguous() for each in given]
            rows.append(method.execute(one)[0].numpy().copy())
        return numpy.concatenate(rows)
    return run
"""


def write(network: nn.Module, example: Tensor | Inputs, folder: Path) -> None:
    """Write `model.pte`.

    Raises:
        MissingTool: the package `executorch` is not installed.
    """
    require("executorch")
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        plain = in_float32(network).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        given = tuple(each.clone().contiguous() for each in arguments(plain, part(named(example), slice(1))))
        with torch.no_grad():
            made = torch.export.export(plain, given, strict=False)
        lowered = to_edge_transform_and_lower(made, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / "model.pte").write_bytes(lowered.buffer)


def write_contents(contents: BundleContents, example: Tensor | Inputs, folder: Path) -> None:
    """Write `model.pte`."""
    write(contents.network, example, folder)
