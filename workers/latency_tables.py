"""The latency table of a target, for a search by gradient: a CSV file, or the layers measured on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from predictors.table_files import read_table
from predictors.tables import LatencyTable
from search_space.layers import LayerSpec
from workers.workshop import JobFailed, Workshop


def table_of(shop: Workshop, target: str, networks: Sequence[Mapping[str, LayerSpec]]) -> LatencyTable:
    """The table of a target with the layers of these networks.

    Raises:
        JobFailed: there is no such target, or the file cannot be read.
        ValueError: the file is not a table.
    """
    if not target.startswith("/"):
        raise JobFailed(f"Target {target!r} has no table. Give the absolute path of a latency table as CSV.")
    try:
        return read_table(Path(target))
    except OSError as error:
        raise JobFailed(f"The latency table {target!r} cannot be read: {error.strerror}.") from error
