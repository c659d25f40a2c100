"""How fast a space is: architectures sampled, described and costed per second, on one core.

For each space, architectures are drawn at random, described as layers, and their parameters, MACs and bytes counted,
for a few seconds after a warm-up of one second. Seconds are those that the core worked for this process, which on an
idle machine are those of the clock; the clock's rate stands beside it. The speed is the best of several rounds; all
rounds are in the result.

    python benchmarks/space_speed.py [--json] [--seconds 2] [--rounds 5] [mobilenet/bignas llama/llama2_7b ...]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from typing import Any

import numpy as np

from export.measure import describe_machine
from predictors.cost import macs, params, weight_bytes
from search_space import SearchSpace
from search_space.plugins import UnknownPluginError, load_family

# Architectures per second that were asked for.
GOALS = {"mobilenet/bignas": 5000, "llama/llama2_7b": 2000}
WARM_UP_SECONDS = 1.0


def rates(space: SearchSpace, rng: np.random.Generator, seconds: float) -> tuple[float, float]:
    """Architectures per second of the core's work, and per second of the clock."""
    begin, clock = time.process_time(), time.perf_counter()
    done = 0
    while (now := time.process_time()) - begin < seconds:
        for _ in range(100):
            architecture = space.sample(rng)
            params(space, architecture)
            macs(space, architecture)
            weight_bytes(space, architecture)
        done += 100
    return done / (now - begin), done / (time.perf_counter() - clock)


def measure(name: str, seconds: float, rounds: int) -> dict[str, Any]:
    """One space's row, or why there is none."""
    family, _, preset = name.partition("/")
    try:
        space = load_family(family, preset)
    except UnknownPluginError as error:
        return {"space": name, "skipped": str(error)}
    rng = np.random.default_rng(0)
    rates(space, rng, WARM_UP_SECONDS)
    worked, clock = zip(*(rates(space, rng, seconds) for _ in range(rounds)), strict=True)
    goal = GOALS.get(name)
    return {
        "space": name,
        "architectures_per_second": max(worked),
        "median": float(np.median(worked)),
        "by_the_clock": max(clock),
        "rounds": worked,
        "choices": len(space.choices),
        "layers_of_the_largest": len(space.layers(space.largest())),
        "goal": goal,
        "met": None if goal is None else max(worked) >= goal,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spaces", nargs="*", default=list(GOALS), help="family/preset")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = [measure(name, arguments.seconds, arguments.rounds) for name in arguments.spaces]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {
        "question": "architectures sampled, described and costed (params, MACs, bytes) per second on one core",
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        **describe_machine(),
        "load_average": os.getloadavg()[0],
        "peak_memory_mb": peak / (1024**2 if sys.platform == "darwin" else 1024),
        "spaces": rows,
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for row in rows:
        if "skipped" in row:
            print(f"{row['space']}: skipped. {row['skipped']}")
        else:
            goal = "" if row["goal"] is None else f" (goal: at least {row['goal']:,})"
            print(
                f"{row['space']}: {row['architectures_per_second']:,.0f} per second, median {row['median']:,.0f}{goal}"
            )


if __name__ == "__main__":
    main()
