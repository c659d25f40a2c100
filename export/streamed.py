"""safetensors files written tensor by tensor: what is written is never held beside the network.

`safetensors.torch.save_file` turns every tensor of a file into bytes first, which is the file once more in memory.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

# safetensors' words for types of torch.
WORDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, slots=True)
class Made:
    """A tensor that is made when it is its turn."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> Made:
        """One that is there."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor)

    @property
    def numel(self) -> int:
        """Elements."""
        return torch.Size(self.shape).numel()

    @property
    def nbytes(self) -> int:
        """Name of the type of the tensor."""
        return self.numel * self.dtype.itemsize


def save_streamed(tensors: Mapping[str, Made], path: Path) -> None:
    """Write one file, the widest types first as safetensors itself orders them, so that all of them are aligned.

    Raises:
        ValueError: a tensor is not what was said of it.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in names:
        one = tensors[name]
        end = at + one.nbytes
        header[name] = {"dtype": WORDS[one.dtype], "shape": list(one.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            tensor = tensors[name].make().detach().cpu().contiguous()
            if (tuple(tensor.shape), tensor.dtype) != (tensors[name].shape, tensors[name].dtype):
                raise ValueError(f"Tensor {name!r} has shape {tuple(tensor.shape)} and type {tensor.dtype}.")
            file.write(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
