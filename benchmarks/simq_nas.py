"""SimQ-NAS: joint search of architecture and quantization policy against the ways without it, at equal evaluations.

On one trained supernet, with the same algorithm and seeds, each told the ends of its space first: `joint`;
(a) `architecture_then_int8`: a search in full precision, whose front is then quantized whole, both of which count as
evaluations; (b) `largest_int8`; (c) `policy_alone`: policies of the largest network. As in a job, an evaluation is
accuracy on validation data by fake quantization; every way asks the same predictor for latencies (ONNX Runtime, one
thread, batch 1; a table of INT8 and fp32 layers and 40 whole networks, `predicted_latency`), size is exact, and what
the fronts deliver is measured as exported integer networks: each in turns with the largest one in fp32, so that
whatever else the machine does slows both. Hypervolume is of error, measured latency and size of a way's front, each
scaled by the extremes of all fronts (reference: 1.1 of each). Fronts are scored again on test data. Searches of the
seeds share what they have evaluated.

    python -m benchmarks.simq_nas [--json] [--form small|medium|full] [--family mobilenet] [--algorithm winnow]
        [--seeds 3] [--evaluations 80] [--data FOLDER] [--cache FOLDER] [--train-only]
        [--found FOLDER [--only WAY:SEED]] [--latencies FILE]

Families are mobilenet, resnet, vit (CIFAR-10) and bert (SST-2).

`llama` instead: perplexity against bytes of random policies of 16, 8 and 4 bits a layer, and of uniform ones.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from benchmarks.cache import Cache
from benchmarks.predicted_latency import fitted
from benchmarks.simq_data import PLANS, Plan, read, trained
from export.formats.onnx import traced as onnx_format
from export.measure import describe_machine
from job.quantization_spec import QuantizationSpec
from pipeline.policies import layer_sensitivity
from predictors.cost import weight_bytes
from quantization.first_policies import candidates_of, divergence_of, seeds_from
from quantization.qdq import tensor_bytes
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.quantized_space import QuantizedSpace
from quantization.sensitivity import sensitivities
from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.objectives import Objective
from search.pareto import hypervolume, pareto_front
from search.problem import CostOf, ExactCost
from search_space.architecture import Architecture
from search_space.space import SearchSpace
from service.store.records import LayerSensitivity
from supernet.data import Dataset
from supernet.evaluate import score
from supernet.inputs import Inputs

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("latency_ms"), Objective("size_bytes"))
# Rounds in which a network and the reference run in turns, for about so many ms each; the reference's own latency is
# the lower quartile of more rounds, because other programs only ever make a run slower.
ROUNDS, BLOCK_MS, WARM_UP, REFERENCE_ROUNDS, QUARTILE = 25, 4.0, 5, 200, 25
# Samples on which an exported network and its fake-quantized evaluation are compared.
COMPARED = 1000


def fed(inputs: Inputs) -> dict[str, Any]:
    """What a session is given."""
    return {name: tensor.numpy() for name, tensor in inputs.items()}


def opened(folder: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """The network that was exported into a folder, in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options)


class Timed:
    """A network in ONNX Runtime that can be run for a moment at a time.

    Attributes:
        typical_ms: latency by its first runs, or what is known better.
    """

    def __init__(self, session: onnxruntime.InferenceSession, example: Inputs) -> None:
        self._session, self._feed = session, fed(example)
        self._runs, self.typical_ms = 1, 0.0
        self.typical_ms = min(self.block() for _ in range(WARM_UP))
        self._runs = max(1, round(BLOCK_MS / self.typical_ms))

    def block(self) -> float:
        """Mean ms of a run, of a few ms of runs."""
        began = time.perf_counter_ns()
        for _ in range(self._runs):
            self._session.run(None, self._feed)
        return (time.perf_counter_ns() - began) / 1e6 / self._runs


