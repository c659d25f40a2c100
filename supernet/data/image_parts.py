"""Parts of images, as a source has found them, made a data set: decoded together, with what was read of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from supernet.data.dataset import Dataset
from supernet.data.decoding import Decoding, Encoded, decode, sized
from supernet.data.fitting import Fit
from supernet.data.images import Carving, Decoder, corrupt_notes, image_dataset
from supernet.data.inventory import BEYOND_LIMIT, Inventory, left_out
from supernet.data.labels import alike
from supernet.data.options import Storage
from supernet.data.parts import TEST, TRAIN, VALIDATION, sources_of
from supernet.data.pictures import Look


class ImageWords(Protocol):
    """Options that every source of pictures has."""

    @property
    def size(self) -> int: ...

    @property
    def resize(self) -> int | None: ...

    @property
    def channels(self) -> int: ...

    @property
    def validation_share(self) -> float: ...

    @property
    def test_share(self) -> float: ...

    @property
    def limit(self) -> int | None: ...

    @property
    def corrupt_share(self) -> float: ...

    @property
    def storage(self) -> Storage: ...


@dataclass(frozen=True, slots=True)
class ImagePart:
    """Images of one part of a source.

    Attributes:
        left_out: reason and name of files that are none of it.
        remarks: what else to know.
    """

    encoded: Encoded
    left_out: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def image_parts_dataset(
    name: str,
    origin: str,
    parts: Mapping[str, ImagePart],
    classes: Sequence[str],
    words: ImageWords,
    seed: int,
    decoding: Decoding,
    names: Mapping[str, str],
    unused: Mapping[str, str],
    others: Sequence[tuple[str, str]] = (),
    columns: Mapping[str, str] | None = None,
    unit: str = "files",
) -> Dataset:
    """The data set of a source's parts.

    Args:
        parts: by role; `train` is there.
        names: names of all parts that the owner made, by role.
        unused: role -> why a part of that name is none.
        others: reason and name of what else is left out.
        columns: columns of a table, by role.

    Raises:
        DataError: too many images cannot be decoded, they fit nowhere, or a split would be empty.
    """
    roles = [role for role in (TRAIN, VALIDATION, TEST) if role in parts]
    decoder = decoder_of(words)
    decoded = dict(
        zip(roles, decode(name, [parts[role].encoded for role in roles], decoder, words.storage, decoding), strict=True)
    )
    told = (*(f"{role.capitalize()}: {why}." for role, why in unused.items()), *alike(classes))
    notes = (*corrupt_notes(decoded.values(), words.corrupt_share, name), *told)
    shares = {VALIDATION: words.validation_share, TEST: words.test_share}
    data = image_dataset(
        name,
        origin,
        decoded[TRAIN],
        decoded.get(TEST),
        classes,
        Carving(words.validation_share, words.test_share, words.limit),
        seed,
        notes,
        validation=decoded.get(VALIDATION),
        facts={"resize": sized(decoder, decoding).sizing},
    )
    skipped = [file for role in roles for file in parts[role].left_out] + [*others]
    skipped += [(why, file) for part in decoded.values() for file, why in part.skipped]
    beyond = sum(len(part.labels) for part in decoded.values()) - sum(map(len, data.splits.values()))
    skipped += [(BEYOND_LIMIT, "")] * beyond
    look = sum((part.look for part in decoded.values()), Look())
    remarks = [remark for role in roles for remark in parts[role].remarks]
    inventory = Inventory(
        unit,
        len(skipped) + sum(map(len, data.splits.values())),
        left_out(skipped),
        columns or {},
        sources_of(names, unused, seed, shares),
        (*remarks, *told, *look.remarks()),
    )
    return replace(data, inventory=inventory)


def decoder_of(words: ImageWords) -> Decoder:
    """How the words of a source say that pictures become pixels."""
    if words.resize is None:
        return Decoder(words.size, words.channels)
    return Decoder(words.size, words.channels, Fit(words.resize, True, "bicubic", words.size))
