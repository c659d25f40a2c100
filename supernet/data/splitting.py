"""Which examples are held out, and which are kept when fewer are asked for."""

from __future__ import annotations

import math

import numpy as np

from supernet.data.dataset import DataError


def held_out(labels: np.ndarray, share: float, seed: int, name: str, split: str = "validation") -> np.ndarray:
    """Indices of a stratified share of the examples, sorted, shape (M,), int64.

    Every class gives its share, and at least one example where it has two or more, so that small
    classes are seen too.

    Args:
        labels: shape (N,), int64.
        share: between 0 and 1.
        name: name of the data, for messages.
        split: what is carved, for messages.

    Raises:
        DataError: nothing would be held out, or nothing would be left.
    """
    rng = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    wanted = round(share * len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen.append(members[:count])
    index = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)
    if wanted < 1 or len(index) == 0:
        raise DataError(
            f"A share of {share:g} of the {len(labels)} training examples of {name} leaves the {split} split empty; "
            f"it must be at least {1 / max(1, len(labels)):.2g}, and each class needs two examples."
        )
    return index.astype(np.int64)


def without(count: int, held: np.ndarray) -> np.ndarray:
    """The indices of 0 to count - 1 that are not held out, sorted."""
    keep = np.ones(count, dtype=bool)
    keep[held] = False
    return np.flatnonzero(keep)


def fewer(labels: np.ndarray, limit: int | None, name: str) -> np.ndarray:
    """Indices of at most `limit` examples, the same for every seed, of every class in proportion.

    Raises:
        DataError: fewer examples than classes are asked for.
    """
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    num_classes = len(np.unique(labels))
    if limit < 2 * num_classes:
        raise DataError(
            f"data.limit is {limit}, but {name} has {num_classes} classes; ask for at least {2 * num_classes} examples."
        )
    order = np.random.default_rng(0).permutation(len(labels))
    # Round robin over classes in proportion: position of an example within its class, scaled to 0..1.
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.argsort(place, kind="stable")[:limit])


def cut(count: int, share: float, name: str, split: str, unit: str = "blocks") -> int:
    """How many of a sequence's items its held-out end has; the rest is left.

    Raises:
        DataError: it would be empty, or everything.
    """
    size = math.floor(share * count)
    if not 0 < size < count:
        raise DataError(
            f"A share of {share:g} of the {count} {unit} of {name} leaves the {split} split with {size}; "
            "give more text, shorter blocks or another share."
        )
    return size
