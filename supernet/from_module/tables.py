"""Constants of a module that its family's file has to hold: tables of indices, masks, fixed positions."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor
from torch.fx import Node

from supernet.from_module.graph import Graph, RefusedModule

# Type, shape and bytes of a table: equal tables are one.
Content: TypeAlias = tuple[str, tuple[int, ...], bytes]
# Packed, of all tables of a file together.
MOST_CHARACTERS = 1_000_000
LINE = 100


@dataclass
class Tables:
    """Tables by name.

    Attributes:
        held: content -> name.
    """

    graph: Graph
    held: dict[Content, str] = field(default_factory=dict)

    def name(self, node: Node) -> str:
        """The name of a constant's table."""
        wanted = self.graph.buffers.get(node, "table").rpartition(".")[2]
        content = content_of(self.graph.constants[node])
        if content not in self.held:
            taken = set(self.held.values())
            name, number = wanted, 1
            while name in taken:
                number += 1
                name = f"{wanted}_{number}"
            self.held[content] = name
        return self.held[content]

    def source(self) -> str:
        """Statements that define them; nothing if there are none.

        Raises:
            RefusedModule: they are too large for a file that somebody reads.
        """
        if not self.held:
            return ""
        lines, total = ["CONSTANTS = {"], 0
        for (dtype, shape, raw), name in self.held.items():
            packed = base64.b85encode(zlib.compress(raw, 9)).decode()
            total += len(packed)
            lines += [f'    "{name}": (', f'        "{dtype}",', f"        {shape},"]
            lines += [f'        "{packed[at : at + LINE]}"' for at in range(0, len(packed), LINE)] or ['        ""']
            lines += ["    ),"]
        if total > MOST_CHARACTERS:
            raise RefusedModule(
                f"The module's constants take {total:,} characters when they are packed, and a family's file holds up "
                f"to {MOST_CHARACTERS:,}. Compute them in forward(), or make them parameters."
            )
        return "\n".join([*lines, "}", "", "", UNPACK])


def content_of(tensor: Tensor) -> Content:
    """A tensor's type, shape and bytes."""
    tensor = tensor.detach().cpu().contiguous()
    raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), raw


UNPACK = '''def constant(name):
    """A table that the module computed from nothing: type, shape and packed bytes."""
    import base64
    import zlib

    import torch

    dtype, shape, packed = CONSTANTS[name]
    raw = bytearray(zlib.decompress(base64.b85decode(packed)))
    return torch.frombuffer(raw, dtype=getattr(torch, dtype)).reshape(shape).to(torch.empty(0).device)
'''
