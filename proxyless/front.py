"""What a search by gradient leaves behind: every network on every target, and the measured front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.workshop import JobFailed, Workshop
from proxyless.expected_latency import Latencies
from search.evaluation import Evaluation
from search.metrics import ON_TARGET, Source
from search.pareto import pareto_front
from search_space.operations import Blocks
from service.store.models import Finalist, Stage
from service.store.records import Measured


def cross_table(
    blocks: Blocks, found: Sequence[Evaluation], latencies: Mapping[str, Latencies]
) -> dict[str, dict[str, float]]:
    """Architecture id -> target -> latency in ms from the target's table."""
    rows = {}
    for evaluation in found:
        path = blocks.path(evaluation.architecture)
        rows[evaluation.architecture.id] = {name: table.of_path(path) for name, table in latencies.items()}
    return rows


def store_front(shop: Workshop, found: Sequence[Evaluation], measured: Sequence[Measured]) -> None:
    """Store the networks that no other dominates as finalists, with what was measured of them.

    Args:
        measured: of every network.

    Raises:
        JobFailed: no network meets the job's limits.
    """
    front = pareto_front(list({e.architecture.id: e for e in found}.values()), *shop.spec.goals)
    if not front:
        raise JobFailed(
            f"None of the {len(found)} networks meets the limits of the job: "
            + "; ".join(f"{e.architecture.id} has {_in_words(e)}" for e in found)
        )
    shop.reporter.stage(Stage.MEASURE_FINALISTS)
    measured_of = {one.architecture_id: one for one in measured}
    for position, evaluation in enumerate(front, 1):
        of_network = measured_of[evaluation.architecture.id]
        on_target = {name: value for name, value in of_network.metrics.items() if name in ON_TARGET}
        metrics = {**of_network.test, **on_target}
        shop.reporter.finalist(
            Finalist(
                job_id=shop.job_id,
                architecture_id=evaluation.architecture.id,
                position=position,
                metrics=metrics,
                sources={name: of_network.sources.get(name, Source.MEASURED) for name in metrics},
                measurements=of_network.measurements,
            )
        )


def _in_words(evaluation: Evaluation) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in evaluation.metrics.items())
