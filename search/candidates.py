"""Genomes worth a look, as matrices: thousands are drawn for every one that is evaluated."""

from __future__ import annotations

import numpy as np

from search_space.encoding import canonical_genes
from search_space.space import SearchSpace


class Breeder:
    """Draws canonical genomes of a space, shape (count, num_choices), int64."""

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self._space, self._rng = space, rng

    def random(self, count: int) -> np.ndarray:
        """Uniform over genes."""
        genes = self._rng.integers(0, self._space.option_counts, size=(count, len(self._space.choices)))
        return canonical_genes(self._space, genes)

    def mutants(self, parents: np.ndarray, count: int) -> np.ndarray:
        """Random parents with one gene changed, or on average one to three."""
        genes = parents[self._rng.integers(0, len(parents), count)]
        options = self._space.option_counts
        num = genes.shape[1]
        rate = self._rng.choice([1, 1, 2, 3], size=count) / num
        moves = self._rng.random(genes.shape) < rate[:, None]
        still = np.flatnonzero(~moves.any(axis=1))
        moves[still, self._rng.integers(0, num, len(still))] = True
        shift = self._rng.integers(1, np.maximum(options, 2), size=genes.shape)
        return canonical_genes(self._space, np.where(moves, (genes + shift) % options, genes))

    def children(self, parents: np.ndarray, count: int) -> np.ndarray:
        """Uniform crossover of random pairs."""
        first = parents[self._rng.integers(0, len(parents), count)]
        second = parents[self._rng.integers(0, len(parents), count)]
        return canonical_genes(self._space, np.where(self._rng.random(first.shape) < 0.5, first, second))

    def order(self, count: int) -> np.ndarray:
        """A random order of so many things."""
        return self._rng.permutation(count)


class Seen:
    """Genomes that are taken already."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()

    def add(self, genes: np.ndarray) -> None:
        """Take these rows."""
        self._keys.update(row.tobytes() for row in np.ascontiguousarray(genes, dtype=np.int64))

    def fresh(self, genes: np.ndarray) -> np.ndarray:
        """The rows that are not taken, each once, in lexical order."""
        unique = np.unique(np.ascontiguousarray(genes, dtype=np.int64), axis=0)
        return unique[[row.tobytes() not in self._keys for row in unique]]
