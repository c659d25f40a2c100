"""How a search's batches are evaluated: in groups of neighbours, each stored as soon as it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from search.evaluation import Evaluation, numbers
from search_space.architecture import Architecture
from service.store.models import EvaluationRow
from service.store.storable import storable
from supernet.evaluator import Evaluator

# A group takes about so long, so that a killed run loses no more and a pause is heard in time.
GROUP_SECONDS = 5.0
# Architectures in the first group, before their pace is known; and at most.
FIRST_GROUP, MOST = 2, 64


class Pace:
    """How many architectures to evaluate together, from how long the last ones took."""

    def __init__(self) -> None:
        self.size = FIRST_GROUP

    def took(self, count: int, seconds: float) -> None:
        """So many took so long; a group grows at most fourfold at a time."""
        wanted = int(GROUP_SECONDS * count / max(seconds, 1e-6))
        self.size = max(1, min(wanted, 4 * self.size, MOST))


def evaluated(
    evaluator: Evaluator, architectures: Sequence[Architecture], pace: Pace
) -> Iterator[tuple[EvaluationRow, Evaluation]]:
    """Every architecture's row and evaluation, group by group; which are grouped changes no number."""
    waiting = evaluator.in_order(architectures)
    while waiting:
        group, waiting = waiting[: pace.size], waiting[pace.size :]
        began = time.monotonic()
        evaluations = evaluator.evaluate(group)
        seconds = time.monotonic() - began
        pace.took(len(group), seconds)
        for evaluation in evaluations:
            yield row_of(evaluation, seconds / len(group)), evaluation


def row_of(evaluation: Evaluation, seconds: float) -> EvaluationRow:
    """An evaluation as it is stored; a score that is no finite number is null (`storable`)."""
    return EvaluationRow(
        architecture_id=evaluation.architecture.id,
        values=evaluation.architecture.values,
        metrics=storable(evaluation.metrics),
        sources=evaluation.sources,
        seconds=seconds,
    )


def evaluation_of(architecture: Architecture, row: EvaluationRow) -> Evaluation:
    """The evaluation that a row stores; what is null is not a number."""
    return Evaluation(architecture, numbers(row.metrics), row.sources)
