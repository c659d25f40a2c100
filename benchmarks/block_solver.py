"""Search by blocks: how much of a true front it finds, how fast it answers, and whether its answers are the best.

Four parts, each a question:

- `llama`: a llama of bytes (6 layers, each with or without attention and with or without its feed-forward network:
  2^12 networks) is trained whole on tinyshakespeare, and all its networks are evaluated. Share of the true hypervolume
  (logarithm of perplexity, parameters; scaled to the true front, reference at its worst values) after blocks x
  alternatives + 50 evaluations, by `blocks`, by `winnow` and `random` with as many, and by Puzzle's program: the
  sweep of plain sums, of which as many networks are measured.
- `macro`: the same of NAS-Bench-Macro (Su et al., CVPR 2021): 3^8 networks, each trained alone on CIFAR-10; accuracy
  and MACs as published. Needs its `nas-bench-macro_cifar10.json` (--macro).
- `speed`: seconds from a job's stored scores to the answer, of 32 layers x 16 alternatives with up to four limits.
- `library`: the published block scores of Llama-3.3-70B (Puzzle: 80 layers x 54 or fewer variants; KL, memory, runtime)
  under ten limits, against HiGHS on the plain program to a gap of 0, and a bound by dynamic programming. Needs Puzzle's
  `block_library.json` (--library), whose licence does not let it be shipped here.

    python -m benchmarks.block_solver [--json] [--parts llama,macro,speed,library] [--seeds 5] [--minutes 1]
        [--cache FOLDER] [--data FILE] [--macro FILE] [--library FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from benchmarks.cache import Cache
from export.measure import describe_machine
from pipeline.block_scores import scores_of
from predictors.cost import analytic
from search.algorithms import make_algorithm
from search.blocks.fit import fit_table
from search.blocks.parts import Blocks
from search.blocks.solver import Limit, Terms, solve
from search.evaluation import Evaluation
from search.loop import each, run_search
from search.objectives import Objective
from search.pareto import hypervolume, pareto_front
from search.problem import ExactCost
from search_space import Choice, SearchSpace
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.plugins import load_family
from service.solving import answer_from
from service.store.records import BlockScores
from supernet.data import load_dataset
from supernet.evaluator import Evaluator
from supernet.methods.single.method import Single
from supernet.network import Supernet
from supernet.scores.labels import SplitExam
from supernet.trainer import Trainer, TrainingOptions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FRONT = 50
ALGORITHMS = ("blocks", "winnow", "random")


# --- spaces whose every network is known ------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A space with the scores of all its networks.

    Attributes:
        scores: of an architecture.
        costs: that are known beforehand.
        objectives: quality first, then cost.
    """

    space: SearchSpace
    scores: Callable[[Architecture], Evaluation]
    costs: Mapping[str, ExactCost]
    objectives: tuple[Objective, Objective]

    def every(self) -> list[Evaluation]:
        """All of them."""
        return [self.scores(one) for one in self.space.every()]


def llama(minutes: float, data: Path, cache: Cache) -> Known:
    """A llama whose 4,096 networks are all evaluated."""
    choices = {"layer*_ffn": (0, 192), "layer*_kv_heads": (0, 4)}
    space = load_family("llama", "tiny", Adjustments(choices, length=64))
    text = load_dataset("text", 0, {"path": str(data), "length": 64})
    held = text.validation.take(torch.arange(min(48, len(text.validation))))

    def make() -> dict[str, dict[str, float]]:
        torch.manual_seed(0)
        supernet = Supernet(space)
        _train(supernet, replace(text, validation=held), 60 * minutes)
        evaluator = Evaluator(supernet, replace(text, validation=held), 2, 0, [SplitExam(held, against_full=True)])
        began = time.process_time()
        found = {e.architecture.id: dict(e.metrics) for e in evaluator.evaluate(list(space.every()))}
        sys.stderr.write(f"{len(found)} networks evaluated in {time.process_time() - began:.0f} s of processor time\n")
        return found

    known: dict[str, dict[str, float]] = cache.result(f"llama-{minutes:g}", make)
    objectives = (Objective("perplexity"), Objective("params"))
    costs = {"params": analytic(space)["params"]}
    return Known(space, lambda one: Evaluation(one, known[one.id]), costs, objectives)


