"""Companions: what a checkpoint's folder says beside its weights, read without torch.

Names of classes (`id2label`), how images become numbers (`preprocessor_config.json`), the type of its numbers, and
whether it has a tokenizer. What is read here changes results, so what cannot be honoured is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_space.beit3_configs import processor_of_beit3
from search_space.checkpoint import CONFIG, MAX_JSON_BYTES, Checkpoint, CheckpointError, Matched
from search_space.timm_configs import processor_of_timm

PROCESSOR, PROCESSORS = "preprocessor_config.json", "processor_config.json"
# What the processors of a family take for keys that an old file leaves out (transformers' ViTImageProcessor, which was
# called ViTFeatureExtractor). Of another class every number must be in the file.
PROCESSOR_CLASSES = ("ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor")
DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "size": 224,
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": 0.5,
    "image_std": 0.5,
    "do_center_crop": False,
}
# Pillow's numbers of its filters.
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
# Switches of processors that change nothing here: images are decoded in the channels that the network takes.
HARMLESS = ("do_convert_rgb", "do_resize", "do_rescale", "do_normalize", "do_center_crop")
# Names that transformers makes up where nobody gave any.
NAMELESS = re.compile(r"LABEL_\d+")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a checkpoint turns a picture into what its network eats: resize, cut the centre, rescale, standardise.

    Attributes:
        mean, std: per channel, of pixels that were multiplied by `scale`.
        scale: scale of pixels from 0 to 255.
        edge: pixels to which the picture is resized; None: it is not.
        keeps_ratio: whether its shorter side becomes `edge`, or both sides do.
        resample: a filter of Pillow, such as `bilinear`.
        crop: pixels a side of the centre that is cut out then; None: all of it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float
    edge: int | None
    keeps_ratio: bool
    resample: str
    crop: int | None

    def pixel_statistics(self, full_scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation in units of stored pixels, of which `full_scale` is white."""
        unit = full_scale / 255 / self.scale
        return tuple(m * unit for m in self.mean), tuple(s * unit for s in self.std)

    def __str__(self) -> str:
        """What happens to a picture before its numbers are standardised."""
        side = "shorter side" if self.keeps_ratio else "both sides"
        steps = [] if self.edge is None else [f"{side} resized to {self.edge} pixels ({self.resample})"]
        steps += [] if self.crop is None else [f"centre of {self.crop} pixels"]
        return ", ".join(steps) or "images of the network's size, not resized"


def image_preprocessing(folder: Path, size: int, channels: int) -> Preprocessing | None:
    """What preprocessor_config.json says; None where there is no such file.

    Args:
        size, channels: size and channels of the images that the network takes.

    Raises:
        CheckpointError: the file is damaged, gives other images than the network takes, or asks for a step that is not
            supported.
    """
    given = _processor(folder)
    if given is None:
        return None
    kind = given.get("image_processor_type") or given.get("feature_extractor_type")
    defaults = DEFAULTS if kind is None or kind in PROCESSOR_CLASSES else {"do_center_crop": False}
    read = _Processor(folder / PROCESSOR, given, defaults)
    edge, keeps_ratio = read.resizing()
    crop = read.edges("crop_size")[0] if read.switch("do_center_crop") else None
    mean, std = (0.0,) * channels, (1.0,) * channels
    if read.switch("do_normalize"):
        mean, std = read.per_channel("image_mean", channels), read.per_channel("image_std", channels)
    scale = read.number("rescale_factor") if read.switch("do_rescale") else 1.0
    gives = crop or (edge if not keeps_ratio else None)
    if keeps_ratio and crop is None:
        raise read.refused("keeps the ratio of sides and cuts no square out: a ViT takes squares")
    if gives is not None and gives != size:
        raise read.refused(f"gives images of {gives} pixels, and config.json has an image_size of {size}")
    if crop is not None and edge is not None and crop > edge:
        raise read.refused(f"cuts {crop} pixels out of {edge}")
    resample = read.get("resample") if edge is not None else 2
    if resample not in RESAMPLING or isinstance(resample, bool):
        raise read.refused(f"has resample {resample!r}; Pillow's filters are the numbers 0 to 5")
    return Preprocessing(mean, std, scale, edge, keeps_ratio, RESAMPLING[resample], crop)


