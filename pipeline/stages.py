"""The stages of a job. Each resumes from what is stored, so a killed run loses seconds.

check -> prepare data -> train supernet -> measure hardware -> fit predictors -> search -> measure finalists
-> measure baselines -> heal -> done

What happens between the data and the front is a strategy: `search_supernet` here, or `proxyless.strategy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog

from job.hardware_spec import with_margin
from job.spec import JobSpec
from job.versions import read_job
from pipeline import again, samples
from pipeline.block_scores import keep_scores
from pipeline.check import check
from pipeline.environment import local_processes
from pipeline.evaluating import evaluation_of, row_of
from pipeline.exams import exams_of, held_out_exams_of
from pipeline.fidelities import Climb, climb_of, stage_done
from pipeline.finalists import Lab
from pipeline.front import measure_front
from pipeline.hardware import Hardware, Targets, prepare_hardware
from pipeline.healing import Healer
from pipeline.inventory import read_of, said_of_data
from pipeline.materials import decoding_of, prepare_data
from pipeline.policies import first_policies, has_baselines, measure_baselines
from pipeline.shared_search import evaluate_of
from pipeline.sharing_cost import measure_sharing
from pipeline.training import train_supernet
from pipeline.workshop import Workshop, make_evaluator
from predictors.cost import ANALYTIC, costs
from search.algorithms import algorithm_for
from search.evaluation import Evaluation
from search.loop import run_search
from search.metrics import ON_TARGET, Source
from search.problem import Problem
from search_space.architecture import Architecture
from search_space.space import SearchSpace
from service.estimate import estimate
from service.remaining import Seconds
from service.store.models import EvaluationRow, Job, JobState, Stage
from service.store.records import FrontRecord
from service.store.warm import Alike, copied
from supernet.data import Dataset
from supernet.distributed import Orders
from supernet.evaluator import Evaluator

log = structlog.get_logger()

Strategy: TypeAlias = Callable[[Workshop, Dataset], None]


def run(shop: Workshop, strategy: Strategy) -> None:
    """Every stage in order, then the job has succeeded.

    Args:
        strategy: goes from the data to the measured front.

    Raises:
        Interrupted: the job is to be paused or cancelled; what was done is stored.
        DiskFull: a file could not be written; what was stored before is intact.
        JobFailed: with the reason for the user.
    """
    check(shop.spec, shop.space, shop.reporter)
    shop.reporter.stage(Stage.PREPARE_DATA)
    decoding = decoding_of(
        shop.settings,
        local_processes(),
        progress=shop.reporter.progress,
        tell=lambda text: shop.reporter.tell("info", text),
    )
    data = prepare_data(shop.spec, shop.space, shop.device, decoding)
    described = samples.described(data)
    read = read_of(shop.spec, data, described)
    shop.reporter.record(read)
    for level, text in said_of_data(data, read):
        shop.reporter.tell(level, text)
    samples.keep(shop, data, described)
    strategy(shop, data)
    shop.reporter.end(JobState.SUCCEEDED, shop.reporter.ended_early)


def search_supernet(shop: Workshop, data: Dataset) -> None:
    """The stages of a job that trains one supernet and evaluates its sub-networks."""
    asked = shop.spec, shop.space, data, shop.settings.tasks_dir
    exams, held_out = exams_of(*asked), held_out_exams_of(*asked)  # a bad task fails before the training
    healer = None if shop.spec.healing is None else Healer(shop, data, exams, held_out)
    expect(shop, data)
    supernet = train_supernet(shop.spec, shop.space, data, Orders(shop.group, shop.device), shop.files, shop.reporter)
    measure_sharing(shop.spec, data, supernet, shop.files, shop.reporter)
    # A front that is there is taken as it is: this run goes on with the healing, or another job has measured it.
    is_there = again.has_front(shop.reporter) if healer is None else bool(shop.reporter.records(FrontRecord))
    compared = has_baselines(shop.spec, shop.reporter)
    if not is_there or compared:
        evaluator = make_evaluator(shop.spec, supernet, data, exams)
        delivering = make_evaluator(shop.spec, supernet, data, exams, delivered=True)
        targets = Targets(shop.spec, shop.reporter, shop.artifacts, shop.settings)
        hardware = prepare_hardware(shop.spec, shop.searched, targets, shop.reporter)
        lab = Lab(shop.spec, evaluator, delivering, hardware, held_out)
        if not is_there:
            climb = climb_of(shop, healer, supernet)
            found = search(shop, evaluator, hardware, climb)
            climbed = [] if climb is None else climb.finish(found)
            measure_front(lab, found, shop.reporter, climbed)
        if compared:
            measure_baselines(lab, shop.reporter)
    if healer is not None:
        healer.run(supernet)


def expect(shop: Workshop, data: Dataset) -> None:
    """Let earlier jobs say how long this one takes. A job that nobody can compare with them goes by its own pace."""
    try:
        found = shop.reporter.transact(lambda session: estimate(session, shop.spec, len(data.train)))
    except ValueError as error:
        log.info("Earlier jobs say nothing of this one.", reason=str(error))
        return
    known = {Stage(one.stage): Seconds(one.seconds, one.low, one.high) for one in found.stages}
    shop.reporter.expect(known)


# --- search --------------------------------------------------------------------------------------


def search(shop: Workshop, evaluator: Evaluator, hardware: Hardware, climb: Climb | None = None) -> list[Evaluation]:
    """Every evaluation of the search, or of what there was when it was stopped; stored ones are replayed.

    Args:
        climb: the ladder of a job with `search.fidelities`.
    """
    plan, space = shop.spec.search, shop.searched
    if plan.warm_start:
        shop.reporter.warm_start(scores_alike(shop.spec))
    known: dict[str, Evaluation] = {}
    warm: list[Evaluation] = []
    for row in shop.reporter.evaluations():
        evaluation = evaluation_of(space.architecture(**row.values), row)
        if copied(row):
            warm.append(on_this_target(shop, hardware, recounted(shop, evaluation, row), row))
        else:
            known[evaluation.architecture.id] = evaluation
    if warm:
        shop.reporter.tell("info", f"{len(warm)} evaluations of earlier searches of this supernet are known.")
    shop.reporter.stage(Stage.SEARCH, len(known) / plan.evaluations)
    seeds = first_policies(shop.spec, evaluator, shop.reporter)
    algorithm = algorithm_for(
        search_problem(shop.spec, space, hardware, warm, seeds),
        plan.algorithm,
        seed=plan.seed,
        evaluations=plan.evaluations,
        options=plan.options,
    )
    shop.reporter.stage(Stage.SEARCH, stage_done(climb, len(known) / plan.evaluations))
    ladder = None if climb is None else climb.ladder(algorithm, warm)
    shared = evaluate_of(shop, evaluator)

    def evaluate(architectures: Sequence[Architecture]) -> list[Evaluation]:
        found = []
        for row, scored in shared(architectures):
            evaluation = hardware.added_to(scored, shop.reporter.listen)
            shop.reporter.evaluation(row_of(evaluation, row.seconds))
            known[evaluation.architecture.id] = evaluation
            structlog.contextvars.bind_contextvars(step=len(known))
            if climb is None:
                shop.reporter.items(len(known), plan.evaluations)
            else:
                shop.reporter.progress(climb.evaluated(len(known) / plan.evaluations))
            found.append(evaluation)
        return found

    found = shop.reporter.until_stopped(lambda: run_search(algorithm, evaluate, known, ladder))
    if found is None:
        shop.reporter.take_down()
        if len(known) < plan.evaluations:
            shop.reporter.ended_early = f"Stopped by request after {len(known)} of {plan.evaluations} evaluations."
        found = list(known.values())
    keep_scores(shop, algorithm, [*warm, *found], hardware)
    return [*warm, *found]


def scores_alike(spec: JobSpec) -> Alike:
    """Whether another job of the same supernet scores networks as this one does; which of its numbers mean something
    else here: those of another device."""

    def alike(job: Job) -> frozenset[str] | None:
        theirs = read_job(job.spec)
        same = theirs.search.calibration_images == spec.search.calibration_images and theirs.scoring == spec.scoring
        same = same and theirs.quantization == spec.quantization
        if not same or not spec.metrics - set(ANALYTIC) - set(ON_TARGET) <= theirs.metrics:
            return None
        same_device = (theirs.target, theirs.hardware) == (spec.target, spec.hardware)
        return frozenset() if same_device else frozenset(ON_TARGET)

    return alike


def recounted(shop: Workshop, known: Evaluation, row: EvaluationRow) -> Evaluation:
    """An evaluation of another job with the costs that this job counts, whose texts may be longer or more at once."""
    metrics = {**known.metrics, **costs(shop.searched, known.architecture)}
    if metrics == known.metrics:
        return known
    counted = Evaluation(known.architecture, metrics, {**dict.fromkeys(metrics, Source.ANALYTIC), **known.sources})
    shop.reporter.rescore(row_of(counted, row.seconds))
    return counted


def on_this_target(shop: Workshop, hardware: Hardware, known: Evaluation, row: EvaluationRow) -> Evaluation:
    """An evaluation of another job with the metrics of this job's device, which is asked for them once."""
    if all(metric in row.metrics for metric in hardware.metrics):
        return known
    completed = hardware.added_to(known, shop.reporter.listen)
    shop.reporter.rescore(row_of(completed, row.seconds))
    return completed


def search_problem(
    spec: JobSpec,
    space: SearchSpace,
    hardware: Hardware,
    warm: Sequence[Evaluation] = (),
    seeds: Sequence[Architecture] = (),
) -> Problem:
    """What a job's search looks for; costs that layer specs give are exact, and predictions cost nothing to ask.

    Args:
        warm: evaluations of earlier searches of the same supernet.
        seeds: architectures to evaluate first, after those that the job names.
    """

    def exact(metric: str) -> Callable[[Architecture], float]:
        return lambda architecture: float(ANALYTIC[metric](space, architecture))

    objectives, constraints = with_margin(*spec.goals, hardware.margins)
    return Problem(
        space,
        objectives,
        constraints,
        warm_start=tuple(warm),
        exact_costs={metric: exact(metric) for metric in sorted(spec.metrics & set(ANALYTIC))} | hardware.known,
        seeds=tuple(
            dict.fromkeys([*(space.architecture(**values) for values in spec.search.seed_architectures), *seeds])
        ),
    )


# --- baselines -----------------------------------------------------------------------------------
