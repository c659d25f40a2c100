"""Checkpoint: a Hugging Face folder as it lies on the disk, read without torch and without its weights.

Only `config.json` and the headers of the safetensors files are read, so that a bad checkpoint is refused
when a job is submitted and a good one of any size costs milliseconds. Pickled weights are never opened.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from search_space.beit3_configs import of_beit3
from search_space.config_reader import CheckpointError, ConfigReader, shares
from search_space.sentences import POOLING, sentence_pooling
from search_space.spellings import Spelling
from search_space.timm_configs import of_timm

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ConfigReader",
    "Layout",
    "Matched",
    "Piece",
    "Place",
    "Stored",
    "read_checkpoint",
    "shares",
    "without_ones",
]

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# safetensors refuses larger headers too.
MAX_HEADER_BYTES = 100_000_000
# An index of a hundred thousand tensors fits.
MAX_JSON_BYTES = 50_000_000
# safetensors' words for numbers that are weights as they are; anything else is packed or scaled.
FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# The output layers of decoders, and the embeddings that they may be tied to.
HEADS = ("lm_head.weight", "embed_out.weight")
EMBEDDINGS = (
    "model.embed_tokens.weight",
    "embed_tokens.weight",
    "transformer.wte.weight",
    "wte.weight",
    "gpt_neox.embed_in.weight",
)
# Model types whose head is the embedding where config.json does not say.
TIED = ("gemma", "gemma2", "gemma3_text", "gpt2", "smollm3")
# Model types that take images of any side, and the key under which a configuration keeps its side then.
ANY_SIDE = (
    "convnext",
    "convnextv2",
    "dinov2",
    "dinov2_with_registers",
    "efficientnet",
    "mobilenet",
    "mobilenet_v2",
    "resnet",
)
IMAGE_SIDE = "winnow_image_size"
# Bytes that are compared at once.
COMPARED = 1 << 24


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a checkpoint: where it is and its shape.

    Attributes:
        dtype: safetensors' word, such as `BF16`.
        start, stop: its bytes in the file.
        own: its name in the file, where that is another.
    """

    file: str
    shape: tuple[int, ...]
    dtype: str
    start: int = 0
    stop: int = 0
    own: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a configuration and tensors by name.

    Attributes:
        config: contents of config.json, with what transformers itself makes of it once it has seen the weights.
        notes: sentences for whoever uses it.
        parts: the checkpoints that it consists of, where it is several folders (`search_space.joined`).
    """

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Stored]
    notes: tuple[str, ...] = ()
    parts: tuple[Checkpoint, ...] = ()


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read a folder's configuration and the headers of its weights.

    Like transformers, it takes `model.safetensors` before an index of shards, and keeps an output layer that is stored
    with other values than the embedding that config.json ties it to.

    Raises:
        CheckpointError: no such folder, no or a broken config.json, no safetensors, a pickle instead, a
            file that the index names and that is missing, or a truncated or damaged file.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"There is no checkpoint folder {str(folder)!r}; give the path of one with {CONFIG}.")
    config = _json(
        folder / CONFIG,
        'a Hugging Face checkpoint has one beside its weights; for those of timm or torchvision write {"architecture": '
        '"resnet50"} with the name of theirs',
    )
    tensors: dict[str, Stored] = {}
    files = _files(folder)
    for file in files:
        for name, stored in _header(folder / file):
            if name in tensors:
                raise CheckpointError(f"Tensor {name!r} of {folder} is in both {tensors[name].file} and {file}.")
            tensors[name] = stored
    config |= of_beit3(config, tensors) or of_timm(config, tensors)
    notes = []
    if files == [SINGLE] and (folder / INDEX).is_file():
        notes.append(
            f"The checkpoint has {SINGLE} and an index of shards beside it; like transformers, only {SINGLE} is read."
        )
    embedding = next((name for name in EMBEDDINGS if name in tensors), None)
    head = next((name for name in HEADS if name in tensors), None)
    ties = config.get("tie_word_embeddings", config.get("model_type") in TIED) is True
    if ties and head and embedding and not _equal(folder, tensors[head], tensors[embedding]):
        config = {**config, "tie_word_embeddings": False}
        notes.append(
            f"config.json ties {head} to {embedding}, but both are stored and differ; like transformers, both are "
            "kept, and they are not tied."
        )
    config |= _image_side(folder, config)
    pooling = sentence_pooling(folder)
    if pooling is not None:
        config = {**config, POOLING: pooling}
        unit = ", made as long as 1" if pooling["unit"] else ""
        notes.append(f"The folder is a sentence encoder: a text's vector is the {pooling['mode']} of its tokens{unit}.")
    return Checkpoint(folder, config, tensors, tuple(notes))


def _image_side(folder: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """The side of the images that the processor gives, where the network takes any and config.json has another.

    DINOv2's configuration has the side of its last training, and its processor a smaller one: transformers resizes the
    positions to what it is given.
    """
    from search_space.companions import image_side  # which reads checkpoints

    side = image_side(folder) if config.get("model_type") in ANY_SIDE else None
    return {} if side is None or side == config.get("image_size") else {IMAGE_SIDE: side}


def _equal(folder: Path, one: Stored, other: Stored) -> bool:
    """Whether two stored tensors hold the same bytes. Tensors of two types do not: transformers compares them as they
    are loaded, in one type, and rounding makes them differ."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    with (folder / one.file).open("rb") as left, (folder / other.file).open("rb") as right:
        left.seek(one.start)
        right.seek(other.start)
        remaining = one.stop - one.start
        while remaining > 0:
            size = min(COMPARED, remaining)
            if left.read(size) != right.read(size):
                return False
            remaining -= size
    return True


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
    """Names of the files with weights: one, or where there is none those that the index names."""
    if (folder / SINGLE).is_file():
        return [SINGLE]
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
            start, stop = (8 + length + int(offset) for offset in facts["data_offsets"])
            end = max(end, stop - 8 - length)
        except (KeyError, TypeError, ValueError, IndexError):
            raise CheckpointError(f"{broken}: its header does not describe {name!r}. Copy it again.") from None
        yield name, Stored(path.name, shape, dtype, start, stop)
    if 8 + length + end != size:
        raise CheckpointError(
            f"{broken}: it has {size} bytes, and its header speaks of {8 + length + end}. Copy it again."
        )


