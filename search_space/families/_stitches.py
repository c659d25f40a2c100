"""Where one network may be left and another entered (arXiv 2302.06586, section 3.3, and its code)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from search_space.checkpoint import CheckpointError


@dataclass(frozen=True, slots=True)
class Position:
    """A stitch.

    Attributes:
        leave: the last layer of the front network that runs, from 1.
        enter: the first layer of the back network that runs.
        layer: number of the stitching layer, which neighbouring positions share.
    """

    leave: int
    enter: int
    layer: int


@lru_cache(maxsize=256)
def positions(front: int, back: int) -> tuple[Position, ...]:
    """All positions between networks of so many layers, each once.

    Equal depths (paired stitching): a window of two layers slides by one; within it every layer may be left and every
    one entered, and what the window before did not have shares a stitching layer. With 12 layers that makes 34
    positions and 11 stitching layers.

    Other depths (unpaired): layers of the shallower network stand for those of the deeper one that are nearest to them
    in relative depth, and each has a stitching layer. In a deeper back, layer i (from 0) is entered behind layer
    `i * front // back`, if that is above it. A deeper front is ours by symmetry: behind its layer i, layer
    `i * back // front` is entered, if that is not the first.

    Raises:
        CheckpointError: networks of one layer, which have no place for a stitch.
    """
    found: dict[tuple[int, int], int] = {}
    if front == back:
        for window in range(1, front):
            for leave in (window, window + 1):
                for enter in (window, window + 1):
                    found.setdefault((leave, enter), window)
    elif front < back:
        for i in range(back):
            above = i * front // back
            if above < i:
                found[above + 1, i + 1] = above + 1
    else:
        for i in range(front):
            below = i * back // front
            if below:
                found[i + 1, below + 1] = below
    if not found:
        raise CheckpointError(f"Networks of {front} and {back} layers have no place for a stitch; take deeper ones.")
    return tuple(Position(leave, enter, layer) for (leave, enter), layer in found.items())
