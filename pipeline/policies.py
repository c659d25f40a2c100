"""What a search of policies begins with and is compared with: sensitivities, seeds, baselines.

Each is a record of the job, so a resumed job has the same seeds and measures no baseline twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from functools import partial

from job.hardware_spec import with_margin
from job.spec import JobSpec
from pipeline import again
from pipeline.finalists import Lab
from pipeline.hardware import Hardware
from pipeline.reporter import Reporter
from pipeline.workshop import JobFailed
from predictors.cost import ANALYTIC
from quantization.calibration import CalibrationError
from quantization.first_policies import candidates_of, seeds_from
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.quantized_space import QuantizedSpace
from quantization.sensitivity import Sensitivity, sensitivities
from search.algorithms import algorithm_for
from search.evaluation import Evaluation, numbers
from search.loop import run_search
from search.metrics import METRICS
from search.problem import CostOf, ExactCost, Problem
from search_space.architecture import Architecture
from service.store.models import Stage, Verb
from service.store.records import Baseline, BaselineScore, LayerSensitivity, SensitivityRecord

# The baselines of every job: the name on the front's page.
LARGEST_FULL, LARGEST_QUANTIZED = "largest network, widest", "largest network, narrowest"
BEST_QUANTIZED = "best architecture, then narrowest"
NUM_BASELINES = 3


def first_policies(spec: JobSpec, evaluator: QuantizedEvaluator, reporter: Reporter) -> list[Architecture]:
    """Architectures with policies that the search evaluates first.

    Raises:
        JobFailed: the largest network's activations cannot be quantized.
    """
    return seeds_from(evaluator.policies, sensitivity_of(spec, evaluator, reporter), spec.search.evaluations)


def sensitivity_of(spec: JobSpec, evaluator: QuantizedEvaluator, reporter: Reporter) -> Sequence[LayerSensitivity]:
    """Divergence of the largest network with one layer quantized, for every layer and width; stored once.

    Raises:
        JobFailed: the largest network's activations cannot be quantized.
    """
    asked = spec.quantization
    if asked is None or not asked.sensitivity:
        return []
    stored = reporter.records(SensitivityRecord)
    if stored:
        return stored[0].layers
    space = evaluator.policies
    largest = space.base.largest()
    try:
        network = evaluator.quantizable(largest)
    except CalibrationError as error:
        raise JobFailed(f"The largest network cannot be quantized. {error}") from error
    candidates = candidates_of(space, largest)
    found = []
    count = sum(not precision.is_full for precisions in candidates.values() for precision in precisions)
    for one in sensitivities(network, candidates, evaluator.examples):
        found.append(layer_sensitivity(one))
        reporter.doing(f"{len(found)} of {count} layers are quantized alone, to see what each of them costs")
        reporter.listen()
    reporter.record(SensitivityRecord(architecture_id=space.quantized(largest, 32).id, layers=tuple(found)))
    return found


def layer_sensitivity(found: Sensitivity) -> LayerSensitivity:
    return LayerSensitivity(
        layer=found.layer,
        precision=str(found.precision),
        divergence=found.divergence,
        agreement=found.agreement,
        bits=found.bits,
    )


# --- baselines ------------------------------------------------------------------------------------


class Progress:
    """How many of the networks that baselines take are done: those that the search for the best one scores, and the
    baselines themselves. What is stored is read once, at the beginning.

    Args:
        asked: so many networks are scored at most.
        measured: so many baselines are stored.
    """

    def __init__(self, reporter: Reporter, asked: int, measured: int) -> None:
        self._reporter, self._asked = reporter, asked
        self._scored, self._measured = len(reporter.records(BaselineScore)), measured

    @property
    def counted(self) -> tuple[int, int]:
        """So many are done, of so many."""
        return min(self._asked, self._scored) + self._measured, self._asked + NUM_BASELINES

    def scored(self) -> None:
        """One more network of the search is stored; may raise to stop."""
        self._scored += 1
        self._reporter.items(*self.counted)

    def measured(self) -> None:
        """One more baseline is stored; may raise to stop."""
        self._measured += 1
        self._reporter.items(*self.counted, force=True)


def has_baselines(reporter: Reporter) -> bool:
    """Whether the front of a search of policies is compared with others: one network that is measured again is not."""
    return reporter.job().parent_verb != Verb.MEASURE


def measure_baselines(lab: Lab, reporter: Reporter) -> None:
    """What the front of a search of policies is compared with: scored and measured like a finalist.

    Raises:
        Interrupted: the job is to be paused or cancelled; what was done is stored.
    """
    evaluator = lab.searching
    finished = {baseline.name for baseline in reporter.records(Baseline)}
    assert lab.spec.quantization is not None
    count = Progress(reporter, lab.spec.quantization.baseline_evaluations, len(finished))
    done, total = count.counted
    reporter.stage(Stage.MEASURE_BASELINES, done / total)
    reporter.items(*count.counted, force=True)
    if len(finished) == NUM_BASELINES:
        return
    named = baseline_architectures(lab, count, reporter)
    left = {name: architecture for name, architecture in named.items() if name not in finished}
    scored = [evaluator.evaluate([architecture])[0] for architecture in left.values()]
    measured = lab.tested(list(left.values()), reporter.listen)
    for name, evaluation, found in zip(left, scored, measured, strict=True):
        baseline = Baseline(
            name=name,
            architecture_id=evaluation.architecture.id,
            values=evaluation.architecture.values,
            metrics={**evaluation.metrics, **found.numbers},
            sources=evaluation.sources | found.how,
            measurements=found.measurements,
        )
        reporter.record(baseline)
        count.measured()


def baseline_architectures(lab: Lab, count: Progress, reporter: Reporter) -> dict[str, Architecture]:
    """The networks that a joint search has to beat, by name.

    The best architecture is that of a search in the widest numbers alone, with the job's own algorithm; a job that is
    stopped goes without it. One that measures another job's front again has that job's scores, and is not stopped.

    Args:
        count: hears of every network that is scored.
    """
    space = lab.searching.space
    assert isinstance(space, QuantizedSpace)
    narrow, wide = min(space.quantization.bits), max(space.quantization.bits)
    named = {
        LARGEST_FULL: space.quantized(space.base.largest(), wide),
        LARGEST_QUANTIZED: space.quantized(space.base.largest(), narrow),
    }

    def find() -> Architecture:
        return _best_architecture(lab, space, count, reporter)

    best = find() if again.only_measures(reporter) else reporter.until_stopped(find)
    if best is not None:
        return {**named, BEST_QUANTIZED: space.quantized(best, narrow)}
    told = f"The front is compared without the {BEST_QUANTIZED}."
    reporter.ended_early = " ".join(filter(None, (reporter.ended_early, told)))
    return named


def _best_architecture(lab: Lab, space: QuantizedSpace, count: Progress, reporter: Reporter) -> Architecture:
    """The best network by the score that is learned from data, of those found by a search without policies."""
    spec, evaluator, hardware = lab.spec, lab.searching, lab.hardware
    quantization, metric, plan = spec.quantization, evaluator.data.metric, spec.search
    assert quantization is not None
    base, wide = space.base, max(space.quantization.bits)
    known = {}
    for stored in reporter.records(BaselineScore):
        architecture = base.architecture(**stored.values)
        known[architecture.id] = Evaluation(architecture, numbers(stored.metrics))

    def evaluate(architectures: Sequence[Architecture]) -> list[Evaluation]:
        found = []
        for architecture in evaluator.in_order(architectures):
            (scored,) = evaluator.evaluate([space.quantized(architecture, wide)])
            metrics = dict(hardware.added_to(scored, reporter.listen).metrics)
            reporter.record(BaselineScore(values=architecture.values, metrics=metrics))
            count.scored()
            found.append(Evaluation(architecture, metrics))
        return found

    objectives, constraints = with_margin(*spec.goals, hardware.margins)
    problem = Problem(base, objectives, constraints, _costs(space, wide, spec.metrics & set(ANALYTIC), hardware))
    algorithm = algorithm_for(
        problem,
        plan.algorithm,
        seed=plan.seed,
        evaluations=quantization.baseline_evaluations,
        options=plan.options,
    )
    evaluations = run_search(algorithm, evaluate, known)
    sign = 1 if METRICS[metric].goal == "maximize" else -1
    scored = [e for e in evaluations if math.isfinite(e.metrics[metric])] or evaluations
    best = max(scored, key=lambda e: (sign * e.metrics[metric], -e.metrics["size_bytes"], e.architecture.id))
    return best.architecture


def _costs(space: QuantizedSpace, wide: int, exact: Set[str], hardware: Hardware) -> dict[str, ExactCost]:
    """Metrics that cost nothing to ask for, of networks of the base space in their widest numbers."""
    known: dict[str, ExactCost] = {metric: partial(ANALYTIC[metric], space) for metric in sorted(exact)}
    known.update(hardware.known)
    return {metric: CostOf(cost, lambda one: space.quantized(one, wide)) for metric, cost in known.items()}
