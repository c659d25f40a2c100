"""The stages of a job. Each resumes from what is stored, so a killed run loses seconds.

prepare data -> train supernet -> measure hardware -> fit predictors -> search -> measure finalists -> done

A search by gradient goes through the same stages in its own way: `workers/proxyless.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from predictors.cost import ANALYTIC
from search.algorithms import algorithm_for
from search.evaluation import Evaluation
from search.hardware_spec import with_margin
from search.loop import run_search
from search.objectives import limits_of
from search.pareto import pareto_front
from search.problem import Problem
from search.spec import JobSpec
from search_space.architecture import Architecture
from search_space.space import SearchSpace
from service.store.models import EvaluationRow, Finalist
from supernet.data import Dataset
from supernet.evaluate import score
from workers.evaluator import Evaluator
from workers.finalists import measured_finalist, tell_violations
from workers.hardware import Hardware, prepare_hardware
from workers.materials import prepare_data
from workers.proxyless import search_by_gradient
from workers.training import train_supernet
from workers.workshop import JobFailed, Workshop, make_evaluator

__all__ = ["JobFailed", "Workshop", "make_evaluator", "run"]

log = structlog.get_logger()


def run(shop: Workshop) -> None:
    """Every stage in order, then the job has succeeded.

    Raises:
        Interrupted: the job is to be paused or cancelled; what was done is stored.
        DiskFull: a file could not be written; what was stored before is intact.
        JobFailed: with the reason for the user.
    """
    shop.reporter.stage("prepare data")
    data = prepare_data(shop.spec, shop.space, shop.device)
    for note in data.notes:
        shop.tell("warning", note)
    if shop.spec.gradient is not None:
        search_by_gradient(shop, data)
    else:
        search_supernet(shop, data)
    shop.reporter.end("succeeded", None)


def search_supernet(shop: Workshop, data: Dataset) -> None:
    """The stages of a job that trains one supernet and evaluates its sub-networks."""
    supernet = train_supernet(shop, data)
    evaluator = make_evaluator(shop.spec, supernet, data)
    hardware = prepare_hardware(shop)
    evaluations = search(shop, evaluator, hardware)
    measure_finalists(shop, evaluator, evaluations, hardware)


# --- search --------------------------------------------------------------------------------------


def search(shop: Workshop, evaluator: Evaluator, hardware: Hardware) -> list[Evaluation]:
    """Every evaluation of the search; those that are stored already are replayed."""
    plan, space = shop.spec.search, shop.space
    algorithm = algorithm_for(
        search_problem(shop.spec, space, hardware),
        plan.algorithm,
        seed=plan.seed,
        evaluations=plan.evaluations,
        options=plan.options,
    )
    stored = shop.reporter.evaluations()
    known: dict[str, Evaluation] = {}
    for row in stored:
        architecture = space.architecture(**row.values)
        known[architecture.id] = Evaluation(architecture, row.metrics, row.sources)
    shop.reporter.stage("search", len(known) / plan.evaluations)

    def evaluate(architecture: Architecture) -> Evaluation:
        began = time.monotonic()
        evaluation = evaluator.evaluate(architecture)
        assert not isinstance(evaluation.source, str)
        on_target, sources = hardware.scores(shop, architecture)
        evaluation = Evaluation(architecture, {**evaluation.metrics, **on_target}, {**evaluation.source, **sources})
        assert not isinstance(evaluation.source, str)
        shop.reporter.evaluation(
            EvaluationRow(
                architecture_id=architecture.id,
                values=architecture.values,
                metrics=dict(evaluation.metrics),
                sources=dict(evaluation.source),
                seconds=time.monotonic() - began,
            )
        )
        known[architecture.id] = evaluation
        shop.reporter.progress(len(known) / plan.evaluations)
        return evaluation

    return run_search(algorithm, evaluate, known)


def search_problem(spec: JobSpec, space: SearchSpace, hardware: Hardware) -> Problem:
    """What a job's search looks for; costs that layer specs give are exact, and predictions cost nothing to ask."""

    def exact(metric: str) -> Callable[[Architecture], float]:
        return lambda architecture: float(ANALYTIC[metric](space, architecture))

    objectives, constraints = with_margin(*spec.goals, hardware.margins)
    wanted = {objective.metric for objective in objectives} | {constraint.metric for constraint in constraints}
    return Problem(
        space,
        objectives,
        constraints,
        exact_costs={metric: exact(metric) for metric in sorted(wanted & set(ANALYTIC))} | hardware.known,
        seeds=tuple(space.architecture(**values) for values in spec.search.seed_architectures),
    )


# --- measure finalists ---------------------------------------------------------------------------


def measure_finalists(shop: Workshop, evaluator: Evaluator, evaluations: list[Evaluation], hardware: Hardware) -> None:
    """Test accuracy and measured latency of every network on the front.

    Raises:
        JobFailed: no evaluated architecture meets the limits.
    """
    front = pareto_front(evaluations, *with_margin(*shop.spec.goals, hardware.margins))
    if not front:
        raise JobFailed(_nothing_feasible(shop, evaluations))
    finished = {finalist.architecture_id for finalist in shop.reporter.finalists()}
    shop.reporter.stage("measure finalists", len(finished) / len(front))
    for position, evaluation in enumerate(front, 1):
        if evaluation.architecture.id not in finished:
            finalist = _measured(shop, evaluator, evaluation, position, hardware)
            shop.reporter.finalist(finalist)
        shop.reporter.progress(position / len(front), force=True)
    tell_violations(shop, hardware)


def _measured(
    shop: Workshop, evaluator: Evaluator, evaluation: Evaluation, position: int, hardware: Hardware
) -> Finalist:
    network = evaluator.network(evaluation.architecture)
    test_score = score(network, evaluator.data.test)
    inputs = evaluator.data.test.inputs(slice(0, 1)).cpu()
    latencies, sources, results = measured_finalist(shop, hardware, evaluation.architecture, network.cpu(), inputs)
    scored = f"test_{evaluator.data.metric}"
    return Finalist(
        job_id=shop.job_id,
        architecture_id=evaluation.architecture.id,
        position=position,
        metrics={scored: test_score, **latencies},
        sources={scored: "measured", **sources},
        measurements=results,
    )


def _nothing_feasible(shop: Workshop, evaluations: list[Evaluation]) -> str:
    """The limits that nobody met, and who came nearest."""
    limited = limits_of(*shop.spec.goals)
    nearest = min(evaluations, key=lambda e: sum(o.violation(e.metrics[o.metric]) for o in limited))
    limits = ", ".join(f"{o.metric} {o.limit:g}" for o in limited)
    scores = ", ".join(f"{o.metric} {nearest.metrics[o.metric]:g}" for o in limited)
    return (
        f"None of {len(evaluations)} architectures meets the limits ({limits}). "
        f"The nearest is {nearest.architecture.id} with {scores}."
    )
