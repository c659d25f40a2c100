"""How fast a llama supernet's architectures are evaluated: one by one, and together with shared first layers.

Three populations of 50, scored by perplexity on the validation text:

- *bred*: what NSGA-II asks for after some generations on the supernet, as the recipe `llama-nas` does;
- *paper*: random networks of LLaMA-NAS's space, some depths and two widths a layer, at the size of this llama;
- *random*: random networks of the space `tiny`, where the first layer alone has twelve forms.

One by one is what a plain evaluation does: extract, calibrate, score. Rounds are interleaved and the median counts,
because other work may share the machine. Every perplexity must be the same to the last bit.

    python benchmarks/evaluation_speed.py [--json] [--small] [--data FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.measure import describe_machine
from predictors.cost import weight_bytes
from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.objectives import Objective
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.data import load_dataset
from supernet.evaluate import score
from supernet.examiner import Examiner
from supernet.network import Supernet
from supernet.prefixes import Prefixes
from supernet.scores.labels import SplitExam

SHARED = os.environ.get("WINNOW_BENCHMARK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
POPULATION, LENGTH, GENERATIONS = 50, 128, 6
# The last two of six layers may go, and every layer has two widths and all its heads, as in LLaMA-NAS's space.
PAPER = {
    "layer*_ffn": (176, 352),
    "layer*_kv_heads": (4,),
    **{f"layer{i}_keep": (1,) for i in range(2, 5)},
    **{f"layer{i}_keep": (0, 1) for i in range(5, 7)},
}


def paper_population(rng: np.random.Generator) -> tuple[SearchSpace, list[Architecture]]:
    """Random networks of two widths a layer, whose last inner layers may go."""
    space = load_family("llama", "tiny", Adjustments(PAPER))
    return space, distinct(lambda: space.sample(rng))


def random_population(rng: np.random.Generator) -> tuple[SearchSpace, list[Architecture]]:
    """Random networks of `tiny`."""
    space = load_family("llama", "tiny")
    return space, distinct(lambda: space.sample(rng))


def bred_population(examiner: Examiner, space: SearchSpace) -> list[Architecture]:
    """What NSGA-II asks for in its last generation."""
    objectives = [Objective("perplexity"), Objective("size_bytes")]
    algorithm = make_algorithm("nsga2", space, objectives, seed=0, evaluations=GENERATIONS * POPULATION)
    last: list[Architecture] = []
    while batch := algorithm.ask():
        last = batch
        scores = examiner.examine(batch)
        algorithm.tell(
            [
                Evaluation(a, {**values, "size_bytes": float(weight_bytes(space, a))})
                for a, values in zip(batch, scores, strict=True)
            ]
        )
    return last


def distinct(draw: Callable[[], Architecture]) -> list[Architecture]:
    """So many different networks."""
    found: dict[str, Architecture] = {}
    while len(found) < POPULATION:
        architecture = draw()
        found[architecture.id] = architecture
    return list(found.values())


def compare(examiner: Examiner, population: list[Architecture], validation: Any, rounds: int) -> dict[str, Any]:
    """Times and scores of both ways."""
    seconds: dict[str, list[float]] = {"one by one": [], "together": []}
    scores: dict[str, list[float]] = {}

    def one_by_one() -> list[float]:
        return [score(examiner.network(architecture), validation) for architecture in population]

    def together() -> list[float]:
        return [values["perplexity"] for values in examiner.examine(population)]

    for _round in range(rounds):
        for name, way in (("one by one", one_by_one), ("together", together)):
            began = time.perf_counter()
            scores[name] = way()
            seconds[name].append(time.perf_counter() - began)
    prefixes = Prefixes(examiner.supernet, population)
    ratios = [a / b for a, b in zip(seconds["one by one"], seconds["together"], strict=True)]
    return {
        "architectures": len(population),
        "architectures_per_minute": {
            name: round(60 * len(population) / statistics.median(times), 1) for name, times in seconds.items()
        },
        "times_faster": round(statistics.median(ratios), 3),
        "times_faster_by_round": [round(ratio, 3) for ratio in ratios],
        "layers": {"of_all": prefixes.num_layers, "computed": prefixes.num_computed},
        "same_to_the_last_bit": scores["one by one"] == scores["together"],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="fewer tokens and rounds")
    parser.add_argument("--data", type=Path, default=Path(SHARED) / "tinyshakespeare" / "input.txt.gz")
    arguments = parser.parse_args()
    if not arguments.data.exists():
        sys.stderr.write(f"Skipped: {arguments.data} is not there. Give a text file with --data.\n")
        return
    blocks, rounds = (32, 3) if arguments.small else (128, 5)
    data = load_dataset("text", 0, {"path": str(arguments.data), "length": LENGTH})
    validation = data.validation.take(torch.arange(blocks))
    torch.manual_seed(0)
    results: dict[str, Any] = {}
    for name, (space, population) in {
        "paper": paper_population(np.random.default_rng(0)),
        "random": random_population(np.random.default_rng(0)),
    }.items():
        examiner = Examiner(Supernet(space), [SplitExam(validation)], data.train)
        results[name] = compare(examiner, population, validation, rounds)
        sys.stderr.write(f"{name}: {results[name]}\n")
    # Weights are random: which networks the search likes is arbitrary, but it breeds them as it would others.
    small = Examiner(examiner.supernet, [SplitExam(validation.take(torch.arange(4)))], data.train)
    bred = bred_population(small, space)
    results["bred"] = compare(examiner, bred, validation, rounds)
    report = {
        "question": "architectures evaluated per minute, one by one and with shared first layers",
        "validation_tokens": validation.y.numel(),
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **describe_machine(),
        "goal": 1.5,
        "populations": results,
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for name, result in results.items():
        print(f"{name:8} {result['times_faster']:.2f} times, {result['architectures_per_minute']}, {result['layers']}")


if __name__ == "__main__":
    main()
