"""Networks of a space, written as ONNX and timed on this machine: the data that latency predictors are judged on.

All networks are open in one process that has no torch, one thread each, and take turns in random order, round after
round: whatever else the machine does meets them all alike. The latency of a network is a low quantile of its
runs, since on a shared machine the median tells more of the neighbours: on 2 shared cores quantiles 0.5, 0.25, 0.1
and 0.02 of two halves of the rounds differed by 5.0, 2.1, 1.3 and 1.2 % for vit, by 0.9, 0.3, 0.2 and 0.2 % for
mobilenet. Weights are random: they do not change the time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from predictors.cost import macs
from quantization.policies import Quantization
from quantization.quantized_space import QuantizedSpace
from search_space.architecture import Architecture
from search_space.plugins import load_family
from search_space.space import SearchSpace

QUANTILE = 0.02
WARM_UP_RUNS, RUNS = 3, 10


@dataclass(frozen=True)
class Measured:
    """Networks and their latencies.

    Attributes:
        latencies_ms, macs: shape (num_networks,).
        facts: how it was measured.
    """

    space: SearchSpace
    architectures: list[Architecture]
    latencies_ms: np.ndarray
    macs: np.ndarray
    facts: dict[str, Any]


def measured(family: str, preset: str, count: int, rounds: int, *, mixed: bool = False, seed: int = 7) -> Measured:
    """So many different random networks of a preset, written and timed here.

    Args:
        mixed: every layer that can be has 8-bit integers or 32-bit floats, at random.
    """
    space = load_family(family, preset=preset)
    if mixed:
        space = QuantizedSpace(space, Quantization((8, 32)))
    rng = np.random.default_rng(seed)
    found: dict[str, Architecture] = {}
    while len(found) < count:
        architecture = space.sample(rng)
        found.setdefault(architecture.id, architecture)
    architectures = list(found.values())
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        _write(space, architectures, Path(folder))
        written_seconds = time.monotonic() - started
        command = [sys.executable, "-m", "benchmarks.measured_networks", folder, str(count), str(rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        times_ms = np.load(Path(folder) / "times.npy")
    runs = times_ms.transpose(1, 0, 2).reshape(count, -1)
    halves = [np.quantile(times_ms[part::2].transpose(1, 0, 2).reshape(count, -1), QUANTILE, axis=1) for part in (0, 1)]
    facts = {
        **json.loads(done.stdout),
        "networks": count,
        "rounds": rounds,
        "runs_a_round": RUNS,
        "threads": 1,
        "batch": 1,
        "dtype": "mixed int8 and float32" if mixed else "float32",
        "statistic": f"quantile {QUANTILE} of the runs",
        "median_difference_of_half_the_rounds_percent": round(
            100 * float(np.median(np.abs(halves[0] / halves[1] - 1))), 2
        ),
        "seconds_to_write": round(written_seconds),
        "seconds_to_measure": round(time.monotonic() - started - written_seconds),
    }
    latencies = np.quantile(runs, QUANTILE, axis=1)
    costs = np.array([macs(space, architecture) for architecture in architectures], dtype=float)
    return Measured(space, architectures, latencies, costs, facts)


def _write(space: SearchSpace, architectures: list[Architecture], folder: Path) -> None:
    import torch

    from export.formats.onnx.traced import write_for_measuring as write
    from quantization.calibration import with_stated_policy
    from supernet.contract import example_inputs
    from supernet.network import build_network

    torch.set_num_threads(1)
    example = example_inputs(space, 1)
    for i, architecture in enumerate(architectures):
        (folder / str(i)).mkdir()
        layers = space.layers(architecture)
        write(with_stated_policy(build_network(layers).eval(), layers, example), example, folder / str(i))


def main() -> None:
    """Time the networks of a folder: `FOLDER COUNT ROUNDS`; writes times.npy, (rounds, networks, runs) in ms."""
    import onnxruntime

    folder, count, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(str(folder / str(i) / "model.onnx"), options, providers=["CPUExecutionProvider"])
        for i in range(count)
    ]
    rng = np.random.default_rng(0)
    tensor = sessions[0].get_inputs()[0]
    feed = {tensor.name: rng.standard_normal([1, *tensor.shape[1:]]).astype(np.float32)}
    times_ms = np.zeros((rounds, count, RUNS))
    for turn in range(rounds):
        for i in rng.permutation(count).tolist():
            for _ in range(WARM_UP_RUNS):
                sessions[i].run(None, feed)
            for k in range(RUNS):
                begin = time.perf_counter_ns()
                sessions[i].run(None, feed)
                times_ms[turn, i, k] = (time.perf_counter_ns() - begin) / 1e6
    np.save(folder / "times.npy", times_ms)
    print(json.dumps({"onnxruntime": onnxruntime.__version__}))


if __name__ == "__main__":
    main()