def share_of_time(one: Timed, other: Timed) -> float:
    """Median share of the other's time that one takes, in turns."""
    shares = []
    for turn in range(ROUNDS):
        ms = {each: each.block() for each in ((one, other) if turn % 2 else (other, one))}
        shares.append(ms[one] / ms[other])
    return float(np.median(shares))


@dataclass
class Lab:
    """A trained supernet, and everything that was evaluated and measured on it.

    Attributes:
        predicted_ms: what searches are told of latency; None: every network is measured.
        predictor: how good those predictions are, on whole networks that were held out.
    """

    evaluator: QuantizedEvaluator
    data: Dataset
    algorithm: str
    predicted_ms: ExactCost | None = None
    predictor: Mapping[str, Any] = field(default_factory=dict)
    known: dict[str, Evaluation] = field(default_factory=dict)
    _measured_ms: dict[str, float] = field(default_factory=dict)
    _reference: Timed | None = None

    @property
    def space(self) -> QuantizedSpace:
        """Networks with policies."""
        return self.evaluator.policies

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """What a search is told: validation accuracy, latency and size; evaluated once."""
        if architecture.id not in self.known:
            metrics = dict(self.evaluator.evaluate([architecture])[0].metrics)
            metrics["latency_ms"] = (self.predicted_ms or self.latency_ms)(architecture)
            self.known[architecture.id] = Evaluation(architecture, metrics)
        return self.known[architecture.id]

    def delivered(self, found: Sequence[Evaluation]) -> list[Evaluation]:
        """The front of what was found, its latencies measured."""
        front = pareto_front(found, OBJECTIVES)
        return [replace(one, metrics={**one.metrics, "latency_ms": self.latency_ms(one.architecture)}) for one in front]

    def session(self, architecture: Architecture, folder: Path, threads: int = 1) -> onnxruntime.InferenceSession:
        """The exported network in ONNX Runtime."""
        network = self.evaluator.network(architecture)
        onnx_format.write_for_measuring(network, self.data.test.inputs(slice(0, 1)), folder)
        return opened(folder, threads)

    def timed(self, architecture: Architecture, threads: int = 1) -> Timed:
        """The exported network, warm."""
        with tempfile.TemporaryDirectory() as folder:
            session = self.session(architecture, Path(folder), threads)
            return Timed(session, self.data.test.inputs(slice(0, 1)))

    def latency_ms(self, architecture: Architecture) -> float:
        """Of one example: the share of the reference's time, times what the reference takes; measured once."""
        if self._reference is None:
            self._reference = self.timed(self.space.quantized(self.space.base.largest(), 32))
            blocks = [self._reference.block() for _ in range(REFERENCE_ROUNDS)]
            self._reference.typical_ms = float(np.percentile(blocks, QUARTILE))
        if architecture.id not in self._measured_ms:
            share = share_of_time(self.timed(architecture), self._reference)
            self._measured_ms[architecture.id] = share * self._reference.typical_ms
        return self._measured_ms[architecture.id]

    def time_left_in_32(self, network: Architecture, layers: Sequence[str]) -> dict[str, float]:
        """Layer -> time of a network in INT8 that keeps this layer in 32 bits, as a share of its time all in INT8."""
        narrow = self.timed(self.space.quantized(network, 8))
        bits = dict.fromkeys(self.space.policy(self.space.quantized(network, 8)), 8)
        return {
            layer: share_of_time(self.timed(self.space.quantized(network, bits | {layer: 32})), narrow)
            for layer in layers
        }

    def test_accuracy(self, architecture: Architecture) -> float:
        """Of the fake-quantized network."""
        return score(self.evaluator.network(architecture), self.data.test)

    def agreement(self, architecture: Architecture) -> dict[str, float]:
        """The exported file against what was evaluated and counted."""
        some = self.data.test.take(torch.arange(min(COMPARED, len(self.data.test))))
        with tempfile.TemporaryDirectory() as folder:
            session = self.session(architecture, Path(folder))
            counted = weight_bytes(self.space, architecture)
            stored = tensor_bytes(Path(folder) / "model.onnx")
            whole = (Path(folder) / "model.onnx").stat().st_size
        answers = []
        for batch in some.batches(1):
            answers.append(session.run(None, fed(batch.inputs))[0][0])
        exported = float((np.stack(answers).argmax(-1) == some.y.numpy()).mean())
        evaluated = score(self.evaluator.network(architecture), some)
        return {
            "exported_accuracy": exported,
            "evaluated_accuracy": evaluated,
            "counted_bytes": counted,
            "tensor_bytes": stored,
            "file_bytes": whole,
        }


