"""What a search by blocks has scored, kept as a record, so that any limits are solved for without an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.hardware import Hardware
from pipeline.reporter import Reporter
from predictors.cost import analytic
from search.blocks.fit import fit_table
from search.blocks.parts import Blocks
from search.blocks.table import BlockTable
from search.evaluation import Evaluation
from search.metrics import METRICS
from search.problem import Problem
from service.solving import metric_of
from service.store.records import BlockScores, ScoredBlock


def keep_scores(
    blocks: Blocks, problem: Problem, evaluations: Sequence[Evaluation], hardware: Hardware, reporter: Reporter
) -> None:
    """Store the block scores of a search, and tell how far they can be trusted."""
    known = analytic(problem.space) | hardware.known
    metrics = dict.fromkeys(metric for one in evaluations for metric in one.metrics if metric in METRICS)
    goals = {metric: METRICS[metric].goal for metric in (*metrics, *known)}
    table = fit_table(blocks, evaluations, goals, known)
    reporter.record(scores_of(blocks, table, len(evaluations)))
    for reason in table.distrust([one.metric for one in problem.objectives if one.metric in table.quantities]):
        reporter.tell("warning", reason)


def scores_of(blocks: Blocks, table: BlockTable, evaluations: int) -> BlockScores:
    """A block table as it is stored."""
    return BlockScores(
        blocks=tuple(
            ScoredBlock(name=block.name, alternatives=tuple(blocks.values(place)), largest=block.largest)
            for place, block in enumerate(blocks.blocks)
        ),
        metrics=tuple(map(metric_of, table.quantities.values())),
        left_out=dict(table.left_out),
        evaluations=evaluations,
    )