def _train(supernet: Supernet, data: Any, seconds: float) -> None:
    """The whole network, for so much processor time."""
    options = TrainingOptions(
        epochs=1000,
        batch_size=16,
        optimizer="adamw",
        learning_rate=2e-3,
        schedule="constant",
        lr_decay=1.0,
        lr_decay_epochs=1.0,
        lr_floor=1.0,
        weight_decay=0.01,
        momentum=0.9,
        clip_norm=1.0,
    )
    trainer, began, shown = Trainer(supernet, Single(), data.train, options, seed=0), time.process_time(), {}
    while time.process_time() - began < seconds:
        shown = trainer.step()
    sys.stderr.write(f"trained {trainer.steps_done} steps: {shown}\n")


def macro(file: Path) -> Known:
    """NAS-Bench-Macro as published."""
    table = json.loads(file.read_text())
    space = SearchSpace("nas-bench-macro", [Choice(f"layer{i}", (0, 1, 2)) for i in range(8)])

    def row(one: Architecture) -> dict[str, float]:
        found: dict[str, float] = table["".join(map(str, one.values.values()))]
        return found

    def scores(one: Architecture) -> Evaluation:
        return Evaluation(one, {"accuracy": row(one)["mean_acc"] / 100, "macs": float(row(one)["flops"])})

    objectives = (Objective("accuracy", "maximize"), Objective("macs"))
    return Known(space, scores, {"macs": lambda one: float(row(one)["flops"])}, objectives)


def share_found(known: Known, seeds: int, cost_name: str) -> dict[str, Any]:
    """Shares of the true hypervolume, by algorithm."""
    blocks, every = Blocks(known.space), known.every()
    budget = blocks.num_alternatives + FRONT
    quality = known.objectives[0].metric
    front = pareto_front(every, known.objectives)
    volume = _volume(known, front)
    found: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
    trust: list[dict[str, Any]] = []
    for seed in range(seeds):
        for name in ALGORITHMS:
            algorithm = make_algorithm(
                name, known.space, known.objectives, seed=seed, evaluations=budget, exact_costs=known.costs
            )
            done = run_search(algorithm, each(known.scores), {})
            found[name].append(_volume(known, done, front) / volume)
            if name == "blocks":
                goals = {one.metric: one.goal for one in known.objectives}
                if "kl_divergence" in done[0].metrics:
                    goals["kl_divergence"] = "minimize"
                made = fit_table(blocks, done, goals, known.costs).quantities[quality]
                told = made.trust
                trust.append(
                    {
                        "scores": made.scores,
                        "pairs": len(made.damage.pairs),
                        "curve": made.curve,
                        "combinations": told.combinations,
                        "tau": told.tau,
                        "error": told.error,
                        "error_of_sums": told.sum_alone,
                    }
                )
    found["sums, as Puzzle"] = [_volume(known, _by_sums(known, blocks, budget), front) / volume]
    return {
        "space": known.space.name,
        "networks": len(every),
        "on_the_true_front": len(front),
        "blocks": len(blocks.blocks),
        "alternatives": blocks.num_alternatives,
        "evaluations": budget,
        "quality": quality,
        "cost": cost_name,
        "shares": found,
        "mean_shares": {name: statistics.mean(shares) for name, shares in found.items()},
        "least_shares": {name: min(shares) for name, shares in found.items()},
        "trust": trust,
    }