# --- ways of searching ------------------------------------------------------------------------------


def searched(
    lab: Lab,
    space: SearchSpace,
    seed: int,
    plan: Plan,
    to: Any,
    seeds: Sequence[Architecture],
    *,
    front_counts: bool = False,
) -> list[Evaluation]:
    """A search on `space`, whose architectures `to` makes architectures with policies.

    Args:
        front_counts: its front will be evaluated once more, so it stops early enough for that.
    """
    exact: dict[str, ExactCost] = {"size_bytes": lambda one: float(weight_bytes(lab.space, one))}
    if lab.predicted_ms is not None:
        exact["latency_ms"] = lab.predicted_ms
    options: dict[str, Any] = {"batch": plan.batch} if lab.algorithm == "winnow" else {"population": plan.population}
    algorithm = make_algorithm(
        lab.algorithm,
        space,
        OBJECTIVES,
        seed=seed,
        evaluations=plan.evaluations,
        exact_costs={metric: CostOf(cost, to) for metric, cost in exact.items()},
        seeds=seeds,
        **options,
    )
    found: list[Evaluation] = []

    def left() -> int:
        return plan.evaluations - len(found) - (len(pareto_front(found, OBJECTIVES)) if front_counts else 0)

    while left() > 0 and (batch := algorithm.ask()):
        scored = [Evaluation(one, lab.evaluate(to(one)).metrics) for one in batch]
        algorithm.tell(scored)
        for one in scored:
            if left() > 0:
                found.append(one)
    return [lab.evaluate(to(evaluation.architecture)) for evaluation in found]


def policies_of(lab: Lab, network: Architecture) -> SearchSpace:
    """The space of one network's policies."""
    start = len(lab.space.base.choices)
    return SearchSpace(f"{lab.space.name}/policies", list(_without_dead(lab.space, network, start)))


def _without_dead(space: QuantizedSpace, network: Architecture, start: int) -> Any:
    active = space.is_active(space.quantized(network, 8))
    alive = {choice.name for choice, is_active in zip(space.choices, active, strict=True) if is_active}
    names = {choice.name for choice in space.choices[start:]}
    for choice in space.choices[start:]:
        if choice.name in alive:
            yield choice if choice.when is None or choice.when[0] in names else replace(choice, when=None)


def sensitivities_of(lab: Lab) -> list[LayerSensitivity]:
    """As a job stores them."""
    largest = lab.space.base.largest()
    found = sensitivities(lab.evaluator.quantizable(largest), candidates_of(lab.space, largest), lab.evaluator.examples)
    return [layer_sensitivity(one) for one in found]


