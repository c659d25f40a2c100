"""Data: what a job trains, searches and tests on.

Every source gives three splits. The supernet trains on `train`; the search ranks architectures on
`validation`, which is carved from training data; `test` is touched once, for the final front.

A source is a folder of `supernet/data/sources`: `options.py` declares `OPTIONS`, `source.py` names its class `SOURCE`,
whose one verb is `load(seed, decoding) -> Dataset`. This file loads no torch, so that the API can read the options.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from plugins import kinds
from plugins.options import read
from supernet.data.options import SourceOptions

if TYPE_CHECKING:
    from supernet.data.dataset import Batch, DataError, Dataset, Split, Standardisation
    from supernet.data.decoding import IN_MEMORY, Decoding

__all__ = [
    "IN_MEMORY",
    "Batch",
    "DataError",
    "Dataset",
    "Decoding",
    "Source",
    "SourceOptions",
    "Split",
    "Standardisation",
    "load_dataset",
]

_HOMES = dict.fromkeys(("Batch", "DataError", "Dataset", "Split", "Standardisation"), "dataset") | dict.fromkeys(
    ("IN_MEMORY", "Decoding"), "decoding"
)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: what holds data needs torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


class Source(Protocol):
    """What `SOURCE` of a data source must be: made from its options, it has this verb."""

    def load(self, seed: int, decoding: Decoding) -> Dataset:
        """The data set; the seed decides which training examples are held out for validation.

        Args:
            decoding: where decoded images may lie; nothing to sources of text.

        Raises:
            DataError: the data cannot be used, with what was found and what to do.
            OSError: decoded images do not fit on the disk (`ENOSPC`).
        """


def load_dataset(
    source: str,
    seed: int,
    options: SourceOptions | Mapping[str, Any] | None = None,
    decoding: Decoding | None = None,
) -> Dataset:
    """The data set of a source, checked.

    Args:
        source: a data source's name.
        seed: decides which training examples are held out for validation.
        options: those of the source, checked or as words.
        decoding: where images that do not fit in memory may lie; None: nowhere.

    Raises:
        UnknownPluginError: there is no such source.
        PluginError: an installed package offers it, and it cannot be used.
        ValueError: an option that the source does not have, or an impossible value.
        DataError: the data cannot be used.
        OSError: decoded images do not fit on the disk (`ENOSPC`).
    """
    from supernet.data.decoding import IN_MEMORY

    if not isinstance(options, SourceOptions):
        options = read(kinds.SOURCES.options(source).OPTIONS, options or {}, f"Data source {source!r}")
    made: Source = kinds.SOURCES.load(source).SOURCE(options)
    dataset = made.load(seed, decoding or IN_MEMORY)
    dataset.check()
    return dataset