def _volume(known: Known, found: Sequence[Evaluation], front: Sequence[Evaluation] | None = None) -> float:
    """Hypervolume in the unit square of the true front; perplexities as logarithms."""
    scaled, reference = [], list(front or found)
    columns = [_costs(known, one) for one in reference]
    low, high = np.min(columns, axis=0), np.max(columns, axis=0)
    for one in found:
        values = (_costs(known, one) - low) / (high - low)
        scaled.append(Evaluation(one.architecture, {"quality": float(values[0]), "cost": float(values[1])}))
    return hypervolume(scaled, [Objective("quality"), Objective("cost")], [1.0, 1.0])


def _costs(known: Known, one: Evaluation) -> np.ndarray:
    values = [each.cost(one.metrics[each.metric]) for each in known.objectives]
    if known.objectives[0].metric == "perplexity":
        values[0] = float(np.log(values[0]))
    return np.array(values)


def _by_sums(known: Known, blocks: Blocks, budget: int) -> list[Evaluation]:
    """Singles, then what the program over plain sums says for limits all along the cost."""
    singles = [known.scores(blocks.architecture(one)) for one in blocks.singles()]
    quality, cost = known.objectives
    goals = {quality.metric: quality.goal, cost.metric: cost.goal}
    table = fit_table(blocks, singles, goals, known.costs)
    damage, size = table.quantities[quality.metric].damage, table.quantities[cost.metric].damage
    least, most = (sum(float(ends(costs)) for costs in size.costs) for ends in (np.min, np.max))
    found = {one.architecture.id: one for one in singles}
    for limit in np.linspace(least, most, 4 * FRONT):
        solution = solve(damage, [Limit(size, size.base + float(limit), max(most - least, 1.0))])
        if solution is not None and len(found) < budget:
            one = blocks.architecture(solution.network)
            found.setdefault(one.id, known.scores(one))
    return list(found.values())


# --- speed -------------------------------------------------------------------------------------------


def speed(rounds: int) -> dict[str, Any]:
    """From stored scores to the answer, of a space of 32 layers with 16 alternatives each."""
    # 5 widths by 3 numbers of groups, or left out; fresh random scores, so that nothing but time is said.
    choices = {"layer*_ffn": (1024, 2048, 3072, 4096, 5120), "layer*_kv_heads": (2, 4, 8), "layer*_keep": (0, 1)}
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 32000,
        "hidden_size": 2048,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    }
    space = load_family("llama", None, Adjustments(choices), config)
    blocks, rng = Blocks(space), np.random.default_rng(0)
    importance = rng.lognormal(0, 1, len(blocks.blocks))
    full = analytic(space)["params"](space.largest())
    pairs = rng.choice(len(blocks.blocks), (6, 2))

    def score(one: Architecture) -> Evaluation:
        (network,) = blocks.networks([one])
        cut = 1 - (network + 0.0) / np.array([len(b.alternatives) - 1 for b in blocks.blocks])
        divergence = float(importance @ cut**2) / 10 + sum(float(cut[a] > 0.9 and cut[b] > 0.9) for a, b in pairs)
        exact = {metric: cost(one) for metric, cost in known.items()}
        latency = 3 + 20 * exact["params"] / full + 5 * float((network > 0).mean())
        return Evaluation(
            one, {"perplexity": 5 * np.exp(divergence), "kl_divergence": divergence, "latency_ms": latency}
        )

    known = analytic(space)
    known.pop("peak_activation_bytes")
    drawn = {one.id: one for one in (space.sample(rng, "params") for _ in range(60))}
    done = [score(one) for one in [*map(blocks.architecture, blocks.singles()), *drawn.values()]]
    goals = dict.fromkeys(("perplexity", "kl_divergence", "latency_ms", *known), "minimize")
    table = fit_table(blocks, done, goals, known)  # type: ignore[arg-type]
    stored = scores_of(blocks, table, len(done)).model_dump_json()
    largest = {metric: one.largest for metric, one in table.quantities.items()}
    seconds: dict[str, list[float]] = {}
    gaps: list[float] = []
    of_processor: list[float] = []
    limited = ("params", "latency_ms", "kv_cache_bytes", "macs")
    for count in range(1, len(limited) + 1):
        times = seconds.setdefault(f"{count} limits", [])
        for _ in range(rounds):
            limits = {m: float(largest[m] * rng.uniform(0.4, 0.95)) for m in limited[:count]}
            began, worked = time.perf_counter(), time.process_time()
            made = load_family("llama", None, Adjustments(choices), config)
            answer = answer_from(BlockScores.model_validate_json(stored), made, ["perplexity"], limits)
            json.dumps([one.values for one in answer.solutions])
            times.append(time.perf_counter() - began)
            of_processor.append(time.process_time() - worked)
            gaps += [one.gap for one in answer.solutions if one.feasible]
    every = [value for times in seconds.values() for value in times]
    return {
        "blocks": len(blocks.blocks),
        "alternatives_of_each": sorted({len(block.alternatives) for block in blocks.blocks}),
        "metrics": len(table.quantities),
        "pairs": len(table.quantities["perplexity"].damage.pairs),
        "stored_bytes": len(stored),
        "rounds": len(every),
        "feasible": len(gaps),
        "p50_ms": {name: _quantile(times, 0.5) for name, times in seconds.items()},
        "p95_ms": {name: _quantile(times, 0.95) for name, times in seconds.items()},
        "p95_ms_of_all": _quantile(every, 0.95),
        "p95_ms_of_processor": _quantile(of_processor, 0.95),
        "load": os.getloadavg()[0],
        "proved": float(np.mean(np.array(gaps) == 0)),
        "largest_gap": float(np.max(gaps)),
    }


