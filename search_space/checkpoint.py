"""Checkpoint: a Hugging Face folder as it lies on the disk, read without torch and without its weights.

Only `config.json` and the headers of the safetensors files are read, so that a bad checkpoint is refused
when a job is submitted and a good one of any size costs milliseconds. Pickled weights are never opened.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# safetensors refuses larger headers too.
MAX_HEADER_BYTES = 100_000_000


class CheckpointError(ValueError):
    """The folder is not a checkpoint that can be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a checkpoint: where it is and its shape."""

    file: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a configuration and tensors by name."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Stored]


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a folder's configuration and the headers of its weights.

    Raises:
        CheckpointError: no such folder, no or a broken config.json, no safetensors, a pickle instead, a
            file that the index names and that is missing, or a truncated or damaged file.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint folder {str(folder)!r}; give the path of one with {CONFIG}.")
    config = _json(folder / CONFIG, "a Hugging Face checkpoint has one beside its weights")
    tensors: dict[str, Stored] = {}
    for file in _files(folder):
        for name, stored in _header(folder / file):
            if name in tensors:
                raise CheckpointError(f"Tensor {name!r} of {folder} is in both {tensors[name].file} and {file}.")
            tensors[name] = stored
    return Checkpoint(folder, config, tensors)


def _json(path: Path, hint: str) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; {hint}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold a mapping; got {type(content).__name__}.")
    return content


def _files(folder: Path) -> list[str]:
    """Names of the files with weights: one, or those that the index names."""
    if (folder / INDEX).is_file():
        index = _json(folder / INDEX, "it lists the shards").get("weight_map")
        if not isinstance(index, Mapping) or not index:
            raise CheckpointError(f"{folder / INDEX} has no weight_map; save the checkpoint again.")
        files = sorted({str(file) for file in index.values()})
        outside = [file for file in files if Path(file).name != file]
        if outside:
            raise CheckpointError(f"{folder / INDEX} names {outside[0]!r}, which is not a file of its folder.")
        missing = [file for file in files if not (folder / file).is_file()]
        if missing:
            raise CheckpointError(
                f"{folder / INDEX} names {missing[0]!r}, which is missing ({len(missing)} of {len(files)} files are). "
                "Copy the whole checkpoint."
            )
        return files
    if (folder / SINGLE).is_file():
        return [SINGLE]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if pickles:
        raise CheckpointError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), which can run any code when it is opened. "
            f'Convert it where you trust it: python -c "from transformers import AutoModel; '
            f'AutoModel.from_pretrained({str(folder)!r}).save_pretrained({str(folder) + "-safetensors"!r})" '
            "(with the class of its task instead of AutoModel, such as AutoModelForCausalLM, to keep its head)."
        )
    raise CheckpointError(f"{folder} has no weights: expected {SINGLE}, or {INDEX} with its shards.")


def _header(path: Path) -> Iterator[tuple[str, Stored]]:
    """Tensors of one safetensors file (eight bytes of length, JSON, data)."""
    size = path.stat().st_size
    broken = f"{path} is truncated or damaged"
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise CheckpointError(f"{broken}: it has {size} bytes. Copy it again.")
        (length,) = struct.unpack("<Q", start)
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise CheckpointError(f"{broken}: its header should have {length} bytes. Copy it again.")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise CheckpointError(f"{broken}: its header is not JSON. Copy it again.") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{broken}: its header is not a mapping. Copy it again.")
    end = 0
    for name, facts in header.items():
        if name == "__metadata__":
            continue
        try:
            shape, dtype = tuple(int(n) for n in facts["shape"]), str(facts["dtype"])
            end = max(end, int(facts["data_offsets"][1]))
        except (KeyError, TypeError, ValueError, IndexError):
            raise CheckpointError(f"{broken}: its header does not describe {name!r}. Copy it again.") from None
        yield name, Stored(path.name, shape, dtype)
    if 8 + length + end != size:
        raise CheckpointError(
            f"{broken}: it has {size} bytes, and its header speaks of {8 + length + end}. Copy it again."
        )
