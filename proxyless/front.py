"""What a search by gradient leaves behind: every network on every target, and the measured front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from job.spec import JobSpec
from pipeline.front import Reference, as_measured, store_front
from pipeline.reporter import Reporter
from proxyless.expected_latency import Latencies
from search.evaluation import Evaluation
from search.metrics import ON_TARGET, Source
from search_space.operations import Blocks
from service.store.models import Finalist, Stage
from service.store.records import Measured

# What the networks of a search by gradient are compared with.
LARGEST_FOUND = "largest network found"


def cross_table(
    blocks: Blocks, found: Sequence[Evaluation], latencies: Mapping[str, Latencies]
) -> dict[str, dict[str, float]]:
    """Architecture id -> target -> latency in ms from the target's table."""
    rows = {}
    for evaluation in found:
        path = blocks.path(evaluation.architecture)
        rows[evaluation.architecture.id] = {name: table.of_path(path) for name, table in latencies.items()}
    return rows


def store_measured(
    spec: JobSpec, found: Sequence[Evaluation], measured: Sequence[Measured], reporter: Reporter
) -> None:
    """Store every network as a finalist, with what was measured of it, and the front of those that no other dominates.

    They are compared with the largest of them: no supernet was trained whose largest network could be.

    Args:
        measured: what was measured of every network.

    Raises:
        JobFailed: no network meets the job's limits.
    """
    networks = {evaluation.architecture.id: evaluation for evaluation in found}
    reporter.stage(Stage.MEASURE_FINALISTS)
    of_network = {one.architecture_id: one for one in measured}
    finalists = []
    for name, evaluation in networks.items():
        one = of_network[name]
        on_target = {metric: value for metric, value in one.metrics.items() if metric in ON_TARGET}
        metrics = {**one.test, **on_target}
        finalist = Finalist(
            job_id=reporter.job_id,
            architecture_id=name,
            position=None,
            metrics=metrics,
            sources={metric: one.sources.get(metric, Source.MEASURED) for metric in metrics},
            intervals={metric: list(ends) for metric, ends in one.intervals.items()},
            measurements=one.measurements,
        )
        finalists.append((as_measured(evaluation, finalist), finalist))
        reporter.finalist(finalist)
    largest = max(networks.values(), key=lambda one: one.metrics["macs"])
    store_front(spec, finalists, Reference(LARGEST_FOUND, largest), reporter)