def _quantile(seconds: Sequence[float], q: float) -> float:
    return round(1000 * float(np.quantile(seconds, q)), 1)


# --- Puzzle's library ----------------------------------------------------------------------------------


def library(file: Path) -> dict[str, Any]:
    """Ten limits on memory and runtime, against a reference."""
    layers = list(json.loads(file.read_text()).values())

    def terms(group: str, name: str) -> Terms:
        return Terms(0.0, tuple(np.array([float(v[group][name]) for v in layer.values()]) for layer in layers))

    divergence = terms("metrics", "kl_div")
    costs = {name: terms("stats", name) for name in ("memory_mib", "runtime_ms")}
    whole = {name: sum(float(one[0]) for one in each.costs) for name, each in costs.items()}
    asked = [{"memory_mib": share} for share in (0.9, 0.7, 0.5)]
    asked += [{"runtime_ms": share} for share in (0.9, 0.7, 0.5)]
    asked += [{"memory_mib": a, "runtime_ms": b} for a, b in ((0.9, 0.8), (0.7, 0.7), (0.6, 0.5), (0.5, 0.6))]
    rows: list[dict[str, Any]] = []
    for shares in asked:
        limits = [Limit(costs[name], share * whole[name], share * whole[name]) for name, share in shares.items()]
        began = time.perf_counter()
        quick = solve(divergence, limits, seconds=0.05)
        seconds = time.perf_counter() - began
        exact = solve(divergence, limits, enough=0.0)
        right = _reference(divergence, limits)
        assert quick is not None
        assert exact is not None
        rows.append(
            {
                "limits": shares,
                "kl": exact.total,
                "reference_kl": right[0],
                "same_choices": exact.network == right[1],
                "kl_in_50_ms": quick.total,
                "gap_said": quick.gap,
                "ms": round(1000 * seconds, 1),
                "bound_by_dynamic_programming": _bound(divergence, limits[0]) if len(limits) == 1 else None,
            }
        )
    return {
        "layers": len(layers),
        "variants": sorted({len(layer) for layer in layers}),
        "asked": rows,
        "same_choices": sum(row["same_choices"] for row in rows),
        "worst_excess_in_50_ms": max(row["kl_in_50_ms"] / row["reference_kl"] - 1 for row in rows),
    }


