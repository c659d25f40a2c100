"""Several checkpoints as one: what a family that joins networks, such as `stitched`, starts from.

Its configuration lists those of its parts, and its tensors have the parts' names behind the part's number in the list
and a colon: `2:vit.layernorm.weight`. What the parts say beside their weights must agree, because one network runs
through several of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search_space.checkpoint import Checkpoint, CheckpointError, Layout, Matched, Place, read_checkpoint
from search_space.companions import label_names
from search_space.plugins import JOINED
from search_space.vocabularies import differ, vocabularies

# The key under which a configuration of the model type `JOINED` lists others.
PARTS = "anchors"


def read_checkpoints(folders: str | Path | Sequence[str | Path]) -> Checkpoint:
    """One folder as it is, or several as one checkpoint.

    Raises:
        CheckpointError: a folder is none, a list of one folder, a folder that is named twice, or folders whose
            tokenizers or names of classes differ.
    """
    if isinstance(folders, str | Path):
        return read_checkpoint(folders)
    if len(folders) < 2:
        raise CheckpointError(
            f"Got a list of {len(folders)} checkpoint{'' if len(folders) == 1 else 's'}; name two or more to be "
            "stitched, or one as a text without a list."
        )
    parts = tuple(read_checkpoint(folder) for folder in folders)
    first = parts[0]
    places = [part.folder.resolve() for part in parts]
    for place in places:
        if places.count(place) > 1:
            raise CheckpointError(f"Checkpoint {str(place)!r} is listed twice; name different ones.")
    words = [vocabularies(part.folder) for part in parts]
    for one, known in enumerate(words):
        for other, theirs in enumerate(words[:one]):
            if (said := differ(theirs, known)) is not None:
                raise CheckpointError(
                    f"{parts[other].folder} and {parts[one].folder} have different tokenizers: {said}. A stitched "
                    "network reads tokens of one vocabulary; take checkpoints of one series."
                )
    labelled = [part for part in parts if label_names(part.config) is not None]
    for part in labelled[1:]:
        if label_names(part.config) != label_names(labelled[0].config):
            raise CheckpointError(
                f"{labelled[0].folder} and {part.folder} give their classes different names or another order "
                "(id2label). A stitched network has one classifier; take checkpoints of the same classes."
            )
    config: dict[str, Any] = {"model_type": JOINED, PARTS: [part.config for part in parts]}
    for key in ("id2label", "label2id"):
        if labelled and key in labelled[0].config:
            config[key] = labelled[0].config[key]
    types = {str(part.config.get("dtype") or part.config.get("torch_dtype")) for part in parts} - {"None"}
    notes = [f"{part.folder.name}: {note}" for part in parts for note in part.notes]
    if len(types) == 1:
        config["dtype"] = types.pop()
    elif types:
        config["dtype"] = "float32"
        notes.append(f"The checkpoints have numbers of different types ({', '.join(sorted(types))}): float32 is used.")
    tensors = {
        f"{number}:{name}": replace(stored, file=str(place / stored.file), own=name)
        for number, (part, place) in enumerate(zip(parts, places, strict=True), 1)
        for name, stored in part.tensors.items()
    }
    return Checkpoint(first.folder, config, tensors, tuple(notes), parts)


@dataclass(frozen=True, slots=True)
class JoinedLayout:
    """What several checkpoints together hold.

    Attributes:
        parts: the layout of each, in their order, and what stands before the names of its slots.
    """

    parts: tuple[tuple[Layout, str], ...]

    def match(self, checkpoint: Checkpoint) -> Matched:
        """Check each part's tensors against its layout; see `Layout.match`.

        Raises:
            CheckpointError: a part does not fit, or there are more or fewer of them.
        """
        if len(checkpoint.parts) != len(self.parts):
            raise CheckpointError(
                f"{checkpoint.folder} is {max(1, len(checkpoint.parts))} of {len(self.parts)} checkpoints; name all."
            )
        loads: dict[str, Place] = {}
        dropped: list[str] = []
        fresh: list[str] = []
        for number, ((layout, prefix), part) in enumerate(zip(self.parts, checkpoint.parts, strict=True), 1):
            matched = layout.match(part)
            loads |= {f"{number}:{name}": _moved(place, prefix) for name, place in matched.loads.items()}
            dropped += [f"{number}:{name}" for name in matched.dropped]
            fresh += [f"{number}:{name}" for name in matched.fresh]
        return Matched(loads, tuple(dropped), tuple(fresh))


def _moved(place: Place, prefix: str) -> Place:
    split = tuple(replace(piece, slot=prefix + piece.slot) for piece in place.split)
    return replace(place, slot=place.slot and prefix + place.slot, split=split)
