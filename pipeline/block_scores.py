"""What a search by blocks has scored, kept as a record, so that any limits are solved for without an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.hardware import Hardware
from pipeline.workshop import Workshop
from predictors.cost import analytic
from search.algorithms.blocks.algorithm import BlockSearch
from search.blocks.fit import fit_table
from search.blocks.parts import Blocks
from search.blocks.table import BlockTable, Quantity
from search.evaluation import Evaluation
from search.metrics import METRICS
from service.store.records import BlockMetric, BlockScores, PairTerm, ScoredBlock


def keep_scores(shop: Workshop, algorithm: object, evaluations: Sequence[Evaluation], hardware: Hardware) -> None:
    """Store the block scores of a search, if it is one by blocks, and tell how far they can be trusted."""
    if not isinstance(algorithm, BlockSearch):
        return
    space, blocks = shop.searched, algorithm.blocks
    known = analytic(space) | hardware.known
    metrics = dict.fromkeys(metric for one in evaluations for metric in one.metrics if metric in METRICS)
    goals = {metric: METRICS[metric].goal for metric in (*metrics, *known)}
    table = fit_table(blocks, evaluations, goals, known)
    shop.reporter.record(scores_of(blocks, table, len(evaluations)))
    for reason in table.distrust([one.metric for one in shop.spec.objectives if one.metric in table.quantities]):
        shop.reporter.tell("warning", reason)


def scores_of(blocks: Blocks, table: BlockTable, evaluations: int) -> BlockScores:
    """A block table as it is stored."""
    return BlockScores(
        blocks=tuple(
            ScoredBlock(name=block.name, alternatives=tuple(blocks.values(place)), largest=block.largest)
            for place, block in enumerate(blocks.blocks)
        ),
        metrics=tuple(map(_metric, table.quantities.values())),
        left_out=dict(table.left_out),
        evaluations=evaluations,
    )


def _metric(one: Quantity) -> BlockMetric:
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
