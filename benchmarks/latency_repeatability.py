"""Is a measured latency the same when it is measured again, and does its interval say so?

    python -m benchmarks.latency_repeatability [--json] [--small]

Networks of mobilenet/cifar are measured twice, each time in processes of its own. The two measurements take turns,
round by round, so that both see the machine as it is. Wanted: a median absolute difference under 3 %, and stored
intervals that cover the second measurement at least 9 times in 10.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from export.measurable import write_measurable
from export.measure import Effort, Setting, describe_machine
from export.measure.bench import one_at_a_time, start_series
from export.measure.machine import clocks
from predictors.readings import Results
from search_space.plugins import load_family
from supernet.network import build_network

NETWORKS, SMALL_NETWORKS = 20, 6


def write_networks(count: int, setting: Setting, folder: Path) -> list[Path]:
    """Random networks as the runtime reads them."""
    space = load_family("mobilenet", "cifar")
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        layers = space.layers(space.sample(rng, "macs"))
        torch.manual_seed(i)
        example = torch.zeros(1, 3, 32, 32)
        paths.append(write_measurable(build_network(layers).eval(), layers, example, folder / f"{i}", setting))
    return paths


def measure_twice(paths: Sequence[Path], setting: Setting, effort: Effort) -> list[Results]:
    """Two measurements of every network, each in fresh processes, in turns."""
    before = clocks()
    with one_at_a_time(), contextlib.ExitStack() as stack:
        twice = [start_series(stack, paths, [setting], effort, {}) for _ in range(2)]
        while True:
            unfinished = [(children, one) for children, series in twice for one in series if not one.is_done(effort)]
            if not unfinished:
                break
            # Networks in turns, and of each network both measurements: neither has the quiet minutes for itself.
            for children, one in sorted(unfinished, key=lambda pair: pair[1].model):
                one.add_blocks(children, effort)
        after = clocks()
        return [[one.result(before, after) for one in series] for _, series in twice]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help=f"{SMALL_NETWORKS} networks and 1 s for each")
    parser.add_argument("--seconds", type=float, help="Most measuring time of one network; default: a job's.")
    arguments = parser.parse_args()
    count = SMALL_NETWORKS if arguments.small else NETWORKS
    effort = Effort(max_seconds=arguments.seconds or (1.0 if arguments.small else Effort().max_seconds))
    setting = Setting()
    before = clocks()
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
        first, second = measure_twice(write_networks(count, setting, Path(folder)), setting, effort)
    a, b = (np.array([one["median_ms"] for one in series]) for series in (first, second))
    low, high = np.array([one["interval_ms"] for one in first]).T
    difference = np.abs(a - b) / a
    covered = (low <= b) & (b <= high)
    answer = {
        "question": "is a latency the same when it is measured again?",
        "networks": count,
        "median_ms": [float(a.min()), float(np.median(a)), float(a.max())],
        "median_abs_difference_percent": float(100 * np.median(difference)),
        "max_abs_difference_percent": float(100 * difference.max()),
        "median_interval_half_percent": float(100 * np.median((high - low) / 2 / a)),
        "covered": float(covered.mean()),
        "wanted": {"median_abs_difference_percent": 3.0, "covered": 0.9},
        "passed": bool(np.median(difference) < 0.03 and covered.mean() >= 0.9),
        "preempted_share": float(np.mean([one["preempted_share"] for one in first + second])),
        "seconds_per_network": float(np.mean([one["seconds"] for one in first])),
        "setting": setting.as_dict(),
        "effort": asdict(effort),
        "clocks_before": before,
        "clocks_after": clocks(),
        "machine": describe_machine(),
        "versions": {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__},
    }
    if arguments.json:
        print(json.dumps(answer, indent=2))
        return
    print(f"{count} networks: median difference {100 * np.median(difference):.2f} % (wanted under 3),")
    print(f"intervals of +-{answer['median_interval_half_percent']:.2f} % cover {covered.mean():.0%} (wanted 90 %).")


if __name__ == "__main__":
    main()
