"""What a search of policies begins with and is compared with: sensitivities, seeds, baselines.

Each is kept as the job's events, so a resumed job has the same seeds and measures no baseline twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from functools import partial
from typing import Any

from job.hardware_spec import with_margin
from pipeline.hardware import Hardware, on_target
from pipeline.workshop import JobFailed, Workshop
from predictors.cost import ANALYTIC
from quantization.calibration import CalibrationError
from quantization.evaluation import QuantizedEvaluator
from quantization.sensitivity import Sensitivity, sensitivities
from quantization.space import QuantizedSpace
from search.algorithms import algorithm_for
from search.evaluation import Evaluation, numbers
from search.loop import run_search
from search.metrics import METRICS
from search.problem import CostOf, ExactCost, Problem
from search_space.architecture import Architecture
from search_space.layers import Precision
from service.store.models import Finalist
from supernet.evaluator import Evaluator

# Shares of the layers, least sensitive first, that the search's first policies quantize.
SHARES = (0.75, 0.5, 0.25)
# Of so many evaluations one at most is a first policy: of networks, which matter most, these say next to nothing.
EVALUATIONS_PER_SEED = 8
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


def sensitivity_of(shop: Workshop, evaluator: QuantizedEvaluator) -> list[dict[str, Any]]:
    """Divergence of the largest network with one layer quantized, for every layer and width; stored once.

    Raises:
        JobFailed: the largest network's activations cannot be quantized.
    """
    if not _asked(shop):
        return []
    stored = shop.reporter.events("sensitivity")
    if stored:
        layers: list[dict[str, Any]] = stored[0]["layers"]
        return layers
    space = evaluator.policies
    largest = space.base.largest()
    try:
        network = evaluator.quantizable(largest)
    except CalibrationError as error:
        raise JobFailed(f"The largest network cannot be quantized. {error}") from error
    candidates = candidates_of(space, largest)
    found = []
    for sensitivity in sensitivities(network, candidates, evaluator.examples):
        found.append(_row(sensitivity))
        shop.reporter.listen()
    shop.reporter.event("sensitivity", {"architecture_id": space.quantized(largest, 32).id, "layers": found})
    return found


def _asked(shop: Workshop) -> bool:
    quantization = shop.spec.quantization
    return quantization is not None and quantization.sensitivity


def _row(sensitivity: Sensitivity) -> dict[str, Any]:
    row = asdict(sensitivity)
    return {**row, "precision": str(sensitivity.precision), "bits": sensitivity.precision.bits}


def candidates_of(space: QuantizedSpace, network: Architecture) -> dict[str, list[Precision]]:
    """Layer name -> every precision that a policy of this network may give it, in the usual mode."""
    found: dict[str, list[Precision]] = {}
    for bits in space.quantization.bits:
        for name, precision in space.policy(space.quantized(network, bits)).items():
            known = found.setdefault(name, [])
            if precision not in known:
                known.append(precision)
    return found


def seeds_from(space: QuantizedSpace, rows: Sequence[Mapping[str, Any]], evaluations: int) -> list[Architecture]:
    """Policies to evaluate first: of both ends of the space every width alone, and of the largest network the least
    sensitive layers at each width; the first of these, as the search's number of evaluations allows."""
    ends = [space.base.largest(), space.base.smallest()]
    found = [space.quantized(end, bits) for end in ends for bits in space.quantization.bits]
    for bits in space.quantization.bits:
        scored = [row for row in rows if row["bits"] == bits]
        order = [row["layer"] for row in sorted(scored, key=_divergence)]
        for share in SHARES if order else ():
            chosen = dict.fromkeys(order[: round(share * len(order))], bits)
            found.append(space.quantized(ends[0], chosen))
    return list(dict.fromkeys(found))[: max(1, evaluations // EVALUATIONS_PER_SEED)]


# --- baselines ------------------------------------------------------------------------------------


def baseline_architectures(
    shop: Workshop, evaluator: QuantizedEvaluator, hardware: Hardware
) -> dict[str, Architecture]:
    """The networks that a joint search has to beat, by name.

    The best architecture is that of a search in the widest numbers alone, with the job's own algorithm; a job that is
    stopped goes without it.
    """
    space = evaluator.policies
    narrow, wide = min(space.quantization.bits), max(space.quantization.bits)
    named = {
        LARGEST_FULL: space.quantized(space.base.largest(), wide),
        LARGEST_QUANTIZED: space.quantized(space.base.largest(), narrow),
    }
    best = shop.reporter.until_stopped(lambda: _best_architecture(shop, evaluator, hardware))
    return named if best is None else {**named, BEST_QUANTIZED: space.quantized(best, narrow)}


def _best_architecture(shop: Workshop, evaluator: QuantizedEvaluator, hardware: Hardware) -> Architecture:
    """The best network by the score that is learned from data, of those found by a search without policies."""
    quantization, metric, plan = shop.spec.quantization, evaluator.data.metric, shop.spec.search
    assert quantization is not None
    space = evaluator.policies
    base, wide = space.base, max(space.quantization.bits)
    known = {}
    for event in shop.reporter.events("baseline score"):
        architecture = base.architecture(**event["values"])
        known[architecture.id] = Evaluation(architecture, numbers(event["metrics"]))

    def evaluate(architectures: Sequence[Architecture]) -> list[Evaluation]:
        found = []
        for architecture in evaluator.in_order(architectures):
            (scored,) = evaluator.evaluate([space.quantized(architecture, wide)])
            metrics = dict(on_target(shop, hardware, scored).metrics)
            shop.reporter.event("baseline score", {"values": architecture.values, "metrics": metrics})
            shop.reporter.listen()
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


def _divergence(row: Mapping[str, Any]) -> float:
    """Of a layer's sensitivity; one that is no number, stored as null, is the worst."""
    return math.inf if row["divergence"] is None else float(row["divergence"])


def baseline_event(name: str, evaluation: Evaluation, measured: Finalist) -> dict[str, Any]:
    """A baseline as it is stored and shown."""
    return {
        "name": name,
        "architecture_id": evaluation.architecture.id,
        "values": evaluation.architecture.values,
        "metrics": {**evaluation.metrics, **measured.metrics},
        "sources": {name: evaluation.source_of(name) for name in evaluation.metrics} | measured.sources,
        "measurements": measured.measurements,
    }
