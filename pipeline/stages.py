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
from pipeline.reporter import Reporter
from pipeline.shared_search import Evaluate, evaluate_of
from pipeline.sharing_cost import measure_sharing
from pipeline.training import train_supernet
from pipeline.workshop import Workshop, make_evaluator
from predictors.cost import ANALYTIC, costs
from quantization.quantized_evaluator import QuantizedEvaluator
from search.algorithms import algorithm_for
from search.algorithms.blocks.algorithm import BlockSearch
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
    spec, space, reporter = shop.spec, shop.space, shop.reporter
    check(spec, space, reporter)
    reporter.stage(Stage.PREPARE_DATA)
    decoding = decoding_of(
        shop.settings,
        local_processes(),
        progress=reporter.progress,
        tell=lambda text: reporter.tell("info", text),
    )
    data = prepare_data(spec, space, shop.device, decoding)
    described = samples.described(data)
    read = read_of(spec, data, described)
    reporter.record(read)
    for level, text in said_of_data(data, read):
        reporter.tell(level, text)
    samples.keep(spec, space, data, described, shop.files, reporter)
    strategy(shop, data)
    reporter.end(JobState.SUCCEEDED, reporter.ended_early)


def search_supernet(shop: Workshop, data: Dataset) -> None:
    """The stages of a job that trains one supernet and evaluates its sub-networks."""
    spec, space, files, reporter = shop.spec, shop.space, shop.files, shop.reporter
    asked = spec, space, data, shop.settings.tasks_dir
    exams, held_out = exams_of(*asked), held_out_exams_of(*asked)  # a bad task fails before the training
    healer = None if spec.healing is None else Healer(shop, data, exams, held_out)
    expect(spec, len(data.train), reporter)
    supernet = train_supernet(spec, space, data, Orders(shop.group, shop.device), files, reporter)
    if spec.checks_sharing:
        measure_sharing(spec, data, supernet, files, reporter)
    # A front that is there is taken as it is: this run goes on with the healing, or another job has measured it.
    is_there = again.has_front(reporter) if healer is None else bool(reporter.records(FrontRecord))
    compared = spec.quantization is not None and has_baselines(reporter)
    if not is_there or compared:
        evaluator = make_evaluator(spec, supernet, data, exams)
        delivering = make_evaluator(spec, supernet, data, exams, delivered=True)
        targets = Targets(spec, reporter, shop.artifacts, shop.settings)
        hardware = prepare_hardware(spec, evaluator.space, targets, reporter)
        lab = Lab(spec, evaluator, delivering, hardware, held_out)
        if not is_there:
            climb = climb_of(shop, healer, supernet)
            evaluate = evaluate_of(evaluator, spec.search.helpers, reporter, shop.settings)
            found = search(spec, evaluator, hardware, evaluate, reporter, climb)
            climbed = [] if climb is None else climb.finish(found)
            measure_front(lab, found, reporter, climbed)
        if compared:
            measure_baselines(lab, reporter)
    if healer is not None:
        healer.run(supernet)


def expect(spec: JobSpec, examples: int, reporter: Reporter) -> None:
    """Let earlier jobs say how long this one takes. A job that nobody can compare with them goes by its own pace."""
    try:
        found = reporter.transact(lambda session: estimate(session, spec, examples))
    except ValueError as error:
        log.info("Earlier jobs say nothing of this one.", reason=str(error))
        return
    known = {Stage(one.stage): Seconds(one.seconds, one.low, one.high) for one in found.stages}
    reporter.expect(known)


# --- search --------------------------------------------------------------------------------------


def search(
    spec: JobSpec,
    evaluator: Evaluator,
    hardware: Hardware,
    shared: Evaluate,
    reporter: Reporter,
    climb: Climb | None = None,
) -> list[Evaluation]:
    """Every evaluation of the search, or of what there was when it was stopped; stored ones are replayed.

    Args:
        shared: evaluates a batch with this evaluator, alone or together with other workers.
        climb: the ladder of a job with `search.fidelities`.
    """
    plan, space = spec.search, evaluator.space
    if plan.warm_start:
        reporter.warm_start(scores_alike(spec))
    known: dict[str, Evaluation] = {}
    warm: list[Evaluation] = []
    for row in reporter.evaluations():
        evaluation = evaluation_of(space.architecture(**row.values), row)
        if copied(row):
            warm.append(on_this_target(hardware, recounted(space, evaluation, row, reporter), row, reporter))
        else:
            known[evaluation.architecture.id] = evaluation
    if warm:
        reporter.tell("info", f"{len(warm)} evaluations of earlier searches of this supernet are known.")
    reporter.stage(Stage.SEARCH, len(known) / plan.evaluations)
    seeds = first_policies(spec, evaluator, reporter) if isinstance(evaluator, QuantizedEvaluator) else []
    problem = search_problem(spec, space, hardware, warm, seeds)
    algorithm = algorithm_for(
        problem,
        plan.algorithm,
        seed=plan.seed,
        evaluations=plan.evaluations,
        options=plan.options,
    )
    reporter.stage(Stage.SEARCH, stage_done(climb, len(known) / plan.evaluations))
    ladder = None if climb is None else climb.ladder(algorithm, warm)

    def evaluate(architectures: Sequence[Architecture]) -> list[Evaluation]:
        found = []
        for row, scored in shared(architectures):
            evaluation = hardware.added_to(scored, reporter.listen)
            reporter.evaluation(row_of(evaluation, row.seconds))
            known[evaluation.architecture.id] = evaluation
            structlog.contextvars.bind_contextvars(step=len(known))
            if climb is None:
                reporter.items(len(known), plan.evaluations)
            else:
                reporter.progress(climb.evaluated(len(known) / plan.evaluations))
            found.append(evaluation)
        return found

    found = reporter.until_stopped(lambda: run_search(algorithm, evaluate, known, ladder))
    if found is None:
        reporter.take_down()
        if len(known) < plan.evaluations:
            reporter.ended_early = f"Stopped by request after {len(known)} of {plan.evaluations} evaluations."
        found = list(known.values())
    if isinstance(algorithm, BlockSearch):
        keep_scores(algorithm.blocks, problem, [*warm, *found], hardware, reporter)
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


def recounted(space: SearchSpace, known: Evaluation, row: EvaluationRow, reporter: Reporter) -> Evaluation:
    """An evaluation of another job with the costs that this job counts, whose texts may be longer or more at once."""
    metrics = {**known.metrics, **costs(space, known.architecture)}
    if metrics == known.metrics:
        return known
    counted = Evaluation(known.architecture, metrics, {**dict.fromkeys(metrics, Source.ANALYTIC), **known.sources})
    reporter.rescore(row_of(counted, row.seconds))
    return counted


def on_this_target(hardware: Hardware, known: Evaluation, row: EvaluationRow, reporter: Reporter) -> Evaluation:
    """An evaluation of another job with the metrics of this job's device, which is asked for them once."""
    if all(metric in row.metrics for metric in hardware.metrics):
        return known
    completed = hardware.added_to(known, reporter.listen)
    reporter.rescore(row_of(completed, row.seconds))
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