@dataclass(frozen=True)
class Comparison:
    """What every way and seed shares.

    Attributes:
        kept: what searches have found, from one run to the next.
    """

    lab: Lab
    plan: Plan
    name: str
    kept: Cache

    @cached_property
    def sensitive(self) -> list[LayerSensitivity]:
        """Of the largest network."""
        return sensitivities_of(self.lab)

    def found(self, way: str, seed: int) -> list[Evaluation]:
        """What one way evaluates with one seed."""
        space = self.lab.space

        def rows() -> list[Any]:
            found = WAYS[way](self, seed)
            say(f"{way}, seed {seed}: {len(self.lab.known)} networks evaluated")
            return [[one.architecture.values, dict(one.metrics)] for one in found]

        kept = self.kept.result(f"found-{self.name}-{self.plan.evaluations}-{way}-{seed}", rows)
        found = [Evaluation(space.architecture(**values), metrics) for values, metrics in kept]
        return [self.lab.known.setdefault(one.architecture.id, one) for one in found]

    def joint(self, seed: int) -> list[Evaluation]:
        """Networks and policies together."""
        space, plan = self.lab.space, self.plan
        return searched(
            self.lab, space, seed, plan, lambda one: one, seeds_from(space, self.sensitive, plan.evaluations)
        )

    def architecture_then_int8(self, seed: int) -> list[Evaluation]:
        """Networks in 32 bits, and then their front in INT8."""
        lab, space, base, most = self.lab, self.lab.space, self.lab.space.base, self.plan.evaluations
        ends = (base.largest(), base.smallest())
        full = searched(lab, base, seed, self.plan, lambda one: space.quantized(one, 32), ends, front_counts=True)
        front = pareto_front(full, OBJECTIVES)[: most - len(full)]
        return [lab.evaluate(space.quantized(space.network(one.architecture), 8)) for one in front]

    def policy_alone(self, seed: int) -> list[Evaluation]:
        """Policies of the largest network; told those first that the joint search is told."""
        space, base = self.lab.space, self.lab.space.base
        largest = {choice.name: base.largest().values[choice.name] for choice in base.choices}
        alone = policies_of(self.lab, base.largest())
        names = {choice.name for choice in alone.choices}
        told = seeds_from(space, self.sensitive, self.plan.evaluations)
        seeds = [
            alone.architecture(**{name: value for name, value in one.values.items() if name in names})
            for one in told
            if space.network(one) == base.largest()
        ]
        return searched(
            self.lab, alone, seed, self.plan, lambda one: space.architecture(**{**largest, **one.values}), seeds
        )

    def largest_int8(self, seed: int) -> list[Evaluation]:
        """One network, whatever the seed."""
        space = self.lab.space
        return [self.lab.evaluate(space.quantized(space.base.largest(), 8))]

    def result(self) -> dict[str, Any]:
        """Every way with every seed."""
        runs: dict[str, list[list[Evaluation]]] = {way: [] for way in WAYS}
        for seed in range(self.plan.seeds):
            for way in WAYS:
                runs[way].append(self.found(way, seed))
            low, high = extremes([found for every in runs.values() for found in every])
            so_far = {name: round(volume(every[-1], low, high), 3) for name, every in runs.items()}
            say(f"seed {seed}, by predicted latencies and what was seen so far: {so_far}")
        return report(self.lab, runs, self.sensitive)


WAYS = {
    "joint": Comparison.joint,
    "architecture_then_int8": Comparison.architecture_then_int8,
    "policy_alone": Comparison.policy_alone,
    "largest_int8": Comparison.largest_int8,
}


# --- what came out ----------------------------------------------------------------------------------


