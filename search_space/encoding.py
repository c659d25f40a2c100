"""Architectures as numbers: masked one-hot features for predictors, and gene matrices for searches.

Both forms describe networks, not genomes: a choice that a network does not depend on leaves no trace, so
two genomes of one network give one row. (On once-for-all's published search log, masking brought the error of a
ridge regression on MACs from 3.2 % to 0.7 % at 200 samples.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search_space.architecture import Architecture
from search_space.space import SearchSpace


def encode(space: SearchSpace, architectures: Sequence[Architecture]) -> np.ndarray:
    """Masked one-hot features, shape (num_architectures, num_columns), float64.

    One column per option of every choice, named by `column_names`: 1 where the choice is active and has that
    option, else 0. An inactive choice is all zeros.

    Raises:
        ValueError: an architecture of another space.
    """
    return one_hot(space, gene_matrix(space, architectures))


def column_names(space: SearchSpace) -> tuple[str, ...]:
    """`choice=option` for every column of `encode`."""
    return tuple(f"{choice.name}={option}" for choice in space.choices for option in choice.options)


def decode(space: SearchSpace, features: np.ndarray) -> list[Architecture]:
    """The architectures of rows made by `encode`.

    Raises:
        ValueError: a row that `encode` does not make for this space.
    """
    rows = np.asarray(features, dtype=float)
    width = int(space.option_counts.sum())
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"Got features of shape {rows.shape}; space {space.name!r} has {width} columns.")
    starts = np.concatenate([[0], np.cumsum(space.option_counts)[:-1]])
    genes = np.stack(
        [
            rows[:, start : start + count].argmax(axis=1)
            for start, count in zip(starts, space.option_counts, strict=True)
        ],
        axis=1,
    )
    wrong = np.flatnonzero((one_hot(space, genes) != rows).any(axis=1))
    if len(wrong):
        raise ValueError(f"Row {wrong[0]} is not a masked one-hot encoding of an architecture of {space.name!r}.")
    return [space.from_genes(row) for row in genes]


# --- genes ----------------------------------------------------------------------------------------


def gene_matrix(space: SearchSpace, architectures: Sequence[Architecture]) -> np.ndarray:
    """Canonical genes, shape (num_architectures, num_choices), int64.

    Raises:
        ValueError: an architecture of another space.
    """
    for architecture in architectures:
        if architecture not in space:
            raise ValueError(f"{architecture!r} is not of space {space.name!r}.")
    genes = [architecture.genes for architecture in architectures]
    return np.array(genes, dtype=np.int64).reshape(len(genes), len(space.choices))


def active_mask(space: SearchSpace, genes: np.ndarray) -> np.ndarray:
    """Whether each network depends on each choice, shape (num_architectures, num_choices), bool.

    `SearchSpace.is_active` for many genomes at once; the genes need not be canonical.
    """
    position = {choice.name: i for i, choice in enumerate(space.choices)}
    active = np.ones(genes.shape, dtype=bool)
    for i, choice in enumerate(space.choices):
        if choice.when is not None:
            parent, values = choice.when
            at = position[parent]
            alive = [space.choices[at].options.index(value) for value in values]
            active[:, i] = active[:, at] & np.isin(genes[:, at], alive)
    return active


def canonical_genes(space: SearchSpace, genes: np.ndarray) -> np.ndarray:
    """The genes with every inactive one set to 0: equal rows are equal networks."""
    return np.where(active_mask(space, genes), genes, 0)


def one_hot(space: SearchSpace, genes: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
    """`encode` for a matrix of genes, canonical or not.

    Args:
        chosen: positions of the choices that are wanted; None: all.
    """
    active = active_mask(space, genes)
    columns = [
        (genes[:, i, None] == np.arange(space.option_counts[i])) & active[:, i, None]
        for i in (range(len(space.choices)) if chosen is None else chosen)
    ]
    return np.concatenate([np.zeros((len(genes), 0)), *columns], axis=1).astype(float)


def all_genes(space: SearchSpace) -> np.ndarray:
    """Canonical genes of every distinct network, shape (space.size(), num_choices), int64.

    Rows are in lexical order. Memory grows with the size of the space: ask `space.size()` first.
    """
    genes = np.zeros((1, len(space.choices)), dtype=np.int64)
    for i, choice in enumerate(space.choices):
        # Only the choice's parents decide whether it is active, and they are filled in already.
        copies = np.where(active_mask(space, genes)[:, i], len(choice.options), 1)
        first = np.repeat(np.cumsum(copies) - copies, copies)
        genes = np.repeat(genes, copies, axis=0)
        genes[:, i] = np.arange(len(genes)) - first
    return genes
