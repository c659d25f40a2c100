"""Columns: numbers that are known of an architecture without measuring it, which predictors learn from.

A source of columns gives named numbers. Costs come from layer specs; a table gives a price; another device gives its
latency; a caller may know more, such as the MACs of a space without layers, or a score that is cheap to have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from predictors.tables import LatencyTable
from search_space.architecture import Architecture
from search_space.layers import LayerSpec, Part
from search_space.layers.precision import FULL
from search_space.space import SearchSpace

# Many architectures at once -> for each, a number by name. A name that is absent means 0.
Source: TypeAlias = Callable[[Sequence[Architecture]], list[dict[str, float]]]
# Layer specs remembered: equal ones are often one object.
REMEMBERED = 1 << 14
# Two columns are one if nowhere further apart than this, once scaled to their largest.
SAME = 1e-9


class Edge(NamedTuple):
    """What passes from one part to the next.

    Attributes:
        scheme: scheme of the part that it comes from.
        elements: how many numbers it is.
    """

    scheme: str
    elements: float


# The network's input: of 32 bits; converting it is part of every network whose first layer is quantized.
START = Edge(FULL, 0.0)


@lru_cache(REMEMBERED)
def layer_columns(spec: LayerSpec, before: Edge = START) -> dict[str, float]:
    """What one layer adds to the columns of its network.

    For every elementary part: MACs, elements of weights, elements of activations, and 1. Their sums over a network
    are what its time is made of: arithmetic, loading weights, moving activations, starting kernels. Parts of unlike
    kinds (a depthwise and a dense convolution) or schemes (`int8_static`) reach unlike shares of a processor's peak, so
    they are kept apart. Where the scheme changes, a runtime converts numbers and layout: each kind of change counts,
    and the numbers that pass there. On 300 networks of mobilenet `cifar` with a mix of precisions that took the error
    (RMSPE) from 4.4 to 3.8 %; a count by operation and the scheme before it, to 4.1 % (docs/log.md).

    Args:
        before: what the layer is given.
    """
    columns = {f"{spec.kind}.layers": 1.0}
    for name, part, scheme in _scheduled(spec):
        head = f"{spec.kind}.{name}" if scheme == FULL else f"{spec.kind}.{name}@{scheme}"
        numbers = {"macs": part.macs, "weights": part.weights, "activations": part.live, "parts": 1}
        if before.scheme != scheme:
            change = f"{before.scheme} to {scheme}"
            columns[f"{change}.count"] = columns.get(f"{change}.count", 0.0) + 1
            columns[f"{change}.elements"] = columns.get(f"{change}.elements", 0.0) + before.elements
        for key, number in numbers.items():
            columns[f"{head}.{key}"] = columns.get(f"{head}.{key}", 0.0) + number
        before = _after(part, scheme, before)
    return columns


def _after(part: Part, scheme: str, before: Edge) -> Edge:
    """What a part passes on; a part that is no operation with weights passes on as many numbers as it got."""
    return Edge(scheme, part.out_elements or before.elements)


def _scheduled(spec: LayerSpec) -> list[tuple[str, Part, str]]:
    """Every part with its name and scheme, in forward order."""
    schemes = {part: precision.scheme for part, precision in spec.policy}
    return [(name, part, schemes.get(name, FULL)) for name, part in spec.parts().items()]


@lru_cache(REMEMBERED)
def _left_by(spec: LayerSpec, before: Edge) -> Edge:
    """What the layer passes on."""
    for _, part, scheme in _scheduled(spec):
        before = _after(part, scheme, before)
    return before


def cost_columns(space: SearchSpace) -> Source:
    """Sums over a network's layers of `layer_columns`.

    Raises:
        ValueError: the space has no layers.
    """
    if not space.has_layers:
        raise ValueError(f"Space {space.name!r} has no blueprint, so its architectures have no costs.")

    def give(architectures: Sequence[Architecture]) -> list[dict[str, float]]:
        rows = []
        for architecture in architectures:
            row: dict[str, float] = {}
            before = START
            for spec in space.layers(architecture).values():
                for name, value in layer_columns(spec, before).items():
                    row[name] = row.get(name, 0.0) + value
                before = _left_by(spec, before)
            rows.append(row)
        return rows

    return give


def price_column(space: SearchSpace, table: LatencyTable) -> Source:
    """The price of a network by a table, in ms.

    Its `MissingRow` is raised when an architecture has a layer that the table does not know.
    """
    return lambda architectures: [{"price": table.price(space.layers(a))} for a in architectures]


def known_columns(known: Mapping[str, Callable[[Architecture], float]]) -> Source:
    """Numbers that functions give, by name."""
    return lambda architectures: [{name: float(of(a)) for name, of in known.items()} for a in architectures]


class Columns:
    """Several sources as one standardised matrix, whose columns are those that vary among the examples.

    Args:
        sources: whose names differ.
        architectures: the examples that say which columns there are, and their means and spreads.
    """

    def __init__(self, sources: Sequence[Source], architectures: Sequence[Architecture]) -> None:
        self._sources = tuple(sources)
        rows = self._rows(architectures)
        names = sorted({name for row in rows for name in row})
        raw = _matrix(rows, names)
        kept = _distinct(raw)
        self.names = tuple(names[i] for i in kept)
        self._centre, self._spread = raw[:, kept].mean(axis=0), raw[:, kept].std(axis=0)

    def of(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Standardised columns, shape (num_architectures, num_columns)."""
        raw = _matrix(self._rows(architectures), self.names)
        standardised: np.ndarray = (raw - self._centre) / self._spread
        return standardised

    def _rows(self, architectures: Sequence[Architecture]) -> list[dict[str, float]]:
        rows: list[dict[str, float]] = [{} for _ in architectures]
        for source in self._sources:
            for row, more in zip(rows, source(architectures), strict=True):
                row |= more
        return rows


def _matrix(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> np.ndarray:
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows], dtype=float)
    return matrix.reshape(len(rows), len(names))


def _distinct(raw: np.ndarray) -> list[int]:
    """Indices of columns that vary, the first of each group of proportional ones."""
    scaled = raw / np.maximum(np.abs(raw).max(axis=0, initial=0.0), np.finfo(float).tiny)
    kept: list[int] = []
    for i in range(raw.shape[1]):
        if np.ptp(scaled[:, i]) <= SAME:
            continue
        if not any(np.abs(scaled[:, i] - scaled[:, j]).max() <= SAME for j in kept):
            kept.append(i)
    return kept
