"""Data: what a job trains, searches and tests on.

Every source gives three splits. The supernet trains on `train`; the search ranks architectures on
`validation`, which is carved from training data; `test` is touched once, for the final front.

A source is a file of `supernet/data/sources` with a frozen dataclass `SOURCE`: its fields are the source's
options (their wire form is in `job/data_spec.py`), its one verb is `load(seed, decoding) -> Dataset`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

from plugins import kinds
from supernet.data.dataset import Batch, DataError, Dataset, Split, Standardisation
from supernet.data.decoding import IN_MEMORY, Decoding

__all__ = [
    "IN_MEMORY",
    "SOURCES",
    "Batch",
    "DataError",
    "Dataset",
    "Decoding",
    "Source",
    "Split",
    "Standardisation",
    "load_dataset",
]

SOURCES = kinds.SOURCES.names()


class Source(Protocol):
    """What a file of `supernet/data/sources` must offer as `SOURCE`: a dataclass of options with this verb."""

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The dataset; the seed decides which training examples are held out for validation.

        Args:
            decoding: where decoded images may lie; nothing to sources of text.

        Raises:
            DataError: the data cannot be used, with what was found and what to do.
            OSError: decoded images do not fit on the disk (`ENOSPC`).
        """


def load_dataset(
    source: str, seed: int, options: Mapping[str, Any] | None = None, decoding: Decoding = IN_MEMORY
) -> Dataset:
    """The dataset of a source, checked.

    Args:
        source: a file of `supernet/data/sources`.
        seed: decides which training examples are held out for validation.
        options: fields of the source's dataclass.
        decoding: where images that do not fit in memory may lie.

    Raises:
        UnknownPluginError: there is no such source.
        DataError: the data cannot be used.
        OSError: decoded images do not fit on the disk (`ENOSPC`).
    """
    made = cast(Source, kinds.SOURCES.load(source).SOURCE(**(options or {})))
    dataset = made.load(seed, decoding)
    dataset.check()
    return dataset
