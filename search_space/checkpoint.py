"""Checkpoint: a Hugging Face folder as it lies on the disk, read without torch and without its weights.

Only `config.json` and the headers of the safetensors files are read, so that a bad checkpoint is refused
when a job is submitted and a good one of any size costs milliseconds. Pickled weights are never opened.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# safetensors refuses larger headers too.
MAX_HEADER_BYTES = 100_000_000
# An index of a hundred thousand tensors fits.
MAX_JSON_BYTES = 50_000_000


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
    if path.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f"{path} has more than {MAX_JSON_BYTES:,} bytes, which no checkpoint's does.")
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


# --- which tensor goes where ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of a checkpoint goes.

    Attributes:
        slot, parameter: of the supernet.
        shape: that the tensor must have.
        optional: whether the parameter keeps fresh values where the checkpoint has no such tensor, as a
            new classifier does.
    """

    slot: str
    parameter: str
    shape: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What a checkpoint of a family holds.

    Attributes:
        places: tensor name -> its place.
        droppable: patterns of tensors that may be there and are not used, such as another task's head.
    """

    places: dict[str, Place]
    droppable: tuple[str, ...] = ()

    def match(self, checkpoint: Checkpoint) -> Matched:
        """Check a checkpoint's tensors against the layout.

        Raises:
            CheckpointError: tensors are missing, of the wrong shape, or unknown; the first few are named.
        """
        stored, folder = checkpoint.tensors, checkpoint.folder
        missing = [name for name, place in self.places.items() if name not in stored and not place.optional]
        if missing:
            raise CheckpointError(
                f"{folder} lacks {_some(missing)}. Its config.json asks for them; is it the right configuration, "
                "and are all files there?"
            )
        loads, dropped = {}, []
        for name, tensor in stored.items():
            place = self.places.get(name)
            if place is None:
                dropped.append(name)
            elif _without_ones(tensor.shape) == _without_ones(place.shape):
                loads[name] = place
            elif place.optional:
                dropped.append(name)
            else:
                raise CheckpointError(
                    f"Tensor {name!r} of {folder} has shape {tensor.shape}; its config.json asks for {place.shape}."
                )
        unknown = [name for name in dropped if name not in self.places and not self._may_drop(name)]
        if unknown:
            raise CheckpointError(
                f"{folder} holds {_some(unknown)}, which its config.json does not ask for. "
                "Is it the right configuration?"
            )
        fresh = sorted(name for name in self.places if name not in loads)
        return Matched(loads, tuple(sorted(dropped)), tuple(fresh))

    def _may_drop(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.droppable)


@dataclass(frozen=True, slots=True)
class Matched:
    """How a checkpoint fits a layout.

    Attributes:
        loads: tensors that are loaded, with their places.
        dropped: tensors that are there and not used.
        fresh: tensors that are not there and whose parameters keep fresh values.
    """

    loads: dict[str, Place]
    dropped: tuple[str, ...]
    fresh: tuple[str, ...]


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its dimensions of size one, which checkpoints like to add to single vectors."""
    return tuple(size for size in shape if size != 1)


def _some(names: list[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:3])
    return f"the tensor {listed}" if len(names) == 1 else f"{len(names)} tensors ({listed}{', ...' * (len(names) > 3)})"


class ConfigReader:
    """Reads what a family needs from a checkpoint's configuration.

    Args:
        config: the content of config.json.
        model_types: those that the family supports.

    Raises:
        CheckpointError: another model type, or quantized weights.
    """

    def __init__(self, config: Mapping[str, Any], model_types: tuple[str, ...]) -> None:
        self.config = config
        self.model_type = str(config.get("model_type"))
        if self.model_type not in model_types:
            raise CheckpointError(
                f"The checkpoint's model_type is {config.get('model_type')!r}; this family supports "
                f"{', '.join(model_types)}."
            )
        if config.get("quantization_config"):
            raise CheckpointError("The checkpoint's weights are quantized; start from the full-precision ones.")

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1.

        Raises:
            CheckpointError: it is missing and there is no default, or it is something else.
        """
        value = self.config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"config.json must give {key!r} as a whole number of at least 1; got {value!r}.")
        return value

    def ratio(self, key: str, default: float) -> float:
        """A number of at least 0, such as a dropout or an epsilon."""
        value = self.config.get(key)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise CheckpointError(f"config.json must give {key!r} as a number of at least 0; got {value!r}.")
        return float(value)

    def one_of(self, key: str, known: Mapping[str, str], default: str) -> str:
        """What a word of the configuration stands for."""
        value = self.config.get(key) or default
        if value not in known:
            raise CheckpointError(f"config.json has {key} {value!r}; supported are {', '.join(known)}.")
        return known[value]

    def task(self, known: tuple[str, ...]) -> str:
        """The class that the checkpoint was saved from.

        Raises:
            CheckpointError: it is for another task.
        """
        named = self.config.get("architectures") or [known[0]]
        if named[0] not in known:
            raise CheckpointError(f"The checkpoint is a {named[0]}; this family starts from {', '.join(known)}.")
        return str(named[0])

    def num_labels(self) -> int:
        """Number of classes of a classifier (transformers' default is 2)."""
        labels = self.config.get("id2label")
        return len(labels) if isinstance(labels, Mapping) else self.whole("num_labels", 2)


def shares(total: int, quarters: tuple[int, ...], multiple: int) -> tuple[int, ...]:
    """Quarters of a size, rounded to a multiple (of 1 where the size is not one); the size itself is last."""
    step = multiple if total % multiple == 0 else 1
    parts = {max(step, round(total * quarter / 4 / step) * step) for quarter in quarters}
    return tuple(sorted({part for part in parts if part < total} | {total}))
