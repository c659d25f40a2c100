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
from pipeline.hardware import Hardware
from pipeline.reporter import Reporter
from pipeline.workshop import JobFailed, Workshop
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
from service.store.models import Finalist
from service.store.records import Baseline, BaselineScore, LayerSensitivity, SensitivityRecord
from supernet.evaluator import Evaluator

# The baselines of every job: the name on the front's page.
LARGEST_FULL, LARGEST_QUANTIZED = "largest network, widest", "largest network, narrowest"
BEST_QUANTIZED = "best architecture, then narrowest"
NUM_BASELINES = 3


def first_policies(shop: Workshop, evaluator: Evaluator) -> list[Architecture]:
    """Architectures with policies that the search evaluates first; none where policies are not searched.

    Raises:
        JobFailed: the largest network's activations cannot be quantized.
    """
    if not isinstance(evaluator, QuantizedEvaluator):
        return []
    return seeds_from(evaluator.policies, sensitivity_of(shop, evaluator), shop.spec.search.evaluations)


def sensitivity_of(shop: Workshop, evaluator: QuantizedEvaluator) -> Sequence[LayerSensitivity]:
    """Divergence of the largest network with one layer quantized, for every layer and width; stored once.

    Raises:
        JobFailed: the largest network's activations cannot be quantized.
    """
    asked = shop.spec.quantization
    if asked is None or not asked.sensitivity:
        return []
    stored = shop.reporter.records(SensitivityRecord)
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
    for sensitivity in sensitivities(network, candidates, evaluator.examples):
        found.append(layer_sensitivity(sensitivity))
        shop.reporter.doing(f"{len(found)} of {count} layers are quantized alone, to see what each of them costs")
        shop.reporter.listen()
    shop.reporter.record(SensitivityRecord(architecture_id=space.quantized(largest, 32).id, layers=tuple(found)))
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
    baselines themselves. What is stored is read once, at the beginning."""

    def __init__(self, reporter: Reporter, spec: JobSpec, measured: int) -> None:
        """
        Args:
            measured: so many baselines are stored.
        """
        assert spec.quantization is not None
        self._reporter = reporter
        self._asked = spec.quantization.baseline_evaluations
        self._scored, self._measured = len(reporter.records(BaselineScore)), measured

    @property
    def counted(self) -> tuple[int, int]:
        """So many are done, of so many."""
        return min(self._asked, self._scored) + self._measured, self._asked + NUM_BASELINES

    @property
    def done(self) -> float:
        """The share of them."""
        done, total = self.counted
        return done / total

    def scored(self) -> None:
        """One more network of the search is stored.

        Raises:
            Interrupted: the job is to be paused or cancelled, or stopped where it may be.
        """
        self._scored += 1
        self.tell()

    def measured(self) -> None:
        """One more baseline is stored.

        Raises:
            Interrupted: the job is to be paused or cancelled, or stopped where it may be.
        """
        self._measured += 1
        self.tell(force=True)

    def tell(self, *, force: bool = False) -> None:
        """Say how many.

        Raises:
            Interrupted: the job is to be paused or cancelled, or stopped where it may be.
        """
        self._reporter.items(*self.counted, force=force)


def baseline_architectures(
    shop: Workshop, evaluator: QuantizedEvaluator, hardware: Hardware, count: Progress
) -> dict[str, Architecture]:
    """The networks that a joint search has to beat, by name.

    The best architecture is that of a search in the widest numbers alone, with the job's own algorithm; a job that is
    stopped goes without it. One that measures another job's front again has that job's scores, and is not stopped.

    Args:
        count: hears of every network that is scored.
    """
    space = evaluator.policies
    narrow, wide = min(space.quantization.bits), max(space.quantization.bits)
    named = {
        LARGEST_FULL: space.quantized(space.base.largest(), wide),
        LARGEST_QUANTIZED: space.quantized(space.base.largest(), narrow),
    }
    reporter = shop.reporter

    def find() -> Architecture:
        return _best_architecture(shop, evaluator, hardware, count)

    best = find() if again.only_measures(reporter) else reporter.until_stopped(find)
    if best is not None:
        return {**named, BEST_QUANTIZED: space.quantized(best, narrow)}
    told = f"The front is compared without the {BEST_QUANTIZED}."
    reporter.ended_early = " ".join(filter(None, (reporter.ended_early, told)))
    return named


def _best_architecture(
    shop: Workshop, evaluator: QuantizedEvaluator, hardware: Hardware, count: Progress
) -> Architecture:
    """The best network by the score that is learned from data, of those found by a search without policies."""
    quantization, metric, plan = shop.spec.quantization, evaluator.data.metric, shop.spec.search
    assert quantization is not None
    space = evaluator.policies
    base, wide = space.base, max(space.quantization.bits)
    known = {}
    for stored in shop.reporter.records(BaselineScore):
        architecture = base.architecture(**stored.values)
        known[architecture.id] = Evaluation(architecture, numbers(stored.metrics))

    def evaluate(architectures: Sequence[Architecture]) -> list[Evaluation]:
        found = []
        for architecture in evaluator.in_order(architectures):
            (scored,) = evaluator.evaluate([space.quantized(architecture, wide)])
            metrics = dict(hardware.added_to(scored, shop.reporter.listen).metrics)
            shop.reporter.record(BaselineScore(values=architecture.values, metrics=metrics))
            count.scored()
            found.append(Evaluation(architecture, metrics))
        return found

    objectives, constraints = with_margin(*shop.spec.goals, hardware.margins)
    problem = Problem(base, objectives, constraints, _costs(space, wide, shop.spec.metrics & set(ANALYTIC), hardware))
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


def baseline_of(name: str, evaluation: Evaluation, measured: Finalist) -> Baseline:
    """A baseline as it is stored and shown."""
    return Baseline(
        name=name,
        architecture_id=evaluation.architecture.id,
        values=evaluation.architecture.values,
        metrics={**evaluation.metrics, **measured.metrics},
        sources=evaluation.sources | measured.sources,
        measurements=measured.measurements,
    )
