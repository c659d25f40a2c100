"""Any limits, answered at once: from a job's block scores to the network that is predicted to be best within them."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from job.versions import read_job
from search.metrics import METRICS, Source
from service import jobs, targets
from service.errors import Conflict, InvalidRequest
from service.store import records
from service.store.models import TERMINAL_STATES, EvaluationRow, Job, Target
from service.store.records import BlockMetric, BlockScores, PairTerm

if TYPE_CHECKING:
    import numpy as np

    from search.blocks.solver import Limit, Solution
    from search.blocks.table import BlockTable, Quantity
    from search_space.architecture import Architecture, Option
    from search_space.space import SearchSpace

# Of one program: the rest of 100 ms is for rows, the space and the answer.
SECONDS = 0.04


@dataclass(frozen=True, slots=True)
class Predicted:
    """A number of a network that nobody has measured.

    Attributes:
        low, high: the true value lies between them, 9 times of 10; None: nobody knows.
        exact: whether it is what it is.
    """

    value: float
    low: float | None
    high: float | None
    exact: bool


@dataclass(frozen=True, slots=True)
class Beyond:
    """A limit that a network exceeds.

    Attributes:
        by: how far, as a share of the limit.
    """

    metric: str
    limit: float
    value: float
    by: float


@dataclass
class Solved:
    """The network for one set of limits.

    Attributes:
        feasible: whether it keeps them; if not, it is the one that comes nearest.
        gap: how far below its sum of damages the best possible one may lie, as a share; 0: proved best.
        evaluated: its scores in the job, where it has been measured.
    """

    limits: dict[str, float]
    feasible: bool
    gap: float
    architecture_id: str
    values: dict[str, Option]
    predicted: dict[str, Predicted]
    beyond: list[Beyond]
    evaluated: dict[str, float | None] | None = None


@dataclass
class Answer:
    """What is answered.

    Attributes:
        objective: what was made best.
        distrust: why the ranking should not be trusted; empty: it may be.
        metrics: how far each metric's predictions can be trusted.
    """

    objective: str
    solutions: list[Solved]
    distrust: list[str]
    metrics: list[BlockMetric]
    left_out: dict[str, str]
    seconds: float = 0.0


def solve_for(
    session: Session,
    job_id: str,
    limits: Mapping[str, float],
    objective: str | None = None,
    sweep: tuple[str, int] | None = None,
    target: str | None = None,
) -> Answer:
    """The network that is predicted to be best within limits; or one for each of several limits on one metric.

    Args:
        limits: metric -> the worst value that will do.
        objective: what is made best; None: the first objective of the job that blocks were scored by.
        sweep: a metric, and for how many limits on it, evenly spread over what networks within `limits` may have.
        target: an uploaded table of layers, whose prices are `latency_ms` instead of the job's own.

    Raises:
        NotFound: no such job, or no such target.
        Conflict: the job has no block scores.
        InvalidRequest: a metric that was not scored, or a limit that is none.
    """
    begin = time.monotonic()
    job = jobs.get(session, job_id)
    stored = records.read(session, job.id, BlockScores)
    if not stored:
        raise Conflict(_none_yet(job), state=job.state)
    spec = read_job(job.spec)
    space, objectives = spec.space(), [one.metric for one in spec.objectives]
    priced = None if target is None else _priced(space, stored[0], targets.get(session, target))
    answer = answer_from(stored[0], space, objectives, limits, objective, sweep, priced)
    for one in answer.solutions:
        row = session.get(EvaluationRow, (job.id, one.architecture_id))
        if row is not None:  # its latency was measured on the job's own target, which is another one
            one.evaluated = {
                name: value for name, value in row.metrics.items() if priced is None or name != priced.metric
            }
    answer.seconds = time.monotonic() - begin
    return answer


def answer_from(
    scores: BlockScores,
    space: SearchSpace,
    objectives: Sequence[str],
    limits: Mapping[str, float],
    objective: str | None = None,
    sweep: tuple[str, int] | None = None,
    priced: BlockMetric | None = None,
) -> Answer:
    """The same from the scores alone.

    Args:
        space: that they are of.
        objectives: objectives of the job.
        priced: latency on another device.

    Raises:
        Conflict: none of these adds up from blocks.
        InvalidRequest: a metric that was not scored, or a limit that is none.
    """
    if priced is not None:
        others = (one for one in scores.metrics if one.metric != priced.metric)
        left_out = {metric: reason for metric, reason in scores.left_out.items() if metric != priced.metric}
        scores = scores.model_copy(update={"metrics": (*others, priced), "left_out": left_out})
    table = table_of(scores)
    best = table.quantities[_objective(table, objectives, objective)]
    kept = {metric: _limit(table, metric, value) for metric, value in limits.items()}
    asked = [dict(limits)] if sweep is None else _swept(table, best, sweep, limits, kept)
    largest = space.largest().values  # choices with one option are of no block
    solutions: dict[str, Solved] = {}
    for values in asked:
        solution = _solved(best, {metric: _limit(table, metric, value) for metric, value in values.items()})
        architecture = space.architecture(**{**largest, **_values(scores, solution.network)})
        solutions.setdefault(architecture.id, _answered(table, space, architecture, solution, values))
    limited = dict.fromkeys(metric for values in asked for metric in values)
    distrust = table.distrust(list(dict.fromkeys([best.metric, *limited])))
    return Answer(best.metric, list(solutions.values()), distrust, list(scores.metrics), dict(scores.left_out))


# (table's name and text, the space's blocks and layers) -> its prices, of the last few that were asked for.
_PRICED: OrderedDict[tuple[str, ...], BlockMetric] = OrderedDict()
_PRICING = threading.Lock()
MOST_PRICED = 16


def _priced(space: SearchSpace, scores: BlockScores, row: Target) -> BlockMetric:
    """What every alternative adds to the latency on a target, from its table of layers."""
    from predictors.table_files import parse_table
    from predictors.tables import MissingRow
    from search.blocks.fit import added_up
    from search.blocks.parts import Blocks

    if row.kind != "table":
        raise InvalidRequest(
            f"Target {row.name} is a machine, and what networks take there is known once they are measured: "
            f"`winnow extend JOB --target {row.name}`, and ask that job. A table of layers can be named here."
        )
    names = json.dumps([block.model_dump(mode="json") for block in scores.blocks])
    # Layers that no block shapes have prices too: classes, lengths of texts, and choices with one option.
    layers = repr(space.layers(space.largest()))
    key = row.name, hashlib.sha256((row.table or "").encode()).hexdigest(), space.name, names, layers
    with _PRICING:
        if key in _PRICED:
            _PRICED.move_to_end(key)
            return _PRICED[key]
    table = parse_table(row.table or "", f"The table of target {row.name}")
    try:
        found = added_up(
            Blocks(space), "latency_ms", "minimize", lambda one: table.price(space.layers(one)), Source.PREDICTED
        )
    except MissingRow as error:
        raise InvalidRequest(str(error), missing=list(error.keys[:20])) from None
    made = metric_of(found)
    with _PRICING:
        _PRICED[key] = made
        while len(_PRICED) > MOST_PRICED:
            _PRICED.popitem(last=False)
    return made


def table_of(scores: BlockScores) -> BlockTable:
    """Stored scores as the solver takes them."""
    from search.blocks.table import BlockTable

    sizes = tuple(len(block.alternatives) for block in scores.blocks)
    quantities = {one.metric: _quantity(one, sizes) for one in scores.metrics}
    return BlockTable(sizes, quantities, scores.left_out)


def metric_of(one: Quantity) -> BlockMetric:
    """A quantity as it is stored."""
    trust = one.trust
    return BlockMetric(
        metric=one.metric,
        goal=one.goal,
        adds=one.adds,
        largest=one.largest,
        base=one.damage.base,
        costs=tuple(tuple(map(float, costs)) for costs in one.damage.costs),
        pairs=tuple(
            PairTerm(
                first=pair.first,
                of_first=tuple(map(int, pair.of_first.nonzero()[0])),
                second=pair.second,
                of_second=tuple(map(int, pair.of_second.nonzero()[0])),
                weight=pair.weight,
            )
            for pair in one.damage.pairs
        ),
        curve=one.curve,
        scores=one.scores,
        source=one.source,
        combinations=trust.combinations,
        tau=trust.tau,
        error=_finite(trust.error),
        margin=_finite(trust.margin),
        sum_alone=_finite(trust.sum_alone),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _quantity(one: BlockMetric, sizes: Sequence[int]) -> Quantity:
    import numpy as np  # the API starts without it

    from search.blocks.solver import Pair, Terms
    from search.blocks.table import Quantity, Trust

    def inside(block: int, chosen: Sequence[int]) -> np.ndarray:
        return np.isin(np.arange(sizes[block]), chosen)

    pairs = tuple(
        Pair(p.first, inside(p.first, p.of_first), p.second, inside(p.second, p.of_second), p.weight) for p in one.pairs
    )
    known = [math.inf if value is None else value for value in (one.error, one.margin, one.sum_alone)]
    return Quantity(
        one.metric,
        one.goal,
        one.adds,
        one.largest,
        Terms(one.base, tuple(np.array(costs) for costs in one.costs), pairs),
        one.curve,
        one.scores,
        one.source,
        Trust(one.combinations, one.tau, *known),
    )


def _none_yet(job: Job) -> str:
    algorithm = job.spec.get("search", {}).get("algorithm")
    if algorithm != "blocks":
        return (
            f"Job {job.id} searched with {algorithm!r}, which scores whole networks and no blocks. "
            "`winnow extend` it with search.algorithm=blocks, and ask that job."
        )
    if job.state in TERMINAL_STATES:
        return (
            f"Job {job.id} is {job.state}, and its search left no block scores. Retry it if that is allowed, or "
            "`winnow rerun` it from the search, and ask that job."
        )
    return f"Job {job.id} has no block scores yet; they are there once its search has ended."


def _objective(table: BlockTable, objectives: Sequence[str], asked: str | None) -> str:
    if asked is not None:
        return _known(table, asked)
    named = [metric for metric in objectives if metric in table.quantities]
    learned = [metric for metric in named if not table.quantities[metric].trust.is_exact]
    if not named:
        raise Conflict(f"No objective of the job adds up from blocks: {_why(table)}. Name another one to solve for.")
    return (learned or named)[0]


def _known(table: BlockTable, metric: str) -> str:
    if metric in table.quantities:
        return metric
    if metric in table.left_out:
        raise InvalidRequest(f"{metric} is not known of blocks: {table.left_out[metric]}.")
    raise InvalidRequest(f"{metric!r} was not scored in this job. Known: {', '.join(table.quantities)}.")


def _why(table: BlockTable) -> str:
    return "; ".join(f"{metric}: {reason}" for metric, reason in table.left_out.items()) or "none was scored"


def _limit(table: BlockTable, metric: str, value: float) -> Limit:
    quantity = table.quantities[_known(table, metric)]
    if not value > 0 or not math.isfinite(value):
        raise InvalidRequest(f"Got a limit of {value:g} on {metric}; it must be a positive number.")
    return quantity.limit(value)


def _solved(best: Quantity, limits: Mapping[str, Limit]) -> Solution:
    from search.blocks.solver import solve

    solution = solve(best.damage, list(limits.values()), seconds=SECONDS)
    assert solution is not None, "without forbidden networks there is always one that comes nearest"
    return solution


def _swept(
    table: BlockTable,
    best: Quantity,
    sweep: tuple[str, int],
    limits: Mapping[str, float],
    kept: Mapping[str, Limit],
) -> list[dict[str, float]]:
    """Limits on one metric, from its best value within the others to that of the best network."""
    import numpy as np

    metric, points = sweep
    if _known(table, metric) == best.metric:
        raise InvalidRequest(f"A sweep limits another metric than {metric}, which is made best.")
    swept = table.quantities[metric]
    ends = [_solved(one, kept).network for one in (swept, best)]
    first, last = (float(value) for value in swept.values(np.array(ends)))
    asked = [float(value) for value in np.linspace(first, last, points)]
    if metric in limits:  # none is wider than what was asked for, also where no network keeps that
        tighter = min if swept.goal == "minimize" else max
        asked = [tighter(value, limits[metric]) for value in asked]
    return [{**limits, metric: value} for value in asked]


def _values(scores: BlockScores, network: Sequence[int]) -> dict[str, Option]:
    values: dict[str, Option] = {}
    for block, alternative in zip(scores.blocks, network, strict=True):
        values |= block.alternatives[alternative]
    return values


def _counted(table: BlockTable, space: SearchSpace, architecture: Architecture) -> dict[str, float]:
    """What is counted of a network and is no sum over its blocks, such as the largest of its activations."""
    from predictors.cost import costs

    asked = [m for m, one in table.quantities.items() if one.source is Source.ANALYTIC and not one.trust.is_exact]
    found = costs(space, architecture) if asked and space.has_layers else {}
    return {metric: found[metric] for metric in asked if metric in found}


def _answered(
    table: BlockTable,
    space: SearchSpace,
    architecture: Architecture,
    solution: Solution,
    limits: Mapping[str, float],
) -> Solved:
    import numpy as np

    from search.objectives import Constraint

    network, predicted = np.array([solution.network]), {}
    counted = _counted(table, space, architecture)
    for metric, one in table.quantities.items():
        value = float(one.values(network)[0])
        low, high = one.ends(value) if math.isfinite(one.trust.margin) else (None, None)
        predicted[metric] = Predicted(value, low, high, one.trust.is_exact)
        if metric in counted:
            predicted[metric] = Predicted(counted[metric], counted[metric], counted[metric], exact=True)
    beyond = []
    for metric, limit in limits.items():
        by = Constraint(metric, limit, METRICS[metric].goal).violation(predicted[metric].value)
        if by > 0 and (metric in counted or not solution.feasible):
            beyond.append(Beyond(metric, limit, predicted[metric].value, by))
    feasible = not beyond if any(metric in counted for metric in limits) else solution.feasible
    return Solved(
        dict(limits),
        feasible,
        solution.gap,
        architecture.id,
        architecture.values,
        predicted,
        beyond,
    )