def report(lab: Lab, runs: dict[str, list[list[Evaluation]]], sensitive: list[LayerSensitivity]) -> dict[str, Any]:
    """Hypervolumes, ratios against the largest network in INT8, and agreement of files."""
    delivered = {name: [lab.delivered(found) for found in every] for name, every in runs.items()}
    low, high = extremes([front for every in delivered.values() for front in every])
    volumes = {name: [round(volume(front, low, high), 5) for front in every] for name, every in delivered.items()}
    fronts = [pareto_front(front, OBJECTIVES) for front in delivered["joint"]]
    baseline = delivered["largest_int8"][0][0]
    (full,) = lab.delivered([lab.evaluate(lab.space.quantized(lab.space.base.largest(), 32))])
    accuracy = {one.architecture.id: lab.test_accuracy(one.architecture) for f in fronts for one in f}
    at_baseline = lab.test_accuracy(baseline.architecture)
    ratios = []
    for front in fronts:
        kept = [one for one in front if accuracy[one.architecture.id] >= at_baseline]
        ratios.append(
            {
                name: round(max((baseline.metrics[name] / one.metrics[name] for one in kept), default=0.0), 3)
                for name in ("latency_ms", "size_bytes")
            }
        )
    files = [lab.agreement(one.architecture) for one in fronts[0]]
    left = left_in_32(lab, fronts, sensitive)
    return {
        "hypervolume": volumes,
        "networks_evaluated": len(lab.known),
        "latency": latency_facts(lab, delivered),
        "largest_fp32": numbers(full) | {"test_accuracy": lab.test_accuracy(full.architecture)},
        "largest_int8": numbers(baseline) | {"test_accuracy": at_baseline},
        "int8_latency_share_of_fp32": round(baseline.metrics["latency_ms"] / full.metrics["latency_ms"], 3),
        "best_ratio_without_loss_of_test_accuracy": {"ours": ratios, "paper": {"latency_ms": 4.80, "size_bytes": 3.44}},
        "front_of_seed_0": [numbers(one) | {"test_accuracy": accuracy[one.architecture.id]} for one in fronts[0]],
        "exported_against_evaluated": {
            "networks": len(files),
            "largest_accuracy_difference": max(abs(f["exported_accuracy"] - f["evaluated_accuracy"]) for f in files),
            "largest_share_tensors_over_counted": max(abs(f["tensor_bytes"] / f["counted_bytes"] - 1) for f in files),
            "largest_share_file_over_counted": max(f["file_bytes"] / f["counted_bytes"] - 1 for f in files),
        },
        "layers_left_in_32_bits": left,
    }


def extremes(several: Sequence[Sequence[Evaluation]]) -> tuple[np.ndarray, np.ndarray]:
    """Least and most error, latency and size of the fronts of what was found."""
    points = np.array([cost(one) for found in several for one in pareto_front(found, OBJECTIVES)])
    return points.min(0), points.max(0)


def volume(found: Sequence[Evaluation], low: np.ndarray, high: np.ndarray) -> float:
    """Hypervolume of error, latency and size, scaled by their extremes; 1 is everything up to 1.1 of each."""
    names = ("error", "latency_ms", "size_bytes")
    scaled = [
        Evaluation(one.architecture, dict(zip(names, (np.array(cost(one)) - low) / (high - low), strict=True)))
        for one in found
    ]
    return hypervolume(scaled, [Objective(name) for name in names], [1.1] * 3) / 1.1**3


def latency_facts(lab: Lab, delivered: dict[str, list[list[Evaluation]]]) -> dict[str, Any]:
    """How far predictions are from what was measured of the networks on fronts, and of those that were held out.

    Also as shares of the largest network in fp32, predicted and measured: whatever else the machine does makes all
    networks slower alike, and moves these less.
    """
    largest = lab.space.quantized(lab.space.base.largest(), 32)
    slower = lab.latency_ms(largest) / lab.evaluate(largest).metrics["latency_ms"]
    ids = {one.architecture.id: one for every in delivered.values() for front in every for one in front}
    ratios = [lab.known[key].metrics["latency_ms"] / one.metrics["latency_ms"] for key, one in ids.items()]
    return {
        "networks_measured": len(ids),
        **_errors(np.array(ratios)),
        "as_shares_of_largest_fp32": _errors(np.array(ratios) * slower),
        "held_out": {name: lab.predictor.get(name) for name in ("rmspe_percent", "kendall_tau", "within_percent")},
    }


def _errors(ratios: np.ndarray) -> dict[str, float]:
    """Of predicted to measured numbers."""
    errors = np.abs(ratios - 1)
    return {
        "median_error_percent": round(100 * float(np.median(errors)), 2),
        "mean_error_percent": round(100 * float(np.mean(ratios - 1)), 2),
        "within_10_percent": round(float((errors <= 0.1).mean()), 3),
    }


