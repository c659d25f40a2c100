"""How few evaluations a search needs: `winnow` against its peers on NAS-Bench-201, whose true front is known.

Objectives are test error after 200 epochs and measured latency, scaled to [0, 1] over the whole space; the gap is
1 - HV/HV_true with reference point (1, 1). Reported for every budget: the mean over seeds of log10(gap), the mean gap,
and the share of the true front found.

Every algorithm asks one architecture or batch after another, and an architecture that is proposed again costs no
evaluation, which favours the peers that repeat themselves. `nsga2` (pymoo), `tpe` and `gp` (optuna) run through our
ask/tell files, which hand the choices over as categories; `optuna-nsga2` is optuna's own study, as it is.

The algorithm's own time is that of asking for 50 architectures with 1,000 evaluations known.

    python -m benchmarks.search_efficiency [--json] [--seeds 20] [--budgets 50,100,200,400]
        [--algorithms winnow,linas,...] [--problems cifar10-raspi4,cifar100-titan]
        [--seeds-of tpe=10,linas=4] [--cache FOLDER]

Slow peers may have fewer seeds, which the table says. What a peer asked for is kept in the cache's folder, because it
does not change when `winnow` does; `winnow` itself is always run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import optuna

from benchmarks.cache import Cache
from search.algorithms import make_algorithm
from search.evaluation import Evaluation
from search.objectives import Objective
from search_space import Choice, SearchSpace

SHARED = os.environ.get("WINNOW_BENCHMARK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
DATA = Path(SHARED) / "nasbench201" / "nasbench201.parquet"
PROBLEMS = {
    "cifar10-raspi4": ("c10_test_200", "lat_raspi4"),
    "cifar100-titan": ("c100_test_200", "lat_titan_rtx_256"),
}
ALGORITHMS = ("winnow", "linas", "nsga2", "tpe", "optuna-nsga2", "gp", "random")
# A gap below this is that of the true front itself, up to rounding.
SMALLEST_GAP = 1e-6
SPACE = SearchSpace("nasbench201", [Choice(f"edge{i}", (0, 1, 2, 3, 4)) for i in range(6)])
OBJECTIVES = [Objective("error"), Objective("latency_ms")]


@dataclass(frozen=True, slots=True)
class Table:
    """One problem: costs of every cell, raw and scaled, and what is best.

    Attributes:
        row_of: genes to row.
        costs, scaled: shape (num_cells, 2).
        on_front: shape (num_cells,), bool.
    """

    row_of: dict[tuple[int, ...], int]
    costs: np.ndarray
    scaled: np.ndarray
    on_front: np.ndarray
    hypervolume: float


def load(problem: str) -> Table:
    """A problem of PROBLEMS from the table."""
    import pyarrow.parquet as parquet

    columns = parquet.read_table(DATA).to_pydict()
    codes = [str(code).zfill(6) for code in columns["op_code"]]
    accuracy, latency = PROBLEMS[problem]
    costs = np.stack([100 - np.array(columns[accuracy], float), np.array(columns[latency], float)], axis=1)
    scaled = (costs - costs.min(axis=0)) / np.ptp(costs, axis=0)
    rows = {tuple(int(digit) for digit in code): i for i, code in enumerate(codes)}
    front = np.asarray(moocore.is_nondominated(scaled))
    return Table(rows, costs, scaled, front, float(moocore.hypervolume(scaled, ref=np.ones(2))))


def remembered(
    table: Table, problem: str, algorithm: str, seed: int, evaluations: int, cache: Cache
) -> tuple[list[int], float]:
    """Rows in the order in which an algorithm asks for them, and seconds it took; from the cache if it has them."""

    def found() -> dict[str, Any]:
        started = time.perf_counter()
        rows = [int(row) for row in asked(table, algorithm, seed, evaluations)]
        return {"rows": rows, "seconds": time.perf_counter() - started}

    # Our own changes with the code.
    kept = Cache(None) if algorithm == "winnow" else cache
    stored = kept.result(f"{problem}-{algorithm}-{seed}-{evaluations}", found)
    return stored["rows"], stored["seconds"]


def asked(table: Table, algorithm: str, seed: int, evaluations: int) -> list[int]:
    """Rows in the order in which an algorithm asks for them."""
    if algorithm == "optuna-nsga2":
        return list(_optuna_nsga2(table, seed, evaluations))
    made = make_algorithm(algorithm, SPACE, OBJECTIVES, seed=seed, evaluations=evaluations)
    rows: list[int] = []
    while batch := made.ask():
        new = [table.row_of[architecture.genes] for architecture in batch]
        made.tell([_evaluation(table, a, row) for a, row in zip(batch, new, strict=True)])
        rows += new
    return rows


def _evaluation(table: Table, architecture: Any, row: int) -> Evaluation:
    error, latency = table.costs[row].tolist()
    return Evaluation(architecture, {"error": error, "latency_ms": latency})


def _optuna_nsga2(table: Table, seed: int, evaluations: int) -> Iterator[int]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=optuna.samplers.NSGAIISampler(seed=seed))
    known: set[int] = set()
    for _trial in range(50 * evaluations):
        trial = study.ask()
        genes = tuple(int(trial.suggest_categorical(c.name, range(len(c.options)))) for c in SPACE.choices)
        row = table.row_of[genes]
        study.tell(trial, table.costs[row].tolist())
        if row not in known:
            known.add(row)
            yield row
        if len(known) == evaluations:
            return


def scores(table: Table, rows: list[int], budgets: list[int]) -> list[dict[str, float]]:
    """Gap and share of the front after each budget."""
    found = []
    for budget in budgets:
        seen = rows[:budget]
        gap = 1 - moocore.hypervolume(table.scaled[seen], ref=np.ones(2)) / table.hypervolume
        share = table.on_front[seen].sum() / table.on_front.sum()
        found.append({"gap": max(float(gap), 0.0), "front_share": float(share)})
    return found


def own_time(table: Table) -> dict[str, float]:
    """Seconds for 50 asks with 1,000 evaluations known, `winnow` in one batch and optuna's TPE one by one."""
    rng = np.random.default_rng(0)
    known = rng.permutation(len(table.costs))[:1000]
    genes = sorted(table.row_of, key=lambda key: table.row_of[key])
    stored = [_evaluation(table, SPACE.from_genes(genes[row]), int(row)) for row in known]

    def ask_winnow() -> None:
        made = make_algorithm("winnow", SPACE, OBJECTIVES, evaluations=51, warm_start=stored, batch=50)
        first = made.ask()
        made.tell([_evaluation(table, a, table.row_of[a.genes]) for a in first])
        started = time.perf_counter()
        made.ask()
        seconds["winnow"] = time.perf_counter() - started

    def ask_tpe() -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(directions=["minimize"] * 2, sampler=optuna.samplers.TPESampler(seed=0))
        kinds = {c.name: optuna.distributions.CategoricalDistribution(c.options) for c in SPACE.choices}
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params=e.architecture.values, distributions=dict(kinds), values=list(e.metrics.values())
                )
                for e in stored
            ]
        )
        started = time.perf_counter()
        for _ask in range(50):
            study.ask(dict(kinds))
        seconds["tpe"] = time.perf_counter() - started

    seconds: dict[str, float] = {}
    for ask in (ask_winnow, ask_tpe):
        ask()
    return seconds