# --- which tensor goes where ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a stored tensor that are one parameter.

    Attributes:
        slot, parameter: slot and parameter of the supernet.
        start, stop: rows of each block that go there; a stop of 0: all of them.
        blocks: equal blocks that the stored rows fall into, such as one for each head.
        transposed: whether the stored tensor's columns are the parameter's rows.
        grid: sides of the squares of positions that are stored and wanted, behind a first row of its own: they are
            resized, bicubic; (0, 0): they are not.
        antialias: whether the resizing smooths, where the square gets smaller.
        cuts: (axis, start, length) of the part that goes there; none: all of it.
        order: axes of that part in the parameter's order; none: as they are.
    """

    slot: str
    parameter: str
    start: int = 0
    stop: int = 0
    blocks: int = 1
    transposed: bool = False
    grid: tuple[int, int] = (0, 0)
    antialias: bool = False
    cuts: tuple[tuple[int, int, int], ...] = ()
    order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of a checkpoint goes.

    Attributes:
        slot, parameter: slot and parameter of the supernet; empty where it goes to several.
        shape: that the tensor must have.
        optional: whether the parameter keeps fresh values where the checkpoint has no such tensor, as a
            new classifier does.
        fresh: whether it keeps them even so, because the stored tensor is of another task.
        split: what its rows are, where they are not one parameter as it stands.
    """

    slot: str
    parameter: str
    shape: tuple[int, ...]
    optional: bool = False
    fresh: bool = False
    split: tuple[Piece, ...] = ()

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The parameters that it fills."""
        return self.split or (Piece(self.slot, self.parameter),)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a checkpoint of a family holds.

    Attributes:
        places: tensor name -> its place.
        droppable: patterns of tensors that may be there and are not used, such as another task's head.
        spelling: how the names of a file are read.
        stand_ins: tensor name -> another that is loaded in its place where it is not stored, such as a tied one.
    """

    places: dict[str, Place]
    droppable: tuple[str, ...] = ()
    spelling: Spelling = field(default_factory=Spelling)
    stand_ins: Mapping[str, str] = field(default_factory=dict)

    def match(self, checkpoint: Checkpoint) -> Matched:
        """Check a checkpoint's tensors against the layout.

        Raises:
            CheckpointError: tensors are missing, of the wrong shape or type, unknown, or stored under two of their
                names; the first few are named.
        """
        folder = checkpoint.folder
        stored = self._by_place(checkpoint)
        missing = [
            name for name, place in self.places.items() if name not in stored and not (place.optional or place.fresh)
        ]
        packed = [name for name in checkpoint.tensors if self._is_packed(checkpoint, name)]
        if packed:
            dtype = checkpoint.tensors[packed[0]].dtype
            raise CheckpointError(
                f"{folder} holds {_some(packed)} as {dtype}: weights that are quantized or packed, and config.json has "
                "no quantization_config that says how. Start from the full-precision checkpoint."
            )
        if missing:
            raise CheckpointError(
                f"{folder} lacks {_some(missing)}. Its config.json asks for them; is it the right configuration, "
                "and are all files there?"
            )
        loads, used = {}, set()
        for place_name, name in stored.items():
            place, shape = self.places[place_name], checkpoint.tensors[name].shape
            if place.fresh:
                continue
            if without_ones(shape) == without_ones(place.shape):
                loads[name] = place
                used.add(place_name)
            elif not place.optional:
                raise CheckpointError(
                    f"Tensor {name!r} of {folder} has shape {shape}; its config.json asks for {place.shape}."
                )
        dropped = [name for name in checkpoint.tensors if name not in loads]
        unknown = [name for name in dropped if name not in stored.values() and not self._may_drop(name)]
        if unknown:
            raise CheckpointError(
                f"{folder} holds {_some(unknown)}, which its config.json does not ask for. "
                "Is it the right configuration?"
            )
        fresh = sorted(name for name in self.places if name not in used)
        return Matched(loads, tuple(sorted(dropped)), tuple(fresh))

    def _by_place(self, checkpoint: Checkpoint) -> dict[str, str]:
        """Name in the layout -> name in the checkpoint.

        Raises:
            CheckpointError: a tensor is there under two of its names.
        """
        known = {self.spelling.renamed(name): name for name in self.places}
        found: dict[str, str] = {}
        for name in checkpoint.tensors:
            place = known.get(self.spelling.read(name, known))
            if place is None:
                continue
            if place in found:
                raise CheckpointError(
                    f"{checkpoint.folder} holds {found[place]!r} and {name!r}, which are two names of one tensor; "
                    "remove one of them."
                )
            found[place] = name
        for place, other in self.stand_ins.items():
            if place not in found and other in checkpoint.tensors:
                found[place] = other
        return found

    def _is_packed(self, checkpoint: Checkpoint, name: str) -> bool:
        return checkpoint.tensors[name].dtype not in FLOAT_BYTES and not self._may_drop(name)

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


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its dimensions of size one, which checkpoints like to add to single vectors."""
    return tuple(size for size in shape if size != 1)


def _some(names: list[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:3])
    return f"the tensor {listed}" if len(names) == 1 else f"{len(names)} tensors ({listed}{', ...' * (len(names) > 3)})"