def left_in_32(lab: Lab, fronts: list[list[Evaluation]], sensitive: list[LayerSensitivity]) -> list[dict[str, Any]]:
    """Layers by how often fronts leave them in 32 bits, and why: what INT8 loses there, and what it saves.

    `time_in_32` is of the largest network, which has all layers.
    """
    seen: dict[str, list[bool]] = {}
    for one in (one for front in fronts for one in front):
        for name, precision in lab.space.policy(one.architecture).items():
            seen.setdefault(name, []).append(precision.is_full)
    divergence = {row.layer: row.divergence for row in sensitive}
    shares = {name: round(sum(kept) / len(kept), 2) for name, kept in seen.items()}
    most = sorted(shares, key=lambda name: -shares[name])[:8]
    largest = lab.space.base.largest()
    time_in_32 = lab.time_left_in_32(largest, [name for name in most if name in divergence])
    return [
        {
            "layer": name,
            "share": shares[name],
            "divergence": divergence.get(name),
            "time_in_32": None if name not in time_in_32 else round(time_in_32[name], 3),
        }
        for name in most
    ]


def cost(one: Evaluation) -> list[float]:
    """Error, latency, size: less is better."""
    return [1 - one.metrics["accuracy"], one.metrics["latency_ms"], one.metrics["size_bytes"]]


def numbers(one: Evaluation) -> dict[str, float]:
    """What is printed of a network."""
    return {name: round(one.metrics[name], 5) for name in ("accuracy", "latency_ms", "size_bytes")}


def show(result: dict[str, Any], began: float, *, as_json: bool) -> None:
    """Print a result with how long it took, where, and with what."""
    facts = {
        "seconds": round(time.monotonic() - began),
        "machine": describe_machine(),
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    }
    sys.stdout.write(json.dumps(result | facts, indent=None if as_json else 2) + "\n")


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


# --- language models --------------------------------------------------------------------------------


def language(lab: Lab, plan: Plan) -> dict[str, Any]:
    """Test perplexity against bytes of the largest network under policies of 16, 8 and 4 bits."""
    space, base = lab.space, lab.space.base
    sensitive = sensitivities_of(lab)
    rng = np.random.default_rng(0)
    start = len(base.choices)
    rows = []

    def add(name: str, architecture: Architecture) -> None:
        perplexity = score(lab.evaluator.network(architecture), lab.data.test)
        rows.append({"policy": name, "bytes": weight_bytes(space, architecture), "perplexity": round(perplexity, 4)})

    for bits in (16, 8, 4):
        add(f"uniform {bits}", space.quantized(base.largest(), bits))
    order = [row.layer for row in sorted(sensitive, key=divergence_of) if row.bits == 4]
    for share in (0.25, 0.5, 0.75):
        four = dict.fromkeys(order[: round(share * len(order))], 4)
        add(
            f"least sensitive {share:.0%} in 4, others in 8",
            space.quantized(base.largest(), dict.fromkeys(order, 8) | four),
        )
    for number in range(plan.evaluations):
        genes = [*base.largest().genes, *rng.integers(0, space.option_counts[start:])]
        add(f"random {number}", space.from_genes(genes))
    return {"full_perplexity": score(lab.evaluator.network(base.largest()), lab.data.test), "policies": rows}