def image_side(folder: Path) -> int | None:
    """Pixels a side of the squares that the folder's processor gives; None where there is none, or it keeps ratios.

    Raises:
        CheckpointError: the file is damaged.
    """
    given = _processor(folder)
    if given is None:
        return None
    read = _Processor(folder / PROCESSOR, given, {"do_resize": True, "do_center_crop": False, "size": 224})
    if read.switch("do_center_crop"):
        return read.edges("crop_size")[0]
    edge, keeps_ratio = read.resizing()
    return None if keeps_ratio else edge


def _processor(folder: Path) -> dict[str, Any] | None:
    for name in (PROCESSOR, PROCESSORS):
        if not (folder / name).is_file():
            continue
        if (folder / name).stat().st_size > MAX_JSON_BYTES:
            raise CheckpointError(
                f"{folder / name} has more than {MAX_JSON_BYTES:,} bytes, which no checkpoint's does."
            )
        try:
            given = json.loads((folder / name).read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{folder / name} is not readable JSON: {error}.") from None
        if isinstance(given, dict) and name == PROCESSORS:
            given = given.get("image_processor")
            if given is None:
                continue
        if not isinstance(given, dict):
            raise CheckpointError(f"{folder / name} must hold a mapping; got {type(given).__name__}.")
        return _plain_steps(given)
    config = folder / CONFIG
    if not config.is_file():
        return None
    said = json.loads(config.read_text(encoding="utf-8"))
    return processor_of_beit3(said) or processor_of_timm(said)


def _plain_steps(given: dict[str, Any]) -> dict[str, Any]:
    """What two classes of processors do in words of their own, in those of all others.

    ConvNeXt's cuts its square out of one that is larger by `crop_pct`, or from 384 pixels on squeezes the image into
    it; EfficientNet's divides by the deviation once more where it has a top (transformers 5.24).
    """
    kind = str(given.get("image_processor_type") or given.get("feature_extractor_type") or "")
    made = dict(given)
    if kind.startswith("ConvNext"):
        share, size = made.pop("crop_pct", None), made.get("size")
        side = size.get("shortest_edge") if isinstance(size, Mapping) else size
        if made.get("do_resize", True) and isinstance(side, int) and not isinstance(side, bool):
            share = 224 / 256 if share is None else share
            cuts = side < 384 and isinstance(share, int | float) and 0 < share <= 1
            square = {"height": side, "width": side}
            made |= {"do_center_crop": cuts, "crop_size": square}
            made["size"] = {"shortest_edge": int(side / share)} if cuts else square
    deviation = made.get("image_std")
    if kind.startswith("EfficientNet") and made.pop("include_top", True) and isinstance(deviation, list):
        if made.get("do_normalize", True):
            made["image_std"] = [s * s if isinstance(s, int | float) else s for s in deviation]
        else:
            made |= {"do_normalize": True, "image_mean": [0.0] * len(deviation)}
    return made


class _Processor:
    """Reads the keys of a processor's file."""

    def __init__(self, path: Path, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._path, self._given, self._defaults = path, given, defaults
        strange = [key for key, value in given.items() if key.startswith("do_") and value and key not in HARMLESS]
        if given.get("crop_pct") is not None or given.get("rescale_offset"):
            strange += ["crop_pct" if given.get("crop_pct") is not None else "rescale_offset"]
        if strange:
            raise self.refused(f"asks for {strange[0]}, which is not supported")

    def refused(self, reason: str) -> CheckpointError:
        """The error that says so."""
        return CheckpointError(f"{self._path} {reason}.")

    def get(self, key: str) -> Any:
        """A key's value, or the family's own."""
        value = self._given.get(key)
        if value is None:
            value = self._defaults.get(key)
        if value is None:
            raise self.refused(f"has no {key!r}")
        return value

    def switch(self, key: str) -> bool:
        """True or false."""
        value = self.get(key)
        if not isinstance(value, bool):
            raise self.refused(f"must give {key!r} as true or false; got {value!r}")
        return value

    def number(self, key: str) -> float:
        """A number above 0."""
        value = self.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise self.refused(f"must give {key!r} as a number above 0; got {value!r}")
        return float(value)

    def per_channel(self, key: str, channels: int) -> tuple[float, ...]:
        """A number for each channel; one number stands for all."""
        value = self.get(key)
        values = list(value) if isinstance(value, list | tuple) else [value] * channels
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if not numbers or len(values) != channels or (key == "image_std" and not all(v > 0 for v in values)):
            raise self.refused(f"must give {key!r} as {channels} numbers, one for each channel; got {value!r}")
        return tuple(float(v) for v in values)

    def resizing(self) -> tuple[int | None, bool]:
        """Pixels to resize to, and whether they are those of the shorter side; None: nothing is resized."""
        return self.edges("size") if self.switch("do_resize") else (None, False)

    def edges(self, key: str) -> tuple[int, bool]:
        """Pixels of a square, or (True) of the shorter side."""
        value = self.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value, False
        if isinstance(value, Mapping):
            known = {name: number for name, number in value.items() if number is not None}
            if set(known) == {"height", "width"} and known["height"] == known["width"]:
                return int(known["height"]), False
            if set(known) == {"shortest_edge"}:
                return int(known["shortest_edge"]), True
        raise self.refused(f"must give {key!r} as the side of a square or a shortest_edge; got {value!r}")


# --- names of classes ------------------------------------------------------------------------------------------


def label_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes in the order of the classifier's outputs; None where the checkpoint has none of its own.

    Raises:
        CheckpointError: id2label does not number its names from 0, or label2id contradicts it.
    """
    given = config.get("id2label")
    if not isinstance(given, Mapping) or not given:
        return None
    try:
        numbered = {int(number): str(name) for number, name in given.items()}
    except (TypeError, ValueError):
        numbered = {}
    if sorted(numbered) != list(range(len(given))):
        raise CheckpointError(
            f"config.json must number id2label from 0 to {len(given) - 1}; got {', '.join(map(str, given))}."
        )
    stated = config.get("label2id")
    back: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {}
    for number, name in numbered.items():
        if name in back and back[name] != number and list(numbered.values()).count(name) == 1:
            raise CheckpointError(
                f"config.json says two things: id2label calls class {number} {name!r}, and label2id gives {name!r} the "
                f"number {back[name]!r}. Correct the wrong one."
            )
    names = tuple(numbered[number] for number in range(len(numbered)))
    if all(NAMELESS.fullmatch(name) for name in names) or len(set(names)) < len(names):
        return None
    return names


@dataclass(frozen=True, slots=True)
class Numbering:
    """Which number of a classifier each class of the data has.

    Attributes:
        numbers: numbers of the data's classes, in the data's order; None where they cannot be told.
        how: by what they were told, or why they cannot be, as a sentence.
    """

    numbers: tuple[int, ...] | None
    how: str


def numbering(names: Sequence[str] | None, count: int, classes: Sequence[str]) -> Numbering:
    """Match a checkpoint's classes and those of the data.

    Names are the same but for case, blanks, hyphens and underscores, as transformers' own examples compare them without
    case; the data may lack some. Data whose labels are the numbers 0 to n-1 have the classifier's own.

    Args:
        names: names of the checkpoint's classes; None: it has none.
        count: number of classes.
        classes: classes of the data.
    """
    if names is not None:
        for key in (str, _plain):
            known = {key(name): number for number, name in enumerate(names)}
            mine = [key(name) for name in classes]
            if len(known) == len(names) and len(set(mine)) == len(mine) and set(mine) <= set(known):
                found = tuple(known[name] for name in mine)
                return Numbering(found, "The data's classes have the numbers that the checkpoint gives their names.")
    if sorted(classes) == sorted(str(number) for number in range(count)):
        called = "" if names is None else f": {_listed(names)}, from 0 on"
        how = (
            f"The data's labels are the numbers 0 to {count - 1}, which are those of the checkpoint's classes{called}."
        )
        return Numbering(tuple(int(name) for name in classes), how)
    theirs = "has no names for its classes" if names is None else f"has classes {_listed(names)}"
    return Numbering(None, f"The checkpoint {theirs}, and the data have {_listed(classes)}: they cannot be matched.")


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip()).casefold()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")


# --- type of the numbers ---------------------------------------------------------------------------------------

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def float_type(checkpoint: Checkpoint, matched: Matched) -> str:
    """The type of a checkpoint's numbers: what its configuration says, or else that of all weights that are loaded.

    Raises:
        CheckpointError: the configuration names a type that is none.
    """
    said = checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype")
    if said is not None:
        name = str(said).removeprefix("torch.")
        if name not in DTYPES.values():
            raise CheckpointError(f"config.json has dtype {said!r}; known are {', '.join(DTYPES.values())}.")
        return name
    found = {DTYPES[checkpoint.tensors[name].dtype] for name in matched.loads}
    return found.pop() if len(found) == 1 else "float32"
