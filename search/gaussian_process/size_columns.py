"""How large a network is, as columns for a Gaussian process: from few scores, the best guess at the others."""

from __future__ import annotations

import numpy as np

from search_space.space import SearchSpace

# Random networks whose mean and spread standardise the columns.
DRAWN = 100
# Expected relevance of a column whose spread is 1 (see `regression`): on networks with policies 0.3 ranked those that
# were not seen better than 0.1 did (docs/log.md).
RELEVANCE = 0.3
# Networks remembered: a search asks for each of its candidates several times, and then never again.
REMEMBERED = 1 << 14
# Logarithms that differ by less are equal.
SAME = 1e-9


class SizeColumns:
    """Logarithms of a network's MACs and parameters, standardised over random networks of its space.

    A policy changes neither, so networks that differ in their policy alone are alike here. A space without layers has
    no columns, and one whose networks are all as large not that one.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._known: dict[bytes, tuple[float, float]] = {}
        self._centre = self._spread = np.zeros(0)
        self._varied = np.zeros(0, dtype=int)
        if space.has_layers:
            rng = np.random.default_rng(0)
            raw = self._raw(np.array([space.sample(rng).genes for _ in range(DRAWN)]))
            self._centre, self._spread = raw.mean(axis=0), raw.std(axis=0)
            self._varied = np.flatnonzero(self._spread > SAME)

    def of(self, genes: np.ndarray) -> np.ndarray:
        """Columns of networks, shape (num_networks, up to 2).

        Args:
            genes: canonical, shape (num_networks, num_choices).
        """
        if len(self._varied) == 0:
            return np.zeros((len(genes), 0))
        raw = self._raw(genes)[:, self._varied]
        columns: np.ndarray = (raw - self._centre[self._varied]) / self._spread[self._varied]
        return columns

    def _raw(self, genes: np.ndarray) -> np.ndarray:
        if len(self._known) > REMEMBERED:
            self._known.clear()
        keys = [row.tobytes() for row in np.ascontiguousarray(genes, dtype=np.int64)]
        for key, row in zip(keys, genes, strict=True):
            if key not in self._known:
                specs = self._space.layers(self._space.from_genes(row)).values()
                totals = [spec.totals for spec in specs]
                macs, params = sum(total[1] for total in totals), sum(total[0] for total in totals)
                self._known[key] = float(np.log(max(macs, 1))), float(np.log(max(params, 1)))
        return np.array([self._known[key] for key in keys]).reshape(len(keys), 2)
