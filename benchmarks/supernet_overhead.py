"""What weight sharing costs: `supernet(x, architecture)` against the same network as a static module.

For random architectures, forward plus backward and evaluation are timed on both, interleaved call by
call in one process, so that a slow moment of the machine hits both. Prints the median of the ratios.
Training runs on batches of 256 (at 128 the ratio was 1.04 to 1.06), evaluation on the batches that
`supernet/evaluate.py` uses, both with the threads that a job of this space gets.

    python benchmarks/supernet_overhead.py [--json] [--architectures 20] [--batch 256] [--seconds 2]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from export.measure import describe_machine
from pipeline.environment import fix_threads
from predictors.cost import macs
from search_space.plugins import load_family
from supernet.evaluate import BATCH as EVALUATION_BATCH
from supernet.network import Supernet, extract

GOALS = {"training": 1.05, "evaluation": 1.10, "max_abs_difference": 0.0}
WARM_UP = 3


def ratio(first: Callable[[], object], second: Callable[[], object], seconds: float) -> tuple[float, float]:
    """(median time of the first over the second's, the second's median in milliseconds), interleaved.

    Which of the two goes first alternates, because a call finds the caches that the last one left.
    """
    times: tuple[list[float], list[float]] = ([], [])
    deadline = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < deadline or turn < 2 * WARM_UP + 10:
        for which in (turn % 2, 1 - turn % 2):
            begin = time.perf_counter()
            (first, second)[which]()
            times[which].append(time.perf_counter() - begin)
        turn += 1
    medians = [float(np.median(t[WARM_UP:])) for t in times]
    return medians[0] / medians[1], 1000 * medians[1]


def compare(num_architectures: int, batches: dict[str, int], seconds: float) -> dict[str, Any]:
    """One row per architecture, and the medians over all."""
    space = load_family("mobilenet", "digits")
    fix_threads(None, macs(space, space.largest()))  # as many as a job of this space uses
    torch.manual_seed(0)
    supernet = Supernet(space)
    rng = np.random.default_rng(0)
    inputs = {mode: torch.randn(batch, 1, 8, 8) for mode, batch in batches.items()}
    rows = []
    for number in range(num_architectures):
        architecture = space.sample(rng)
        static = extract(supernet, architecture)

        def train(network: Callable[[], torch.Tensor]) -> None:
            network().sum().backward()

        def evaluate(network: Callable[[], torch.Tensor]) -> None:
            with torch.no_grad():
                network()

        def shared(architecture: Any = architecture) -> torch.Tensor:
            out: torch.Tensor = supernet(inputs[mode], architecture)  # noqa: B023
            return out

        def alone(static: Any = static) -> torch.Tensor:
            out: torch.Tensor = static(inputs[mode])  # noqa: B023
            return out

        row: dict[str, Any] = {"architecture": architecture.id, "max_abs_difference": 0.0}
        # Evaluation first: a training pass of the static network moves its running statistics.
        for mode, run in (("evaluation", evaluate), ("training", train)):
            supernet.train(mode == "training")
            static.train(mode == "training")
            with torch.no_grad():
                difference = float((shared() - alone()).abs().max())
            row["max_abs_difference"] = max(row["max_abs_difference"], difference)
            row[mode], row[f"{mode}_static_ms"] = ratio(lambda: run(shared), lambda: run(alone), seconds)  # noqa: B023
        rows.append(row)
        sys.stderr.write(f"\r{number + 1}/{num_architectures} architectures")
    sys.stderr.write("\n")
    summary = {mode: float(np.median([row[mode] for row in rows])) for mode in ("training", "evaluation")}
    summary["max_abs_difference"] = max(row["max_abs_difference"] for row in rows)
    return {
        "question": "time of supernet(x, architecture) over the static network's",
        "space": space.name,
        "batches": batches,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **describe_machine(),
        "median": summary,
        "goals": GOALS,
        "met": {name: summary[name] <= goal for name, goal in GOALS.items()},
        "architectures": rows,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--architectures", type=int, default=20)
    parser.add_argument("--batch", type=int, default=256, help="of training")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each architecture and mode")
    arguments = parser.parse_args()
    batches = {"training": arguments.batch, "evaluation": EVALUATION_BATCH}
    result = compare(arguments.architectures, batches, arguments.seconds)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['space']}, batches {result['batches']}, {result['threads']} threads, {result['device']}")
    print(f"{'architecture':<18} {'training':>9} {'evaluation':>11} {'static step, ms':>16}")
    for row in result["architectures"]:
        print(
            f"{row['architecture']:<18} {row['training']:>9.3f} {row['evaluation']:>11.3f} "
            f"{row['training_static_ms']:>16.2f}"
        )
    for name, goal in GOALS.items():
        print(f"{name}: {result['median'][name]:.3f} (goal: at most {goal})")


if __name__ == "__main__":
    main()
