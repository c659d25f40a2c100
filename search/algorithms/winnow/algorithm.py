"""Winnow's own search: Gaussian processes over genes, batches by expected hypervolume improvement.

1. Start with the seeds, the smallest, the largest and random architectures.
2. For every metric that is not exact, a Gaussian process over genes, MACs and parameters learns the normal scores of
   its costs (`gaussian_process`, `size_columns`, `scale`); exact costs are computed, never learned.
3. Candidates are mutants and children of the front and random networks; those that may be on the front, by
   optimistic means, breed again. Small spaces are weighed whole. Where choices are alike, such as the bits of every
   layer, they have one option together in the first three quarters of a search: it finds networks, and then mixes.
   To the Gaussian processes they are as one choice, so that what is known of a network holds for its other policies.
4. A batch is chosen one by one by expected hypervolume improvement (`improvement`). It is measured in turn in the
   metrics' own units, where the ends of the front weigh most, and in normal scores, where its middle does. Each choice
   counts as evaluated at its mean before the next. Limits cut the volume off, or weigh it by their probability to be
   met.
   Every fourth choice looks for the best in one objective alone: the ends of a front are where a model knows least,
   and a search that misses one does not come back to it by itself.
5. Where networks heal a little (`search.fidelities`), beliefs are about what they will be on the highest rung: from the
   first wave on candidates are chosen by that. Networks climb by their expected numbers there, as `ByRank` sorts them:
   choices for improvement sent the ends of the front up (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import moocore
import numpy as np
from threadpoolctl import threadpool_limits

from search.algorithm import SearchAlgorithm
from search.algorithms.winnow.climbing import ByBelief
from search.algorithms.winnow.options import WinnowOptions
from search.candidates import Breeder, TakenGenomes
from search.evaluation import Evaluation
from search.fidelities.known import Fidelities
from search.fidelities.ladder import Chooser
from search.fidelities.ranks import best
from search.gaussian_process.beliefs import Belief, Certainty, Exact, MetricModel, Validity
from search.gaussian_process.fidelities import FidelityModel
from search.gaussian_process.improvement import expected_improvement, non_dominated_boxes, spread_out
from search.gaussian_process.regression import Features, kernel_features
from search.gaussian_process.size_columns import RELEVANCE, SizeColumns
from search.objectives import Constraint, Objective
from search.problem import Problem, exact_values
from search_space.architecture import Architecture
from search_space.encoding import all_genes, gene_matrix

# A space of so many networks is weighed whole; of a larger one about so many candidates are drawn.
POOL = 3000
# The best candidates at first sight go on to the choice one by one, which looks at them again each time.
SHORTLIST = 400
# Rounds in which promising candidates breed, and the standard deviations by which "promising" is optimistic.
ROUNDS, OPTIMISM = 2, 0.5
# Rounds where choices are numerical: the best of a continuum is approached step by step.
NUMERICAL_ROUNDS = 5
# Share of the evaluations in which choices that are alike have one option together: a mix of bits tells little about
# networks, and there are far more mixes than networks. It ends earlier where fewer new ones than this are drawn.
PLAIN, LEAST_PLAIN = 0.75, 100
# Largest number of evaluations that models are conditioned on: time grows with its cube.
MODEL_ROWS = 1200
# Points of a front that count in three and four objectives, where boxes multiply.
FRONT_POINTS = {1: 1, 2: 400, 3: 80, 4: 40}
VIEWS = ("cost", "score")
# One choice in so many is made for an end of the front.
ENDS = 4


class WinnowSearch(SearchAlgorithm[WinnowOptions]):
    """Few evaluations, each chosen with care. More in a batch suit more workers, fewer suit fewer evaluations."""

    def __init__(self, problem: Problem, *, seed: int, evaluations: int, options: WinnowOptions) -> None:
        super().__init__(problem, seed=seed, evaluations=evaluations, options=options)
        self._breeder = Breeder(self.space, np.random.default_rng(seed))
        self._seen = TakenGenomes()
        self._whole = all_genes(self.space) if self.space.size() <= POOL else None
        self._sizes = SizeColumns(self.space)
        self._rounds = NUMERICAL_ROUNDS if self.space.numerical.any() else ROUNDS
        self._like = like = self._features(gene_matrix(self.space, [self.space.smallest()]))
        self._tracked: list[Objective | Constraint] = [*self.objectives, *problem.constraints]
        self._metrics: list[MetricModel | FidelityModel | Exact] = [
            Exact(self._exact(tracked)) if tracked.metric in problem.exact_costs else MetricModel(like)
            for tracked in self._tracked
        ]
        self._validity = Validity(like)
        self._genes = np.zeros((0, len(self.space.choices)), dtype=np.int64)
        self._rows = np.zeros((0, len(self._tracked)))
        self._turn = 0
        self._fidelities: Fidelities | None = None
        if problem.warm_start:
            self._learn(problem.warm_start)

    def _exact(self, tracked: Objective | Constraint) -> Callable[[np.ndarray], np.ndarray]:
        """Genes to exact costs; each network is computed once."""
        function = self.problem.exact_costs[tracked.metric]
        known: dict[bytes, float] = {}

        def costs(genes: np.ndarray) -> np.ndarray:
            keys = [row.tobytes() for row in genes]
            new = {key: row for key, row in zip(keys, genes, strict=True) if key not in known}
            values = exact_values(function, [self.space.from_genes(row) for row in new.values()])
            known.update({key: tracked.cost(float(value)) for key, value in zip(new, values, strict=True)})
            return np.array([known[key] for key in keys])

        return costs

    def _features(self, genes: np.ndarray) -> Features:
        alone = kernel_features(self.space, genes, together=True)
        return alone.with_columns(self._sizes.of(genes), RELEVANCE)

    # --- ask and tell -------------------------------------------------------------------------------

    def _learn(self, evaluations: Sequence[Evaluation]) -> None:
        genes = gene_matrix(self.space, [evaluation.architecture for evaluation in evaluations])
        rows = [[tracked.cost(e.metrics[tracked.metric]) for tracked in self._tracked] for e in evaluations]
        self._genes = np.concatenate([self._genes, genes])
        self._rows = np.concatenate([self._rows, np.array(rows, dtype=float)])
        self._seen.add(genes)

    def chooser(self, known: Fidelities) -> Chooser:
        """See `SearchAlgorithm`."""
        self._fidelities = known
        self._metrics = [
            FidelityModel(self._like, metric)
            if isinstance(metric, MetricModel) and tracked.metric in known.healed
            else metric
            for tracked, metric in zip(self._tracked, self._metrics, strict=True)
        ]
        return ByBelief(self.climbers)

    def climbers(self, level: int, count: int) -> list[Architecture]:
        """Networks that climb to a level: by the front of what they are expected to be on the highest."""
        assert self._fidelities is not None, "nobody climbs in this search"
        waiting = self._fidelities.waiting(level)
        valid = np.asarray(np.isfinite(self._rows).all(axis=1))
        if len(waiting) <= count or valid.sum() < 2:
            return [one.architecture for one in waiting[:count]]
        genes = gene_matrix(self.space, [one.architecture for one in waiting])
        with threadpool_limits(1):
            self._see(valid)
            beliefs = self._believe_from(level - 1, genes, waiting)
        # A cost's cost is the metric again: only its sign turns.
        columns = {t.metric: [t.cost(float(c)) for c in b.costs] for t, b in zip(self._tracked, beliefs, strict=True)}
        expected = [
            Evaluation(one.architecture, {metric: values[place] for metric, values in columns.items()})
            for place, one in enumerate(waiting)
        ]
        known = self._fidelities
        beside = [one for one in known.at_top() if one.architecture.id != known.parent]
        return [one.architecture for one in best(expected, known.objectives, known.constraints, count, beside)]

    def _believe_from(self, level: int, genes: np.ndarray, waiting: Sequence[Evaluation]) -> list[Belief | Certainty]:
        """What networks with scores at a level will be at the highest."""
        features, beliefs = self._features(genes), list[Belief | Certainty]()
        for tracked, metric in zip(self._tracked, self._metrics, strict=True):
            costs = np.array([tracked.cost(one.metrics[tracked.metric]) for one in waiting])
            if isinstance(metric, Exact):
                beliefs.append(metric.believe(genes))
            elif isinstance(metric, FidelityModel):
                beliefs.append(metric.believe_from(level, features, costs))
            else:  # measured, and no matter of weights
                beliefs.append(Certainty(metric.scale, costs))
        return beliefs

    def _propose(self, room: int) -> list[Architecture]:
        valid = np.asarray(np.isfinite(self._rows).all(axis=1))
        if self._num_asked == 0 or valid.sum() < 2:
            return self._first(room)
        # Small matrices: one thread is fastest, and the result does not hang on the number of threads.
        with threadpool_limits(1):
            chosen = self._chosen(min(self.options.batch, room), valid)
        return [self.space.from_genes(genes) for genes in chosen]

    def best_next(self, under_way: Sequence[Architecture] = ()) -> Architecture | None:
        """What to evaluate next by all that is known; None if nothing is left. Nothing is asked by it, nor counted.

        Args:
            under_way: architectures whose scores are awaited; they count as evaluated at their means.

        Raises:
            ValueError: fewer than two evaluations with finite scores are known.
        """
        valid = np.asarray(np.isfinite(self._rows).all(axis=1))
        if valid.sum() < 2:
            raise ValueError(f"Got {valid.sum()} evaluations with finite scores; a model needs at least 2.")
        with threadpool_limits(1):
            if under_way:
                self._see(valid)
                genes = gene_matrix(self.space, under_way)
                believed = np.stack([belief.costs for belief in self._believe(genes)], axis=1)
                self._genes, self._rows = np.concatenate([self._genes, genes]), np.concatenate([self._rows, believed])
                self._seen.add(genes)
                valid = np.concatenate([valid, np.ones(len(genes), dtype=bool)])
            chosen = self._chosen(1, valid)
        return self.space.from_genes(chosen[0]) if len(chosen) else None

    def _first(self, room: int) -> list[Architecture]:
        """Seeds, both ends of the space and random architectures; after a warm start the seeds alone."""
        wanted = self.options.initial if self._num_asked == 0 else self.options.batch
        wanted = min(room, max(1, wanted - len(self._rows) * (self._num_asked == 0)))
        numerical = self.space.numerical.any()
        ends = [] if numerical else [self.space.smallest(), self.space.largest()]
        first = self._unknown([*self.problem.seeds, *ends])
        batch = {a.id: a for a in first[: max(wanted, min(room, len(self.problem.seeds)))]}
        if self._whole is not None:
            pool = self._seen.fresh(self._whole)
        else:
            pool, _ = self._pool(self._breeder.random(4 * wanted + 100), wanted)
        pool = self._shuffled(pool)
        if numerical:
            pool = np.concatenate([self._breeder.even(wanted), pool])
        for genes in pool:
            if len(batch) >= wanted:
                break
            architecture = self.space.from_genes(genes)
            if architecture.id not in self._known:
                batch.setdefault(architecture.id, architecture)
        return list(batch.values())

    def _plain(self, genes: np.ndarray) -> np.ndarray:
        """With one option wherever choices are alike; those that are not taken, each once."""
        return self._seen.fresh(self._breeder.plain(genes))

    def _pool(self, drawn: np.ndarray, least: int) -> tuple[np.ndarray, bool]:
        """What is new of the drawn, and whether it is plain: it is early in a search, where so many then are new."""
        if self.space.alike and self._num_asked < PLAIN * self.evaluations:
            plain = self._plain(drawn)
            if len(plain) >= least:
                return plain, True
        return self._seen.fresh(drawn), False

    def _shuffled(self, genes: np.ndarray) -> np.ndarray:
        shuffled: np.ndarray = genes[self._breeder.order(len(genes))]
        return shuffled

    # --- choosing a batch ---------------------------------------------------------------------------

    def _chosen(self, count: int, valid: np.ndarray) -> np.ndarray:
        """Genes of the next batch, shape (up to count, num_choices)."""
        self._see(valid)
        genes, rows = self._genes[valid], self._rows[valid].copy()
        beliefs = self._believe(genes)
        # Scores carry noise, and a lucky one would hide everything near it: the front is of what is believed.
        costs = np.stack([belief.costs for belief in beliefs[: len(self.objectives)]], axis=1)
        for i, metric in enumerate(self._metrics):
            if isinstance(metric, FidelityModel):
                rows[:, i] = beliefs[i].costs
        feasible = self._violations_of(rows) == 0
        candidates, beliefs = self._candidates(genes, costs, feasible, count)
        if len(candidates) <= count:
            return candidates
        return candidates[self._greedy(candidates, beliefs, costs[feasible], costs, count)]

    def _see(self, valid: np.ndarray) -> None:
        """Show the models what is known."""
        features = self._features(self._genes)
        kept = np.flatnonzero(valid)
        if len(kept) > MODEL_ROWS:
            # The front and its neighbourhood matter most: keep the best by sums of normal scores, and the newest.
            order = np.argsort(np.argsort(self._rows[kept], axis=0, kind="stable"), axis=0).sum(axis=1)
            best = kept[np.argsort(order, kind="stable")[: MODEL_ROWS // 2]]
            front = kept[moocore.is_nondominated(self._rows[kept])][: MODEL_ROWS // 4]
            newest = np.setdiff1d(kept, np.union1d(best, front))
            kept = np.union1d(np.union1d(best, front), newest[-(MODEL_ROWS - len(np.union1d(best, front))) :])
        for metric, column in zip(self._metrics, self._rows[kept].T, strict=True):
            if isinstance(metric, Exact):
                metric.see(column)
            else:
                metric.see(features.rows(kept), column)
        self._see_higher()
        recent = np.arange(len(valid))[-MODEL_ROWS:]
        self._validity.see(features.rows(recent), valid[recent])

    def _see_higher(self) -> None:
        """Show the models of metrics that heal what is known of every rung."""
        known = self._fidelities
        for level in range(1, len(known.levels) if known is not None else 0):
            assert known is not None
            pairs = known.pairs(level)
            features = self._features(gene_matrix(self.space, [high.architecture for _, high in pairs]))
            for tracked, metric in zip(self._tracked, self._metrics, strict=True):
                if isinstance(metric, FidelityModel):
                    scores = [[tracked.cost(one.metrics[tracked.metric]) for one in pair] for pair in pairs]
                    below, costs = np.array(scores, dtype=float).reshape(len(pairs), 2).T
                    metric.see_higher(features, below, costs)

    def _believe(self, genes: np.ndarray) -> list[Belief | Certainty]:
        features = self._features(genes)
        return [m.believe(genes) if isinstance(m, Exact) else m.believe(features) for m in self._metrics]

    def _candidates(
        self, genes: np.ndarray, costs: np.ndarray, feasible: np.ndarray, count: int
    ) -> tuple[np.ndarray, list[Belief | Certainty]]:
        """Networks worth a look, and what is believed about them."""
        if self._whole is not None:
            pool = self._seen.fresh(self._whole)
            return pool, self._believe(pool)
        parents = genes[feasible][moocore.is_nondominated(costs[feasible])] if feasible.any() else self._nearest(genes)
        third = POOL // 9
        breeder, drawn = self._breeder, TakenGenomes()
        bred = np.concatenate(
            [breeder.random(third), breeder.mutants(parents, 3 * third), breeder.children(parents, third)]
        )
        pool, is_plain = self._pool(bred, LEAST_PLAIN)
        fresh = self._plain if is_plain else self._seen.fresh
        if len(pool) <= count and self.space.size() <= 100 * POOL:
            pool = self._seen.fresh(all_genes(self.space))[:POOL]
        drawn.add(pool)
        beliefs = self._believe(pool)
        for _round in range(self._rounds):
            parents = pool[self._promising(beliefs)]
            kids = np.concatenate([breeder.mutants(parents, 3 * third // 2), breeder.children(parents, third // 2)])
            kids = drawn.fresh(fresh(kids))
            if len(kids) == 0:
                break
            drawn.add(kids)
            pool = np.concatenate([pool, kids])
            beliefs = [old.with_more(new) for old, new in zip(beliefs, self._believe(kids), strict=True)]  # type: ignore[arg-type]
        return pool, beliefs

    def _nearest(self, genes: np.ndarray) -> np.ndarray:
        """The tenth of networks that violates limits least, where all do."""
        violations = self._violations_of(self._rows[np.isfinite(self._rows).all(axis=1)])
        nearest: np.ndarray = genes[np.argsort(violations, kind="stable")[: max(2, len(genes) // 10)]]
        return nearest

    def _promising(self, beliefs: list[Belief | Certainty]) -> np.ndarray:
        """Candidates that an optimist sees on the front, among those that may meet the limits."""
        hopes = np.stack([belief.optimistic(OPTIMISM) for belief in beliefs[: len(self.objectives)]], axis=1)
        hopeful = self._log_feasible(beliefs) > np.log(0.1)
        chosen = np.flatnonzero(hopeful) if hopeful.any() else np.argsort(-self._log_feasible(beliefs))[:50]
        promising: np.ndarray = chosen[moocore.is_nondominated(hopes[chosen])]
        return promising

    # --- limits -------------------------------------------------------------------------------------

    def _violations_of(self, rows: np.ndarray) -> np.ndarray:
        """Sum of violations of evaluated networks, from their costs."""
        total = np.zeros(len(rows))
        for tracked, column in zip(self._tracked, rows.T, strict=True):
            if tracked.limit is not None:
                total += np.maximum(column - tracked.cost(tracked.limit), 0) / max(abs(tracked.limit), 1e-12)
        return total

    def _log_feasible(self, beliefs: list[Belief | Certainty], *, objectives: bool = True) -> np.ndarray:
        """Logarithm of the probability that candidates meet the limits (those of objectives too, or not)."""
        total = np.zeros(len(beliefs[0]))
        for i, (tracked, belief) in enumerate(zip(self._tracked, beliefs, strict=True)):
            if tracked.limit is not None and (objectives or i >= len(self.objectives)):
                total = total + belief.log_probability_below(tracked.cost(tracked.limit))
        return total

    # --- acquisition --------------------------------------------------------------------------------

    def _greedy(
        self,
        candidates: np.ndarray,
        beliefs: list[Belief | Certainty],
        known: np.ndarray,
        everything: np.ndarray,
        count: int,
    ) -> list[int]:
        """Positions of the candidates that together promise most."""
        works = self._validity.probability(self._features(candidates))
        fronts = {view: self._front(beliefs, view, known) for view in VIEWS}
        references = {view: self._reference(beliefs, view, everything) for view in VIEWS}

        def worth(view: str, works: np.ndarray) -> np.ndarray:
            if len(known) == 0:  # nothing feasible yet: the only worth is to become so
                return self._log_feasible(beliefs) + np.log(works + 1e-12)
            boxes = non_dominated_boxes(fronts[view], references[view])
            volume = expected_improvement(*boxes, [b.gain(view) for b in beliefs[: len(self.objectives)]])
            weighed: np.ndarray = volume * np.exp(self._log_feasible(beliefs, objectives=False)) * works
            return weighed

        size = min(len(candidates), max(SHORTLIST, 4 * count))
        first = [np.argsort(-worth(view, works), kind="stable")[: size // len(VIEWS)] for view in VIEWS]
        short = np.unique(np.concatenate(first))
        beliefs = [belief.rows(short) for belief in beliefs]
        works, free = works[short], np.ones(len(short), dtype=bool)
        chosen: list[int] = []
        while len(chosen) < min(count, len(short)):
            view = VIEWS[self._turn % len(VIEWS)]
            value = self._end_worth(beliefs, fronts["score"], works) if self._turn % ENDS == 0 else None
            self._turn += 1
            best = int(np.argmax(np.where(free, worth(view, works) if value is None else value, -np.inf)))
            free[best] = False
            chosen.append(int(short[best]))
            for each in VIEWS:
                point = [belief.expected(each, best) for belief in beliefs[: len(self.objectives)]]
                fronts[each] = np.concatenate([fronts[each], [point]])
            for belief in beliefs:
                belief.take(best)
        return chosen

    def _end_worth(self, beliefs: list[Belief | Certainty], front: np.ndarray, works: np.ndarray) -> np.ndarray | None:
        """Expected improvement of the best in one learned objective, in turn; None where there is nothing to find."""
        learned = [i for i, metric in enumerate(self._metrics[: len(self.objectives)]) if not isinstance(metric, Exact)]
        if not learned or len(front) == 0 or len(self.objectives) == 1:
            return None
        end = learned[(self._turn // ENDS) % len(learned)]
        gain = beliefs[end].gain("score")(front[:, end].min(keepdims=True))[:, 0]
        value: np.ndarray = gain * np.exp(self._log_feasible(beliefs)) * works
        return value if value.max() > 0 else None

    def _front(self, beliefs: list[Belief | Certainty], view: str, known: np.ndarray) -> np.ndarray:
        """The front so far in a view, thinned where objectives are many."""
        if len(known) == 0:
            return known
        front = known[moocore.is_nondominated(known, keep_weakly=False)]
        most = FRONT_POINTS[front.shape[1]]
        if len(front) > most:
            front = front[spread_out(front, most)]
        pairs = zip(beliefs, front.T, strict=False)
        return np.stack([belief.known(view, column) for belief, column in pairs], axis=1)

    def _reference(self, beliefs: list[Belief | Certainty], view: str, everything: np.ndarray) -> np.ndarray:
        """The worst score of each objective, or its limit where that is better."""
        worst = []
        for objective, belief, column in zip(self.objectives, beliefs, everything.T, strict=False):
            edge = column.max() + 1e-9 * max(float(np.ptp(column)), abs(float(column.max())), 1e-9)
            if objective.limit is not None:
                limit = objective.cost(objective.limit)
                edge = min(edge, limit + 1e-9 * max(abs(limit), 1e-9))
            worst.append(belief.known(view, np.array([edge]))[0])
        return np.array(worst)


ALGORITHM = WinnowSearch
