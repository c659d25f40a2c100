"""From measured networks to a block table: single scores, terms of pairs where the sum is wrong, a curve, and trust."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeAlias

import numpy as np

from search.blocks.parts import Blocks
from search.blocks.solver import Pair, Terms
from search.blocks.table import BlockTable, Quantity, Trust, adds_of, from_damage, on_scale
from search.evaluation import Evaluation
from search.metrics import METRICS, Goal, Source
from search.problem import ExactCost, exact_values
from search.ranking import kendall_tau

DIVERGENCE = "kl_divergence"
# Combinations from which a curve and pairs are learned, and the folds that judge them.
LEAST_TO_LEARN, FOLDS = 8, 5
# Powers of a curve.
LEAST_POWER, MOST_POWER = 0.4, 2.5
# Most terms of pairs, and networks of the fit that each must be in.
MOST_PAIRS, LEAST_SUPPORT = 16, 2
# Variances of what no sum explains, beside that of the sums.
NOISES = tuple(10.0**power for power in np.arange(-3, 2.1, 0.5))
# Networks that speak for a pair's weight of 0.
RIDGE = 0.3
# A more complex form must be better on held-out networks by this share of its error.
WORTH_IT = 0.05
# Errors are shares of a damage, of at least this share of the median one; larger ones than this count as this.
LEAST_SHARE, MOST_OFF = 0.1, 2.0
# The share of errors that a margin holds.
QUANTILE = 0.9
# Networks that a known cost is asked of to make its table, and others to judge it.
ASKED, JUDGED = 256, 128
# A cost is left out if its sums' margin is above the one, and exact below the other.
MOST_OFF_SUM, EXACT = 0.4, 1e-9
NOBODY_KNOWS = Trust(0, None, math.inf, math.inf, math.inf)


@dataclass(frozen=True)
class _Samples:
    """Networks with several blocks changed, and what was measured of them.

    Attributes:
        networks: shape (num_networks, num_blocks).
        damages: shape (num_networks,), finite.
    """

    networks: np.ndarray
    damages: np.ndarray

    def those(self, chosen: np.ndarray) -> _Samples:
        """Some of them."""
        return _Samples(self.networks[chosen], self.damages[chosen])


# From single scores to a quantity that has learned from samples.
_Form: TypeAlias = Callable[[Quantity, _Samples], Quantity]


def fit_table(
    blocks: Blocks, evaluations: Sequence[Evaluation], goals: Mapping[str, Goal], known: Mapping[str, ExactCost]
) -> BlockTable:
    """The table of a space from the evaluations of a search.

    Args:
        goals: metric -> its better direction, of all that are wanted.
        known: those of them that cost nothing to ask for.
    """
    if not blocks.blocks:
        return BlockTable((), {}, dict.fromkeys(goals, "the space has a single network, and so no blocks"))
    found = {m: _of_known(blocks, m, goals[m], cost) for m, cost in known.items() if m in goals}
    networks = blocks.networks([one.architecture for one in evaluations])
    scored = {m: _scored(blocks, networks, evaluations, m, goals[m]) for m in goals if m not in known}
    divergence = scored.get(DIVERGENCE)
    for metric, made in scored.items():
        found[metric] = made if isinstance(made, str) else _learned(blocks, made, divergence)
    return BlockTable(
        tuple(len(block.alternatives) for block in blocks.blocks),
        {metric: one for metric in goals if isinstance(one := found[metric], Quantity)},
        {metric: one for metric in goals if isinstance(one := found[metric], str)},
    )


# --- what was measured ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scored:
    """A metric by single scores alone, and combinations to learn from."""

    singles: Quantity
    samples: _Samples


def _scored(
    blocks: Blocks, networks: np.ndarray, evaluations: Sequence[Evaluation], metric: str, goal: Goal
) -> _Scored | str:
    """What was measured of a metric; or why that is not enough."""
    adds = adds_of(metric)
    values = np.array([one.metrics.get(metric, math.nan) for one in evaluations], dtype=float)
    changed = networks != np.array(blocks.largest)
    num_changed = changed.sum(axis=1)
    largest = values[num_changed == 0]
    if not len(largest) or not math.isfinite(largest[0]):
        return "the largest network has no score"
    scored = (num_changed == 1) & np.array([metric in one.metrics for one in evaluations], dtype=bool)
    missing = blocks.num_alternatives - 1 - len({tuple(row) for row in networks[scored].tolist()})
    if missing:
        return f"{missing} alternatives of blocks were not scored; give the search more evaluations"
    damages = on_scale(values, goal, adds) - on_scale(largest[:1], goal, adds)
    costs = [np.full(len(block.alternatives), np.nan) for block in blocks.blocks]
    for one, block in zip(costs, blocks.blocks, strict=True):
        one[block.largest] = 0.0
    for row in np.flatnonzero(num_changed == 1):
        place = int(changed[row].argmax())
        costs[place][networks[row, place]] = damages[row]
    # An alternative whose score is no number is worse than all that have one.
    worst = 10 * max(float(np.nanmax(np.abs(np.concatenate(costs)), initial=0.0)), 1e-3)
    singles = Terms(0.0, tuple(np.where(np.isfinite(one), one, worst) for one in costs))
    usable = (num_changed > 1) & np.isfinite(damages)
    samples = _Samples(networks[usable], damages[usable])
    source = next((one.source_of(metric) for one in evaluations if metric in one.metrics), Source.MEASURED)
    made = Quantity(metric, goal, adds, float(largest[0]), singles, (1.0, 1.0), metric, source, NOBODY_KNOWS)
    return _Scored(made, samples)


def _learned(blocks: Blocks, scored: _Scored, divergence: _Scored | str | None) -> Quantity:
    """A metric in the form that predicts held-out networks best, by its own scores of blocks or by divergences."""
    made, samples = scored.singles, scored.samples
    best, error = _fitted(blocks, made, samples)
    if isinstance(divergence, _Scored) and made.adds == "log" and len(samples.damages) >= LEAST_TO_LEARN:
        # Divergences of blocks are less noisy than what is asked of few examples.
        by_it, theirs = _fitted(blocks, replace(made, damage=divergence.singles.damage, scores=DIVERGENCE), samples)
        best = by_it if theirs < (1 - WORTH_IT) * error else best
    return best


def _fitted(blocks: Blocks, made: Quantity, samples: _Samples) -> tuple[Quantity, float]:
    """The quantity in the form that held-out networks ask for; and its error on them, as a share of values."""
    if not len(samples.damages):
        return made, math.inf
    sums = made.damaged(samples.networks)
    true = from_damage(made, samples.damages)
    best, guessed, error = made, sums, _off(from_damage(made, sums), true)
    features = [blocks.features(place) for place in range(len(blocks.blocks))]
    forms: tuple[_Form, ...] = (
        _curved,
        _refitted,
        lambda one, train: _paired(_curved(one, train), train, features),
        lambda one, train: _paired(_refitted(one, train), train, features),
    )
    for form in forms if len(samples.damages) >= LEAST_TO_LEARN else ():
        theirs = _held_out(made, samples, form)
        off = _off(from_damage(made, theirs), true)
        if off < (1 - WORTH_IT) * error:
            best, guessed, error = form(made, samples), theirs, off
    trust = _trust(true, from_damage(made, guessed), from_damage(made, sums))
    return replace(best, trust=trust), error


def _held_out(made: Quantity, samples: _Samples, form: _Form) -> np.ndarray:
    """Damages of every sample as a form says that has learned from the others."""
    fold = np.arange(len(samples.damages)) % FOLDS
    guessed = np.zeros(len(fold))
    for number in range(FOLDS):
        guessed[fold == number] = form(made, samples.those(fold != number)).damaged(samples.networks[fold == number])
    return guessed


def _off(guessed: np.ndarray, true: np.ndarray) -> float:
    """Mean error of values, as a share."""
    return float(np.minimum(np.abs(guessed - true) / _sizes(true), MOST_OFF).mean())


def _sizes(damages: np.ndarray) -> np.ndarray:
    sizes = np.abs(damages)
    return np.asarray(np.maximum(sizes, max(LEAST_SHARE * float(np.median(sizes)), 1e-12)))


def _trust(true: np.ndarray, guessed: np.ndarray, summed: np.ndarray) -> Trust:
    off, alone = ((found - true) / np.maximum(np.abs(true), 1e-12) for found in (guessed, summed))
    # Split conformal: the next error is within it with the stated chance.
    place = min(math.ceil(QUANTILE * (len(off) + 1)), len(off)) - 1
    margin = float(np.sort(np.abs(off))[place])
    error, sum_alone = (float(np.minimum(np.abs(one), MOST_OFF).mean()) for one in (off, alone))
    return Trust(len(true), kendall_tau(true, guessed), error, margin, sum_alone)


# --- forms ------------------------------------------------------------------------------------------


def _curved(made: Quantity, train: _Samples) -> Quantity:
    """With a curve, by the median of the slopes between logarithms (Theil 1950, Sen 1968)."""
    sums = made.damage.of(train.networks)
    usable = (sums > 1e-9) & (train.damages > 1e-9)
    if usable.sum() < LEAST_TO_LEARN // 2:
        return made
    x, y = np.log(sums[usable]), np.log(train.damages[usable])
    runs, rises = (np.subtract.outer(each, each)[np.triu_indices(len(each), 1)] for each in (x, y))
    far = np.abs(runs) > 1e-6
    slope = float(np.median(rises[far] / runs[far])) if far.any() else 1.0
    power = min(max(slope, LEAST_POWER), MOST_POWER)
    return replace(made, curve=(float(np.exp(np.median(y - power * x))), power))


def _before_curve(made: Quantity, damages: np.ndarray) -> np.ndarray:
    """The sums from which a curve makes these damages."""
    a, b = made.curve
    return np.asarray(np.sign(damages) * (np.abs(damages) / a) ** (1 / b))


def _refitted(made: Quantity, train: _Samples) -> Quantity:
    """With a curve, and costs of alternatives moved from what each does alone to what it does among others.

    A ridge regression around the single scores; an alternative may move in proportion to its own score and to the
    median one. How far is the ridge that predicts each network best from the others (leave-one-out, in closed form).
    """
    bent = _curved(made, train)
    wanted = _before_curve(bent, train.damages)
    weight = 1 / _sizes(wanted)
    left = (wanted - bent.damage.of(train.networks)) * weight
    singles = np.concatenate(bent.damage.costs)
    moves = 0.5 * (np.abs(singles) + float(np.median(np.abs(singles))))
    starts = np.concatenate([[0], np.cumsum([len(one) for one in bent.damage.costs])])
    columns = np.zeros((len(left), starts[-1]))
    for place, first in enumerate(starts[:-1]):
        columns[np.arange(len(left)), first + train.networks[:, place]] = 1
    # What the largest network has is none of its damage.
    moves = np.where(singles == 0, 0.0, moves)
    columns = columns * moves * weight[:, None]
    likeness, best, moved = columns @ columns.T, math.inf, np.zeros(starts[-1])
    unit = float(np.trace(likeness)) / len(left) or 1.0
    for noise in NOISES:
        inverse = np.linalg.inv(likeness + noise * unit * np.eye(len(left)))
        off = float((((inverse @ left) / np.diag(inverse)) ** 2).sum())
        if off < best:
            best, moved = off, moves * (columns.T @ (inverse @ left))
    costs = tuple(one + moved[a:b] for one, a, b in zip(bent.damage.costs, starts, starts[1:], strict=False))
    return _curved(replace(bent, damage=replace(bent.damage, costs=costs)), train)


def _paired(made: Quantity, train: _Samples, features: Sequence[Sequence[np.ndarray]]) -> Quantity:
    """With terms for pairs of blocks, one after the other while each says more than chance would.

    The best one of so many candidates explains something by luck: it is taken only if the extended Bayesian
    information criterion (Chen and Chen 2008, Biometrika 95: 759-771) falls.
    """
    wanted = _before_curve(made, train.damages)
    weight = 1 / _sizes(wanted)
    left = (wanted - made.damage.of(train.networks)) * weight
    candidates = list(_candidates(train.networks, features))
    if not candidates:
        return made
    columns = np.array([column for _, column in candidates]) * weight
    chosen: list[int] = []
    count, residual, weights = len(left), left, np.zeros(0)
    while len(chosen) < min(MOST_PAIRS, count // 4):
        gains = (columns @ residual) ** 2 / ((columns**2).sum(axis=1) + RIDGE * weight.mean() ** 2)
        gains[chosen] = -np.inf
        tried = [*chosen, int(gains.argmax())]
        found = _ridge(columns[tried], left, RIDGE * float(weight.mean()) ** 2)
        after = left - found @ columns[tried]
        before, now = float(residual @ residual), float(after @ after)
        price = math.log(count) + math.log(len(candidates))
        if not count * math.log(max(before, 1e-300) / max(now, 1e-300)) > price:
            break
        chosen, residual, weights = tried, after, found
    pairs = tuple(replace(candidates[k][0], weight=float(w)) for k, w in zip(chosen, weights, strict=True))
    return _curved(replace(made, damage=replace(made.damage, pairs=pairs)), train) if pairs else made


def _candidates(networks: np.ndarray, features: Sequence[Sequence[np.ndarray]]) -> Iterator[tuple[Pair, np.ndarray]]:
    """Pairs of sets that some of the networks are in, each with 1 where a network is; no two alike."""
    seen: set[bytes] = set()
    inside = [[chosen[networks[:, place]] for chosen in sets] for place, sets in enumerate(features)]
    for first, second in combinations(range(len(features)), 2):
        for i, one in enumerate(inside[first]):
            for j, other in enumerate(inside[second]):
                column = one & other
                if LEAST_SUPPORT <= column.sum() < len(column) and (key := column.tobytes()) not in seen:
                    seen.add(key)
                    yield Pair(first, features[first][i], second, features[second][j], 0.0), column.astype(float)


def _ridge(rows: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
    found: np.ndarray = np.linalg.solve(rows @ rows.T + ridge * np.eye(len(rows)), rows @ target)
    return found


# --- what costs nothing to ask for ------------------------------------------------------------------


def _of_known(blocks: Blocks, metric: str, goal: Goal, cost: ExactCost) -> Quantity | str:
    """A cost of every network as a sum over blocks: exactly, or as nearly as sums come; or why it cannot be had."""
    adds, rng = adds_of(metric), np.random.default_rng(0)
    singles = np.array(blocks.singles())
    drawn = np.stack([rng.integers(0, len(one.alternatives), ASKED + JUDGED) for one in blocks.blocks], axis=1)
    networks = np.concatenate([singles, drawn])
    values = np.array(exact_values(cost, [blocks.architecture(one) for one in networks.tolist()]), dtype=float)
    if not np.isfinite(values).all():
        return "some networks have none"
    source = METRICS[metric].source if metric in METRICS else Source.ANALYTIC
    source = Source.PREDICTED if source is Source.MEASURED else source
    empty = Terms(0.0, tuple(np.zeros(len(one.alternatives)) for one in blocks.blocks))
    made = Quantity(metric, goal, adds, float(values[0]), empty, (1.0, 1.0), metric, source, NOBODY_KNOWS)
    damages = on_scale(values, goal, adds) - on_scale(values[:1], goal, adds)
    made = replace(made, damage=_from_singles(blocks, singles, damages[: len(singles)]))
    judged = slice(len(values) - JUDGED, None)
    trust = _trust(values[judged], made.values(networks[judged]), made.values(networks[judged]))
    if trust.margin <= EXACT:
        return replace(made, trust=replace(trust, error=0.0, margin=0.0))
    fitted = replace(made, damage=_least_squares(made.damage, networks[:-JUDGED], damages[:-JUDGED]))
    trust = _trust(values[judged], fitted.values(networks[judged]), made.values(networks[judged]))
    if trust.margin > MOST_OFF_SUM:
        return f"it does not add up from blocks: of ten sums one is off by {trust.margin:.0%}"
    return replace(fitted, trust=trust)


def added_up(blocks: Blocks, metric: str, goal: Goal, cost: ExactCost, source: Source) -> Quantity:
    """A metric that is a sum over layers, such as the price by a table of layers: exact from single alternatives."""
    singles = np.array(blocks.singles())
    values = np.array(exact_values(cost, [blocks.architecture(one) for one in singles.tolist()]), dtype=float)
    adds, largest = adds_of(metric), values[:1]
    damage = _from_singles(blocks, singles, on_scale(values, goal, adds) - on_scale(largest, goal, adds))
    exactly = Trust(0, None, 0.0, 0.0, 0.0)
    return Quantity(metric, goal, adds, float(largest[0]), damage, (1.0, 1.0), metric, source, exactly)


def _from_singles(blocks: Blocks, singles: np.ndarray, damages: np.ndarray) -> Terms:
    costs = [np.zeros(len(block.alternatives)) for block in blocks.blocks]
    largest = np.array(blocks.largest)
    for network, damage in zip(singles[1:], damages[1:], strict=True):
        place = int((network != largest).argmax())
        costs[place][network[place]] = damage
    return Terms(0.0, tuple(costs))


def _least_squares(start: Terms, networks: np.ndarray, damages: np.ndarray) -> Terms:
    """Costs of alternatives that fit whole networks best, near those that they have alone."""
    sizes = [len(one) for one in start.costs]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    columns = np.zeros((len(networks), starts[-1] + 1))
    columns[:, -1] = 1
    for place, first in enumerate(starts[:-1]):
        columns[np.arange(len(networks)), first + networks[:, place]] = 1
    left = damages - start.of(networks)
    found = np.linalg.solve(columns.T @ columns + 0.1 * np.eye(columns.shape[1]), columns.T @ left)
    costs = tuple(one + found[first : first + len(one)] for one, first in zip(start.costs, starts, strict=False))
    return Terms(float(found[-1]), costs)