def compare(
    problems: list[str],
    algorithms: list[str],
    seeds_of: dict[str, int],
    budgets: list[int],
    cache: Cache,
) -> list[dict[str, Any]]:
    """One row per problem and algorithm."""
    results = []
    for problem in problems:
        table = load(problem)
        for algorithm in algorithms:
            seeds = seeds_of[algorithm]
            found = [remembered(table, problem, algorithm, seed, max(budgets), cache) for seed in range(seeds)]
            runs = [scores(table, rows, budgets) for rows, _ in found]
            gaps = np.array([[point["gap"] for point in run] for run in runs])
            shares = np.array([[point["front_share"] for point in run] for run in runs])
            logs = np.log10(np.maximum(gaps, SMALLEST_GAP))
            results.append(
                {
                    "problem": problem,
                    "algorithm": algorithm,
                    "seeds": seeds,
                    "budgets": budgets,
                    "mean_log10_gap": logs.mean(axis=0).round(3).tolist(),
                    "standard_error": (logs.std(axis=0, ddof=1) / math.sqrt(seeds)).round(3).tolist()
                    if seeds > 1
                    else None,
                    "mean_gap": gaps.mean(axis=0).round(6).tolist(),
                    "mean_front_share": shares.mean(axis=0).round(3).tolist(),
                    "seconds_a_run": round(sum(seconds for _, seconds in found) / seeds, 2),
                }
            )
            sys.stderr.write(f"{problem} {algorithm} {results[-1]['mean_log10_gap']}\n")
    return results


