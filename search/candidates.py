"""Genomes worth a look, as matrices: thousands are drawn for every one that is evaluated."""

from __future__ import annotations

import numpy as np

from search_space.encoding import active_mask, canonical_genes
from search_space.space import SearchSpace

# Of mutants of a space that has choices alike, the share in which a stretch of them takes one option.
STRETCHED = 1 / 3
# Concentration of the shares that options have among choices alike in one random network: below 1, most networks
# have nearly one option everywhere, and every mix is there.
CONCENTRATION = 0.5
# Of changed numerical genes, the share that moves to a neighbour, and the bounds of such a step's standard deviation as
# a share of the range; it is drawn between them evenly in its logarithm.
STEPPED, SHORTEST_STEP, LONGEST_STEP = 0.7, 0.002, 0.2


class Breeder:
    """Draws canonical genomes of a space, shape (count, num_choices), int64.

    Where choices decide the same in different places (`Choice.decides`), such as the bits of every layer, drawing
    each by itself gives networks that are all equally mixed, and the uniform ones never: with 60 layers the chance of
    one is 2^-60. So half of the random networks draw first how common each option is, and some mutants change a
    stretch at once.
    """

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self._space, self._rng = space, rng

    def random(self, count: int) -> np.ndarray:
        """Uniform over genes; where choices are alike, in half of the networks over how common options are."""
        genes = self._rng.integers(0, self._space.option_counts, size=(count, len(self._space.choices)))
        for group in self._space.alike:
            mixed = np.flatnonzero(self._rng.random(count) < 0.5)
            options = len(self._space.choices[group[0]].options)
            shares = self._rng.dirichlet(np.full(options, CONCENTRATION), len(mixed)).cumsum(axis=1)
            drawn = self._rng.random((len(mixed), len(group), 1)) > shares[:, None, :-1]
            genes[np.ix_(mixed, group)] = drawn.sum(axis=2)
        return canonical_genes(self._space, genes)

    def mutants(self, parents: np.ndarray, count: int) -> np.ndarray:
        """Random parents with one gene changed, or on average one to three, or a stretch of choices alike."""
        genes = parents[self._rng.integers(0, len(parents), count)]
        options = self._space.option_counts
        num = genes.shape[1]
        rate = self._rng.choice([1, 1, 2, 3], size=count) / num
        moves = self._rng.random(genes.shape) < rate[:, None]
        still = np.flatnonzero(~moves.any(axis=1))
        moves[still, self._rng.integers(0, num, len(still))] = True
        shift = self._rng.integers(1, np.maximum(options, 2), size=genes.shape)
        if self._space.numerical.any():
            shift = self._stepped(genes, shift)
        changed = np.where(moves, (genes + shift) % options, genes)
        if self._space.alike:
            stretched = np.flatnonzero(self._rng.random(count) < STRETCHED)
            changed[stretched] = self._stretched(genes[stretched])
        return canonical_genes(self._space, changed)

    def _stepped(self, genes: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """By how much genes change where numerical ones mostly step to a neighbour, no further than the last option."""
        last = self._space.option_counts - 1
        share = np.exp(self._rng.uniform(np.log(SHORTEST_STEP), np.log(LONGEST_STEP), (len(genes), 1)))
        drawn = self._rng.standard_normal(genes.shape) * share * last
        # Away from zero: a step that is drawn is made.
        step = np.where(drawn < 0, np.floor(drawn), np.ceil(drawn)).astype(np.int64)
        step = np.clip(genes + step, 0, last) - genes
        stepping = self._space.numerical & (self._rng.random(genes.shape) < STEPPED)
        stepped: np.ndarray = np.where(stepping, step, shift)
        return stepped

    def _stretched(self, genes: np.ndarray) -> np.ndarray:
        """Each with a random stretch of choices alike, of any length, set to one option."""
        changed, alike = genes.copy(), self._space.alike
        for row, which in zip(changed, self._rng.integers(0, len(alike), len(genes)), strict=True):
            group = alike[which]
            ends = np.sort(self._rng.integers(0, len(group) + 1, 2))
            row[group[ends[0] : ends[1]]] = self._rng.integers(0, len(self._space.choices[group[0]].options))
        return changed

    def children(self, parents: np.ndarray, count: int) -> np.ndarray:
        """Uniform crossover of random pairs."""
        first = parents[self._rng.integers(0, len(parents), count)]
        second = parents[self._rng.integers(0, len(parents), count)]
        return canonical_genes(self._space, np.where(self._rng.random(first.shape) < 0.5, first, second))

    def plain(self, genes: np.ndarray) -> np.ndarray:
        """The same networks with one option wherever choices are alike: that of a random one of them."""
        made, active = genes.copy(), active_mask(self._space, genes)
        for group in self._space.alike:
            drawn = (active[:, group] * self._rng.random((len(genes), len(group)))).argmax(axis=1)
            made[:, group] = genes[np.arange(len(genes)), group[drawn]][:, None]
        return canonical_genes(self._space, made)

    def even(self, count: int) -> np.ndarray:
        """Spread more evenly than chance would: a scrambled Sobol sequence (Owen 1998, J. Complexity 14: 466)."""
        from scipy.stats import qmc  # half a second, for spaces that have numerical choices alone

        sequence = qmc.Sobol(len(self._space.choices), scramble=True, rng=self._rng)
        shares = sequence.random_base2(max(count - 1, 1).bit_length())[:count]
        return canonical_genes(self._space, np.floor(shares * self._space.option_counts).astype(np.int64))

    def order(self, count: int) -> np.ndarray:
        """A random order of so many things."""
        return self._rng.permutation(count)


class TakenGenomes:
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
