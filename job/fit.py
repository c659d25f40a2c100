"""Whether the networks of a space take what a data source gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_space.inputs import ImageInput, Input, PairInput, TokenInput
from supernet.data.options import DataKind
from supernet.options import AugmentationOptions

if TYPE_CHECKING:
    from job.data_spec import DataPart
    from search_space.space import SearchSpace


# Kinds of data that hold images with texts.
PAIRS: tuple[DataKind, ...] = ("pairs", "labelled pairs")


def misfit(space: SearchSpace, source: str, gives: Input | None) -> str | None:
    """Why the space and the data do not fit, as a sentence for the user; None if they do.

    Args:
        source: the data source's name.
        gives: what it gives; None if that is known only once the data is read.
    """
    takes = space.takes
    if takes is None or gives is None:
        return None
    if isinstance(takes, ImageInput) and isinstance(gives, ImageInput):
        reason = _images(takes, gives, resizes(space))
    elif isinstance(takes, TokenInput) and isinstance(gives, TokenInput):
        reason = _tokens(takes, gives)
    elif isinstance(takes, PairInput) and isinstance(gives, PairInput):
        reason = _pairs(takes, gives)
    else:
        reason = "choose a data source of the other kind, or another family"
    if reason is None:
        return None
    return f"{space.name} takes {takes}, but data source {source!r} gives {gives}: {reason}."


def stated_misfit(space: SearchSpace, data: DataPart) -> str | None:
    """As `misfit`, from the words of a job alone: what they say of the data's shape, before anybody has read them."""
    takes, gives = space.takes, data.gives()
    if gives is not None:
        return misfit(space, data.source, gives)
    length, size, channels = (getattr(data, name, None) for name in ("length", "size", "channels"))
    reason = None
    if isinstance(takes, TokenInput) and data.kind != "image" and length is not None and length > takes.max_length:
        reason = f"data.length is {length}; choose at most {takes.max_length}"
    elif isinstance(takes, ImageInput) and size is not None and size != takes.size and not resizes(space):
        reason = f"data.size is {size}, and its networks do not resize; choose {takes.size}"
    elif isinstance(takes, ImageInput) and channels is not None and channels != takes.channels:
        reason = f"data.channels is {channels}; choose {takes.channels}"
    elif data.kind is not None and isinstance(takes, PairInput) != (data.kind in PAIRS):
        reason = f"data source {data.source!r} gives {data.kind}; choose another source, or another family"
    elif isinstance(takes, PairInput) and data.kind is not None and data.kind != kind_of_pairs(takes):
        reason = _other_pairs(takes)
    elif isinstance(takes, PairInput) and data.kind is not None and takes.end is not None and _are_bytes(data):
        reason = (
            f"its texts are bytes, which no token ends, and the networks read up to token {takes.end}; put the "
            "checkpoint's tokenizer beside its weights, or name a folder with it in data.tokenizer"
        )
    elif isinstance(takes, PairInput) and data.kind is not None and None not in (length, size, channels):
        reason = _sizes_of_pairs(takes, int(channels or 0), int(size or 0), int(length or 0))
    return None if reason is None else f"{space.name} takes {takes}, but {reason}."


def kind_of_pairs(takes: PairInput) -> DataKind:
    """The kind of data that networks of images and texts learn from."""
    return "pairs" if takes.classes is None else "labelled pairs"


def _other_pairs(takes: PairInput) -> str:
    """Why pairs of the other kind do not fit."""
    if takes.classes is None:
        return "its networks compare images with texts, and a pair has no class; choose data source 'pairs'"
    return "its networks give each pair a class; choose data source 'labelled_pairs', whose pairs have one"


def _are_bytes(data: DataPart) -> bool:
    """Whether texts are read without a tokenizer."""
    return hasattr(data, "tokenizer") and data.tokenizer is None


def augmentation_misfit(options: AugmentationOptions, data: DataPart) -> str | None:
    """Why the data cannot be augmented so, as far as the words of a job tell; None if they can."""
    gives = data.gives()
    if options.is_on and (data.kind in ("text", "labelled text") or isinstance(gives, TokenInput)):
        return f"training.augmentation is for images, and data source {data.source!r} gives text; leave it out."
    if data.kind in PAIRS and (options.mixup or options.cutmix):
        return "Images with texts cannot be mixed: set training.augmentation.mixup and cutmix to 0."
    channels = gives.channels if isinstance(gives, ImageInput) else getattr(data, "channels", None)
    return None if channels is None else options.misfit(channels)


def resizes(space: SearchSpace) -> bool:
    """Whether every network resizes the images that it is given: its first layer is a `resize`."""
    if not space.has_layers:
        return False
    return all(
        next(iter(space.layers(architecture).values())).kind == "resize"
        for architecture in (space.smallest(), space.largest())
    )


def _images(takes: ImageInput, gives: ImageInput, resizes: bool) -> str | None:
    if takes.channels != gives.channels:
        return f"{gives.channels} channels where {takes.channels} are needed; choose another preset or other data"
    if takes.size != gives.size and not resizes:
        return f"{gives.size} pixels a side where {takes.size} are needed, and its networks do not resize"
    if takes.classes != gives.classes:
        return f"set supernet.classes to {gives.classes}"
    return None


def _tokens(takes: TokenInput, gives: TokenInput) -> str | None:
    if gives.vocab > takes.vocab:
        return f"its token ids go up to {gives.vocab - 1}; use the checkpoint's own tokenizer"
    if gives.length > takes.max_length:
        return f"{gives.length} tokens at a time, but the networks have {takes.max_length} positions"
    if takes.features is not None:
        if gives.classes is None:
            return "its networks have no head for that; choose a family that continues text"
        return f"set supernet.classes to {gives.classes}, and its networks get a classifier"
    if takes.classes != gives.classes:
        if gives.classes is None or takes.classes is None:
            hint = "; if a column holds labels, name it in data.label" if gives.classes is None else ""
            return f"one is text to be continued, the other text in classes{hint}"
        return f"set supernet.classes to {gives.classes}"
    return None


def _pairs(takes: PairInput, gives: PairInput) -> str | None:
    if (takes.classes is None) != (gives.classes is None):
        return _other_pairs(takes)
    if (reason := _sizes_of_pairs(takes, gives.channels, gives.size, gives.length)) is not None:
        return reason
    if gives.vocab > takes.vocab:
        return f"its token ids go up to {gives.vocab - 1}; use the checkpoint's own tokenizer"
    if takes.end is not None and gives.end != takes.end:
        has = "end with no token" if gives.end is None else f"end with token {gives.end}"
        return f"its texts {has}, and the networks read up to token {takes.end}; use the checkpoint's own tokenizer"
    if takes.classes != gives.classes:
        return f"set supernet.classes to {gives.classes}"
    return None


def _sizes_of_pairs(takes: PairInput, channels: int, size: int, length: int) -> str | None:
    if channels != takes.channels:
        return f"data.channels is {channels}; choose {takes.channels}"
    if size != takes.size:
        return f"data.size is {size}, and its networks do not resize; choose {takes.size}"
    if length > takes.max_length:
        return f"data.length is {length}; choose at most {takes.max_length}"
    if takes.whole and length != takes.max_length:
        return f"data.length is {length}, and its networks read the last of {takes.max_length} places; choose that"
    return None