def main() -> None:
    """Run one family and print the result."""
    arguments, plan, only = _asked()
    torch.set_num_threads(1)
    began = time.monotonic()
    cache = Cache(arguments.cache)
    data = read(arguments.family, plan, arguments.data, cache)
    supernet, base = trained(arguments.family, plan, data, cache)
    say(f"trained after {time.monotonic() - began:.0f} s")
    if arguments.train_only:
        return
    if only is not None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        supernet, data = supernet.to(device), data.to(device)
    is_language, name = arguments.family == "llama", f"{arguments.family}-{arguments.form}"
    spec = QuantizationSpec(
        bits=(4, 8, 16) if is_language else (8, 32),
        schemes={8: "int8_weight"} if is_language else {},
        weights=("symmetric",) if is_language else ("symmetric", "asymmetric"),
        tie=plan.tie,
        calibration_examples=plan.calibration_examples,
    )
    space = QuantizedSpace(base, spec.quantization())
    lab = Lab(
        QuantizedEvaluator(
            supernet,
            data,
            plan.calibration_images,
            0,
            space,
            observer=spec.observer,
            calibration_examples=spec.calibration_examples,
        ),
        data,
        arguments.algorithm,
    )
    if not is_language:
        predictor = fitted(space, name, cache, say, arguments.latencies)
        lab.predicted_ms, lab.predictor = predictor.value, predictor.report
        say(f"latencies fitted after {time.monotonic() - began:.0f} s")
    comparison = Comparison(lab, plan, f"{name}-{arguments.algorithm}", Cache(arguments.found))
    if only is not None:
        comparison.found(*only)
        return
    found = language(lab, plan) if is_language else comparison.result()
    result = {
        "benchmark": "simq_nas",
        "family": arguments.family,
        "form": arguments.form,
        "algorithm": arguments.algorithm,
        "plan": plan.facts(),
        "quantization": spec.model_dump(mode="json"),
        **found,
    }
    show(result, began, as_json=arguments.json)


def _asked() -> tuple[argparse.Namespace, Plan, tuple[str, int] | None]:
    """What the command line says: its options, the plan, and the one search that is to be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--form", choices=("small", "medium", "full"), default="full")
    parser.add_argument("--family", choices=tuple(PLANS), default="mobilenet")
    parser.add_argument("--algorithm", choices=("winnow", "linas", "nsga2"), default="winnow")
    parser.add_argument("--seeds", type=int, default=None, help="instead of the form's")
    parser.add_argument("--evaluations", type=int, default=None, help="instead of the form's")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps the trained supernet")
    parser.add_argument(
        "--found", type=Path, default=None, help="folder that keeps what each search found, from one run to the next"
    )
    parser.add_argument(
        "--only",
        default=None,
        metavar="WAY:SEED",
        help=f"this search alone, into the folder of --found, on a GPU where there is one: {', '.join(WAYS)}",
    )
    parser.add_argument(
        "--latencies",
        type=Path,
        default=None,
        help="measurements of another machine, a file latencies-*.json of its cache: what is found is for that machine",
    )
    parser.add_argument(
        "--train-only",
        action="store_true",
        help="put it into the cache and end: a GPU trains, another machine measures",
    )
    arguments = parser.parse_args()
    if arguments.form not in PLANS[arguments.family]:
        parser.error(
            f"Family {arguments.family!r} has no form {arguments.form!r}: {', '.join(PLANS[arguments.family])}."
        )
    plan = PLANS[arguments.family][arguments.form]
    for name in ("seeds", "evaluations"):
        number = getattr(arguments, name)
        if number is not None and number < 1:
            parser.error(f"--{name} must be at least 1, got {number}.")
        if number is not None:
            plan = replace(plan, **{name: number})
    if arguments.latencies is not None and not arguments.latencies.is_file():
        parser.error(f"--latencies: {arguments.latencies} is no file; give one that --cache keeps, latencies-*.json.")
    if arguments.train_only and arguments.cache is None:
        parser.error("--train-only needs a folder for what it trains: --cache FOLDER.")
    return arguments, plan, None if arguments.only is None else _one_search(parser, arguments)


def _one_search(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> tuple[str, int]:
    """The way and the seed of `--only`."""
    way, _, seed = arguments.only.partition(":")
    if way not in WAYS or not seed.isdecimal():
        parser.error(f"--only takes WAY:SEED, a way of {', '.join(WAYS)} and a number; got {arguments.only!r}.")
    if arguments.found is None:
        parser.error("--only needs a folder for what it finds: --found FOLDER.")
    if arguments.family == "llama":
        parser.error("Family 'llama' has no searches to run with --only.")
    return way, int(seed)


if __name__ == "__main__":
    main()
