"""What a model is: a checkpoint's folder, or a family that is trained from nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job.paths import check_checkpoint
from job.shrink.decisions import Decision, Undecided
from search_space import plugins

if TYPE_CHECKING:
    from search_space.inputs import Input
    from search_space.space import SearchSpace


@dataclass(frozen=True)
class Model:
    """A family, and where its weights come from.

    Attributes:
        preset: None of a checkpoint, and of a family of which nobody has said how large it is.
        pretrained: the checkpoint's folder; None: weights start random.
        decisions: what was found out.
    """

    family: str
    preset: str | None
    pretrained: Path | None
    decisions: tuple[Decision, ...] = ()

    @property
    def supernet(self) -> dict[str, Any]:
        """The supernet part of a job."""
        named = {"preset": self.preset, "pretrained": None if self.pretrained is None else str(self.pretrained)}
        return {"family": self.family, **{name: value for name, value in named.items() if value is not None}}

    @property
    def takes(self) -> Input | None:
        """What its networks take; None where no preset is known yet."""
        return None if self.space is None else self.space.takes

    @cached_property
    def checkpoint(self) -> Mapping[str, Any] | None:
        """The configuration of its checkpoint; None where it starts random."""
        if self.pretrained is None:
            return None
        from search_space.checkpoint import read_checkpoint

        return read_checkpoint(self.pretrained).config

    @cached_property
    def space(self) -> SearchSpace | None:
        """All its networks; None where no preset is known yet."""
        if self.pretrained is not None:
            return plugins.load_family(self.family, None, None, self.checkpoint)
        return None if self.preset is None else plugins.load_family(self.family, self.preset)


def read_model(text: str) -> Model:
    """Find out what a model is.

    Raises:
        Undecided: neither a checkpoint's folder nor a family.
        PathRefused: the folder is not open to jobs.
        ValueError: no family starts from such a checkpoint.
    """
    if "/" in text and text.startswith(("/", "~")):
        return _checkpoint(text)
    family, _, preset = text.partition("/")
    if family not in plugins.FAMILIES.names():
        raise Undecided(
            f"{text!r} is no family ({', '.join(plugins.FAMILIES.names())}) and no absolute path of a checkpoint's "
            "folder. Nothing is downloaded: fetch it from the Hub first (`hf download NAME --local-dir FOLDER`)."
        )
    presets = tuple(plugins.FAMILIES.load(family).PRESETS)
    if preset and preset not in presets:
        raise Undecided(f"Family {family} has no preset {preset!r}. It has {', '.join(presets)}.")
    return Model(family, preset or None, None)


def _checkpoint(text: str) -> Model:
    check_checkpoint(text)
    folder = Path(text).expanduser()
    config = folder / "config.json"
    if not folder.exists():
        raise Undecided(f"There is no folder {text}; give that of a checkpoint, or a family such as mobilenet.")
    if not config.is_file():
        raise Undecided(f"{text} has no config.json, so it is not the folder of a Hugging Face checkpoint.")
    from search_space.checkpoint import MAX_JSON_BYTES, read_checkpoint

    if config.stat().st_size > MAX_JSON_BYTES:
        raise Undecided(f"config.json in {text} is no configuration: it has more than {MAX_JSON_BYTES:,} bytes.")
    try:
        facts = json.loads(config.read_text())
    except ValueError as error:
        raise Undecided(f"config.json in {text} is not readable JSON: {error}. Copy the checkpoint again.") from None
    if not isinstance(facts, dict) or not {"model_type", "architecture"} & facts.keys():
        raise Undecided(
            f"config.json in {text} names neither model_type nor timm's or torchvision's architecture, so nobody knows "
            "what it is. Give the folder of a checkpoint."
        )
    named = "model_type" if "model_type" in facts else "architecture"
    family = plugins.family_of(facts if named == "model_type" else read_checkpoint(folder).config)
    found = Decision("family", family, f"the checkpoint's {named} is {facts[named]}", "supernet.family")
    return Model(family, None, folder, (found,))