def verdict(results: list[dict[str, Any]], budgets: list[int]) -> dict[str, Any]:
    """Whether `winnow` is best everywhere, and its gap at 200 over the best peer's."""
    best_everywhere, ratios = True, {}
    for problem in {row["problem"] for row in results}:
        rows = {row["algorithm"]: row for row in results if row["problem"] == problem}
        peers = [row for name, row in rows.items() if name != "winnow"]
        if "winnow" not in rows or not peers:
            return {}
        ours = rows["winnow"]["mean_log10_gap"]
        best_everywhere &= all(ours[i] < min(p["mean_log10_gap"][i] for p in peers) for i in range(len(budgets)))
        if 200 in budgets:
            i = budgets.index(200)
            least = min(peer["mean_gap"][i] for peer in peers)
            ratios[problem] = round(rows["winnow"]["mean_gap"][i] / least, 3)
    return {"best_at_every_budget": best_everywhere, "gap_at_200_over_best_peer": ratios, "goal": 0.5}


def _listed(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"No {unknown[0]!r}. Known: {', '.join(known)}.")
        return names

    return parse


def _numbers(text: str) -> dict[str, int]:
    pairs = [part.partition("=") for part in text.split(",")]
    return {name: int(number) for name, _, number in pairs}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--budgets", type=lambda text: [int(part) for part in text.split(",")], default="50,100,200,400"
    )
    parser.add_argument("--algorithms", type=_listed(ALGORITHMS), default=",".join(ALGORITHMS))
    parser.add_argument("--seeds-of", type=_numbers, default={}, help="such as tpe=10,linas=4")
    parser.add_argument("--cache", type=Path, default=None, help="folder for what peers asked for")
    parser.add_argument("--problems", type=_listed(tuple(PROBLEMS)), default=",".join(PROBLEMS))
    arguments = parser.parse_args()
    if not DATA.exists():
        print(f"Skipped: there is no {DATA}. WINNOW_BENCHMARK_DATA names the folder that holds nasbench201/.")
        return
    seeds_of = {name: arguments.seeds_of.get(name, arguments.seeds) for name in arguments.algorithms}
    results = compare(arguments.problems, arguments.algorithms, seeds_of, arguments.budgets, Cache(arguments.cache))
    report = {
        "question": "hypervolume gap on NAS-Bench-201 after so many evaluations",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}",
        "versions": {
            name: importlib.metadata.version(name) for name in ("numpy", "scipy", "optuna", "pymoo", "moocore")
        },
        "verdict": verdict(results, arguments.budgets),
        "seconds_for_50_asks_with_1000_known": own_time(load(arguments.problems[0])),
        "results": results,
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for row in results:
        print(f"{row['problem']:16} {row['algorithm']:13}", *(f"{value:7.2f}" for value in row["mean_log10_gap"]))
    print(report["verdict"], report["seconds_for_50_asks_with_1000_known"])


if __name__ == "__main__":
    main()
