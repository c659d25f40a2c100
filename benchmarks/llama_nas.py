"""LLaMA-NAS on a small llama: the front of perplexity against size and speed, and what it is worth.

A llama of bytes is trained on tinyshakespeare as it is (the "checkpoint"), its neurons and heads are ordered by
importance, and the full network and random sub-networks are fine-tuned in turn. Then three ways choose sub-networks of
the same weights by validation perplexity and size:

- *search*: the recipe's genetic search, or another algorithm (`--algorithm`);
- *random*: as many random networks;
- *uniform*: every layer of the same width and number of head groups, and layers dropped evenly; all of them.

What is reported is test perplexity, bytes, and tokens per second measured in ONNX Runtime on extracted networks.
The smallest network "within 1 %" is that whose perplexity is at most 1.01 times the full one's, within 0 % that at no
loss; it is chosen by validation perplexity, so that the test text chooses nothing.

    python -m benchmarks.llama_nas [--json] [--small] [--steps 500] [--data FILE] [--algorithm nsga2] [--cache FOLDER]
        [--train-only]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cache import Cache
from benchmarks.small_llama import Plan, train
from export.formats.onnx import traced as onnx
from export.measure import describe_machine, measure
from predictors.cost import weight_bytes
from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.objectives import Objective
from search.pareto import hypervolume, pareto_front
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.inputs import INPUT
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.data import Dataset, load_dataset
from supernet.evaluate import perplexity
from supernet.examiner import Examiner
from supernet.importance import order_by_importance
from supernet.methods.alternating.method import Alternating
from supernet.methods.single.method import Single
from supernet.network import Supernet
from supernet.scores.labels import SplitExam

SHARED = os.environ.get("WINNOW_BENCHMARK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
OBJECTIVES = [Objective("perplexity"), Objective("size_bytes")]
# Networks of the front whose speed is measured, besides the full one.
MEASURED = 3
# Perplexity that may be lost, in percent of the full network's.
LOSSES = (0, 1, 3, 10, 30)


@dataclass(frozen=True, slots=True)
class Study:
    """How much of everything."""

    training: Plan
    validation_blocks: int
    evaluations: int
    importance_batches: int = 8


FULL = Study(Plan(1500, 1500, 16, 128, 3e-3, 200), 100, 250)
SMALL = Study(Plan(120, 120, 16, 64, 3e-3, 16), 10, 80)


def trained(study: Study, space: SearchSpace, data: Dataset, cache: Cache) -> Supernet:
    """The supernet after pretraining, ordering and alternating fine-tuning, or the one that the cache has."""
    plan = study.training
    torch.manual_seed(0)
    supernet = Supernet(space)

    def train_it() -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        there = data.to(device)
        train(supernet.to(device), Single(), there, plan, plan.pretrain_steps, plan.learning_rate)
        chosen = np.random.default_rng(0).permutation(len(data.train))
        index = torch.from_numpy(chosen[: 16 * study.importance_batches]).to(device)
        order_by_importance(supernet, (there.train.inputs(some) for some in index.split(16)))
        train(supernet, Alternating(), there, plan, plan.steps, plan.learning_rate / 2)
        # Networks are scored where their speed is measured.
        supernet.cpu()

    cache.weights(f"llama-{plan.pretrain_steps}-{plan.steps}-{plan.length}", supernet, train_it)
    return supernet.eval()


class Judge:
    """Scores networks by validation perplexity and size, each once."""

    def __init__(self, supernet: Supernet, data: Dataset, blocks: int) -> None:
        self.space = supernet.space
        validation = data.validation.take(torch.arange(min(blocks, len(data.validation))))
        self._examiner = Examiner(supernet, [SplitExam(validation)], data.train)
        self._known: dict[str, Evaluation] = {}

    def __call__(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        """Evaluations in the order of the architectures."""
        new = [a for a in architectures if a.id not in self._known]
        for architecture, scores in zip(new, self._examiner.examine(new), strict=True):
            metrics = {**scores, "size_bytes": float(weight_bytes(self.space, architecture))}
            self._known[architecture.id] = Evaluation(architecture, metrics)
        return [self._known[a.id] for a in architectures]

    def on_test(self, architecture: Architecture, data: Dataset) -> float:
        """Test perplexity of the extracted network."""
        return perplexity(self._examiner.network(architecture), data.test)

    def tokens_per_second(self, architecture: Architecture, data: Dataset) -> float:
        """Tokens of one text a second, in ONNX Runtime on one thread."""
        network = self._examiner.network(architecture)
        example = data.test.inputs(slice(0, 1))
        with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
            onnx.write_for_measuring(network, example, Path(folder))
            result = measure(Path(folder) / "model.onnx", threads=[1])[0]
        return float(1000 * example[INPUT].numel() / result["median_ms"])


def searched(judge: Judge, algorithm: str, evaluations: int, seed: int) -> list[Evaluation]:
    """What a search evaluates."""
    exact = {"size_bytes": lambda a: float(weight_bytes(judge.space, a))}
    options: dict[str, Any] = {"population": 50} if algorithm in ("nsga2", "linas") else {}
    made = make_algorithm(
        algorithm, judge.space, OBJECTIVES, seed=seed, evaluations=evaluations, exact_costs=exact, **options
    )
    done: list[Evaluation] = []
    while batch := made.ask():
        done += judge(batch)
        made.tell(judge(batch))
    return done


def uniform(space: SearchSpace) -> list[Architecture]:
    """Every width, number of groups and depth alike in all layers; dropped layers lie evenly among the inner ones."""
    options = {choice.name: choice.options for choice in space.choices}
    inner = [i for i in range(1, 7) if len(options.get(f"layer{i}_keep", (1,))) > 1]
    found = {}
    for ffn, groups, kept in itertools.product(
        options["layer1_ffn"], options["layer1_kv_heads"], range(len(inner) + 1)
    ):
        chosen = {inner[int(position)] for position in np.linspace(0, len(inner) - 1, kept).round()} if kept else set()
        values = dict(space.largest().values)
        for i in range(1, 7):
            values[f"layer{i}_ffn"], values[f"layer{i}_kv_heads"] = ffn, groups
            if i in inner:
                values[f"layer{i}_keep"] = int(i in chosen)
        architecture = space.architecture(**values)
        found[architecture.id] = architecture
    return list(found.values())


def summary(
    judge: Judge, data: Dataset, name: str, evaluations: list[Evaluation], reference: list[float]
) -> dict[str, Any]:
    """Front, hypervolume, and the smallest network within each loss of validation perplexity, on the test text."""
    full = judge([judge.space.largest()])[0]
    front = pareto_front(evaluations, OBJECTIVES)
    smallest = {}
    for percent in LOSSES:
        most = full.metrics["perplexity"] * (1 + percent / 100)
        kept = [e for e in front if e.metrics["perplexity"] <= most]
        best = min(kept, key=lambda e: e.metrics["size_bytes"], default=full)
        times = full.metrics["size_bytes"] / best.metrics["size_bytes"]
        smallest[f"{percent} %"] = point(judge, data, best) | {"times_smaller": round(times, 3)}
    sys.stderr.write(f"{name}: {len(front)} on the front, smallest by loss {smallest}\n")
    return {
        "evaluated": len(evaluations),
        "front": len(front),
        "hypervolume": log_hypervolume(evaluations, reference),
        "smallest_within_a_loss_of": smallest,
    }


def log_hypervolume(evaluations: list[Evaluation], reference: list[float]) -> float:
    """Hypervolume of the logarithms of perplexity and bytes: equal factors count alike everywhere."""
    names = [objective.metric for objective in OBJECTIVES]
    logs = [Evaluation(e.architecture, {name: float(np.log(e.metrics[name])) for name in names}) for e in evaluations]
    return round(hypervolume(logs, OBJECTIVES, [float(value) for value in np.log(reference)]), 4)


def point(judge: Judge, data: Dataset, evaluation: Evaluation, *, timed: bool = True) -> dict[str, Any]:
    """One network in numbers."""
    architecture = evaluation.architecture
    facts = {
        "architecture": architecture.id,
        "layers": sum(name.startswith("layer") for name in judge.space.layers(architecture)),
        "size_bytes": int(evaluation.metrics["size_bytes"]),
        "validation_perplexity": round(evaluation.metrics["perplexity"], 4),
        "test_perplexity": round(judge.on_test(architecture, data), 4),
    }
    return facts | ({"tokens_per_second": round(judge.tokens_per_second(architecture, data))} if timed else {})


def read(plan: Study, path: Path) -> tuple[Dataset, SearchSpace]:
    """The text, with as many blocks to test on as planned, and the space."""
    data = load_dataset("text", 0, {"path": str(path), "length": plan.training.length})
    data = replace(data, test=data.test.take(torch.arange(min(plan.training.test_blocks, len(data.test)))))
    return data, load_family("llama", "tiny", Adjustments())


def study(plan: Study, path: Path, algorithm: str, seed: int, cache: Cache) -> dict[str, Any]:
    """Everything."""
    data, space = read(plan, path)
    began = time.monotonic()
    judge = Judge(trained(plan, space, data, cache), data, plan.validation_blocks)
    trained_in = time.monotonic() - began
    began = time.monotonic()
    ways = {"search": searched(judge, algorithm, plan.evaluations, seed)}
    searched_in = time.monotonic() - began
    ways["random"] = searched(judge, "random", plan.evaluations, seed)
    ways["uniform"] = judge(uniform(space))
    worst = [e.metrics for way in ways.values() for e in way]
    reference = [max(metrics[o.metric] for metrics in worst) for o in OBJECTIVES]
    full = point(judge, data, judge([space.largest()])[0])
    results = {name: summary(judge, data, name, way, reference) for name, way in ways.items()}
    for row in (row for result in results.values() for row in result["smallest_within_a_loss_of"].values()):
        row["times_faster"] = round(row["tokens_per_second"] / full["tokens_per_second"], 3)
    front = pareto_front(ways["search"], OBJECTIVES)
    shown = [front[int(i)] for i in np.unique(np.linspace(0, len(front) - 1, min(MEASURED, len(front))).round())]
    return {
        "question": "a small llama's front of perplexity, size and speed, against random search and uniform pruning",
        "algorithm": algorithm,
        "seed": seed,
        "plan": asdict(plan),
        "seconds": {"training": round(trained_in, 1), "search": round(searched_in, 1)},
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **describe_machine(),
        "full": full,
        "ways": results,
        "front": [point(judge, data, evaluation) for evaluation in shown],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="a few minutes on two cores")
    parser.add_argument("--steps", type=int, help="of pretraining, and of fine-tuning; default: the form's own")
    parser.add_argument("--data", type=Path, default=Path(SHARED) / "tinyshakespeare" / "input.txt.gz")
    parser.add_argument("--algorithm", default="nsga2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that keeps the trained supernet")
    parser.add_argument(
        "--train-only",
        action="store_true",
        help="put it into the cache and end: a GPU trains, another machine measures",
    )
    arguments = parser.parse_args()
    if not arguments.data.exists():
        sys.stderr.write(f"Skipped: {arguments.data} is not there. Give a text file with --data.\n")
        return
    plan = SMALL if arguments.small else FULL
    if arguments.steps is not None:
        plan = replace(plan, training=replace(plan.training, pretrain_steps=arguments.steps, steps=arguments.steps))
    cache = Cache(arguments.cache)
    if arguments.train_only:
        data, space = read(plan, arguments.data)
        trained(plan, space, data, cache)
        return
    result = study(plan, arguments.data, arguments.algorithm, arguments.seed, cache)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print("full", result["full"])
    for name, way in result["ways"].items():
        print(f"{name:8} hypervolume {way['hypervolume']:.4g}")
        for percent, row in way["smallest_within_a_loss_of"].items():
            print(f"  within {percent:>4}: {row}")
    for row in result["front"]:
        print(row)


if __name__ == "__main__":
    main()
