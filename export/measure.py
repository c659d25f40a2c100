"""Latency of an exported network on this machine, in an isolated process.

`measure` starts `python -m export.measure`, so that nothing of the caller's heap, threads or clocks is in
the numbers. Inside, every setting is warmed up until the running median is stable and then run until
there are enough samples or the time is over. Method: docs/measuring.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# Warm-up ends when the medians of two windows in a row differ by less than this.
STABLE = 0.02
WINDOW = 20
MAX_WARM_UP_SECONDS = 2.0
# Then runs are timed until both are reached, or the time is over.
MIN_RUNS, MIN_SECONDS, MAX_SECONDS = 100, 0.2, 5.0


class MeasurementError(RuntimeError):
    """The isolated process did not give a result; the message has the end of what it printed."""


def measure(model: Path, threads: list[int], batch: int = 1, timeout_seconds: float = 300) -> list[dict[str, Any]]:
    """Latency of an ONNX file, one result per number of threads, in milliseconds.

    Raises:
        MeasurementError: the runtime refused the model, was killed, or took longer than the timeout.
    """
    command = [sys.executable, "-m", "export.measure", str(model), "--batch", str(batch), "--threads"]
    try:
        done = subprocess.run(
            [*command, *map(str, threads)],
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"Measuring {model.name} took longer than {timeout_seconds:g} s.") from None
    if done.returncode != 0:
        tail = done.stderr.strip().split("\n")[-1]
        raise MeasurementError(f"Measuring {model.name} failed with exit code {done.returncode}: {tail}")
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def describe_machine() -> dict[str, Any]:
    """The device, in words and numbers, that stand beside every latency."""
    return {
        "device": cpu_name(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "os": platform.platform(),
    }


def cpu_name() -> str:
    """The processor's name as the operating system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _measure_onnxruntime(model: Path, threads: int, batch: int) -> dict[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    tensor = session.get_inputs()[0]
    shape = [batch, *tensor.shape[1:]]
    feed = {tensor.name: _example(tensor.type, shape)}
    times_ms, warm_up_runs = _time(lambda: session.run(None, feed))
    median = float(np.median(times_ms))
    return {
        "metric": "latency_ms",
        "target": "cpu-onnxruntime",
        "median_ms": median,
        "p95_ms": float(np.percentile(times_ms, 95)),
        "mad_ms": float(np.median(np.abs(times_ms - median))),
        "runs": len(times_ms),
        "warm_up_runs": warm_up_runs,
        "threads": threads,
        "batch": batch,
        "input_shape": shape,
        "dtype": "float32",
        "isolated": True,
        "versions": {"onnxruntime": onnxruntime.__version__, "python": platform.python_version()},
        **describe_machine(),
    }


def _example(kind: str, shape: list[int]) -> np.ndarray:
    """Inputs of the type that the model asks for: normal noise, or token ids (whose values cost the same)."""
    if kind == "tensor(int64)":
        return np.zeros(shape, dtype=np.int64)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _time(run: Any) -> tuple[np.ndarray, int]:
    """Times of single runs in milliseconds after the warm-up, and the number of warm-up runs."""

    def window() -> list[float]:
        times = []
        for _ in range(WINDOW):
            begin = time.perf_counter_ns()
            run()
            times.append((time.perf_counter_ns() - begin) / 1e6)
        return times

    warm_up_runs, last, started = WINDOW, float(np.median(window())), time.monotonic()
    while time.monotonic() - started < MAX_WARM_UP_SECONDS:
        now = float(np.median(window()))
        warm_up_runs += WINDOW
        if abs(now - last) <= STABLE * last:
            break
        last = now
    times: list[float] = []
    started = time.monotonic()
    while time.monotonic() - started < MAX_SECONDS:
        times += window()
        if len(times) >= MIN_RUNS and time.monotonic() - started >= MIN_SECONDS:
            break
    return np.array(times), warm_up_runs


def main() -> None:
    """Measure the file named on the command line and print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    results = [_measure_onnxruntime(arguments.model, n, arguments.batch) for n in arguments.threads]
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