def _reference(objective: Terms, limits: Sequence[Limit]) -> tuple[float, tuple[int, ...]]:
    """HiGHS on the plain program, to a gap of 0."""
    sizes = [len(one) for one in objective.costs]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    one_each = np.zeros((len(sizes), starts[-1]))
    for block, start in enumerate(starts[:-1]):
        one_each[block, start : start + sizes[block]] = 1
    rows = np.array([np.concatenate(limit.terms.costs) / limit.scale for limit in limits])
    without: list[np.ndarray] = []
    while True:
        constraints = [
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(rows, -np.inf, [limit.most / limit.scale for limit in limits]),
        ]
        for places in without:
            row = np.zeros(starts[-1])
            row[places] = 1
            constraints.append(LinearConstraint(row, -np.inf, len(sizes) - 1))
        found = milp(
            np.concatenate(objective.costs),
            constraints=constraints,
            integrality=np.ones(starts[-1]),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": 0.0, "time_limit": 120},
        )
        network = tuple(int(found.x[a:b].argmax()) for a, b in pairwise(starts))
        if all(limit.terms.of(np.array([network]))[0] <= limit.most for limit in limits):
            return float(found.fun), network
        without.append(starts[:-1] + np.array(network))  # beyond a limit by the solver's tolerance of 1e-6


def _bound(objective: Terms, limit: Limit, steps: int = 20_000) -> float:
    """No network within one limit is better than this: dynamic programming over costs rounded down."""
    unit = limit.most / steps
    best = np.zeros(steps + 1)
    for scores, costs in zip(objective.costs, limit.terms.costs, strict=True):
        after = np.full(steps + 1, np.inf)
        for score, cost in zip(scores, np.floor(costs / unit).astype(int), strict=True):
            if cost <= steps:
                after[cost:] = np.minimum(after[cost:], best[: steps + 1 - cost] + score)
        best = after
    return float(best.min())


# --- all ------------------------------------------------------------------------------------------------


@contextmanager
def without_words_of_highs() -> Iterator[None]:
    """HiGHS writes to the process's output now and then; here that goes where errors go."""
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(out, 1)
        os.close(out)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--parts", default="llama,macro,speed,library")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=1.0, help="of processor time that the llama is trained")
    parser.add_argument("--rounds", type=int, default=50, help="answers for each number of limits")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--data", type=Path, default=SHARED / "tinyshakespeare" / "input.txt.gz")
    parser.add_argument("--macro", type=Path, default=SHARED / "nas-bench-macro_cifar10.json")
    parser.add_argument("--library", type=Path, default=SHARED / "block_library.json")
    given = parser.parse_args()
    parts = given.parts.split(",")
    result: dict[str, Any] = {"question": __doc__.split("\n", 1)[0], "seeds": given.seeds}
    with without_words_of_highs():
        if "llama" in parts:
            result["llama"] = share_found(llama(given.minutes, given.data, Cache(given.cache)), given.seeds, "params")
        if "macro" in parts:
            result["macro"] = share_found(macro(given.macro), given.seeds, "macs")
        if "speed" in parts:
            result["speed"] = speed(given.rounds)
        if "library" in parts:
            result["library"] = library(given.library)
    result |= {"threads": torch.get_num_threads(), "torch": torch.__version__, **describe_machine()}
    print(json.dumps(result, indent=2) if given.json else _table(result))


def _table(result: Mapping[str, Any]) -> str:
    lines = []
    for part in ("llama", "macro"):
        if part in result:
            found = result[part]
            lines.append(f"{part}: {found['networks']} networks, {found['evaluations']} evaluations")
            lines += [f"  {name:<18} {share:.4f}" for name, share in found["mean_shares"].items()]
    if "speed" in result:
        lines.append(f"speed: p95 {result['speed']['p95_ms_of_all']} ms")
    if "library" in result:
        lines.append(f"library: {result['library']['same_choices']} of {len(result['library']['asked'])} the same")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
