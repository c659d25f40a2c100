"""Finalists on their device: measured as they would be shipped, beside what was predicted of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from export.measurable import write_measurable
from job.spec import JobSpec
from pipeline.benches import LocalBench
from pipeline.exams import HELD_OUT
from pipeline.hardware import Hardware, Meter, read, reading_of
from pipeline.shipping import scored_as
from pipeline.workshop import JobFailed
from predictors.readings import MeasurementError, Reading, Results
from predictors.setting import Effort, Setting, Tick
from quantization.quantizable import on_device
from search.intervals import Interval
from search.metrics import Source
from search_space.architecture import Architecture
from supernet.evaluate import scores
from supernet.evaluator import Evaluator
from supernet.network import Network
from supernet.scores.exam import Exam, Scores
from supernet.scores.labels import SplitExam

# What a finalist's predicted number is called beside the measured one.
PREDICTED = "predicted_"
# Of the time that finalists take together, what their scores do; the rest is measuring.
SCORED = 0.3


@dataclass(frozen=True, slots=True)
class Tested:
    """A network as it would be shipped: extracted, calibrated, exported.

    Attributes:
        test: its scores on what no search has seen, by name: test examples, held-out questions.
        metrics, sources: what was measured of it on the job's device, beside what was predicted; how each was obtained.
        intervals: 95 %, of these and of what the search asked.
        measurements: that they come from.
    """

    test: dict[str, float]
    metrics: dict[str, float]
    sources: dict[str, Source]
    intervals: dict[str, Interval]
    measurements: Results

    @property
    def numbers(self) -> dict[str, float]:
        """All that only finalists get, by name: what the search asked stays as the search has it, so that every
        network is compared in the same numbers."""
        return {**self.test, **self.metrics}

    @property
    def how(self) -> dict[str, Source]:
        """How each of the numbers was obtained."""
        return {**dict.fromkeys(self.test, Source.MEASURED), **self.sources}


@dataclass(frozen=True, slots=True)
class Lab:
    """Tests networks as they would be shipped, in turns, so that they can be compared.

    A job without a target gets the latency of this machine in ONNX Runtime, with one thread and with all. Where the
    target is an uploaded table there is nothing to measure: the prediction stands.

    Attributes:
        spec: how networks are shipped, and the most measuring time of one.
        searching: evaluator of the search, whose scores the intervals belong to.
        delivering: evaluator of networks as they are delivered.
        held_out: what the networks are asked besides the test split.
    """

    spec: JobSpec
    searching: Evaluator
    delivering: Evaluator
    hardware: Hardware
    held_out: Sequence[Exam] = ()

    def tested(
        self,
        architectures: Sequence[Architecture],
        listen: Tick,
        may_fail: Mapping[str, Callable[[str], None]] = MappingProxyType({}),
    ) -> list[Tested]:
        """Test scores and latencies of networks.

        Args:
            listen: called now and then with the share that is done; may raise to stop.
            may_fail: architectures that the target need not be able to run, with who hears why it cannot.

        Raises:
            JobFailed: the target cannot run one of the others.
        """
        space, tests, networks = self.delivering.space, [], []
        cpu = torch.device("cpu")
        inputs = self.delivering.data.test.inputs(slice(0, 1), cpu)
        for number, architecture in enumerate(architectures, 1):
            network = self.delivering.network(architecture)
            same = self.searching is self.delivering
            asked = self.searching.scores(network if same else self.searching.network(architecture))
            tests.append(scored(self.delivering, network, self.spec, self.held_out, asked.intervals))
            networks.append(on_device(network, cpu))
            listen(SCORED * number / len(architectures))
        hardware, meter = self.hardware, self.hardware.meter
        if hardware.metrics and meter is None:
            return [Tested(test.values, {}, {}, test.intervals, []) for test in tests]
        here = [Setting(threads=threads) for threads in sorted({1, os.cpu_count() or 1})]
        settings = here if meter is None else [meter.instrument.setting]
        bench = LocalBench(settings[0].how) if meter is None else meter.instrument.bench
        with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
            models = [
                write_measurable(network, space.layers(architecture), inputs, Path(folder) / str(number), settings[0])
                for number, (architecture, network) in enumerate(zip(architectures, networks, strict=True))
            ]
            measured = bench.measure(
                models,
                settings,
                Effort(max_seconds=self.spec.hardware.seconds),
                lambda done=None: listen(SCORED + (1 - SCORED) * (done or 0.0)),
            )
        found = []
        for architecture, test, results in zip(architectures, tests, measured, strict=True):
            if isinstance(results, MeasurementError):
                who = "This machine" if meter is None else f"Target {meter.target}"
                refusal = f"{who} cannot measure {architecture.id}. {results}"
                if architecture.id not in may_fail:
                    raise JobFailed(refusal)
                may_fail[architecture.id](refusal)
                found.append(Tested(test.values, {}, {}, test.intervals, []))
            elif meter is not None:
                found.append(_on_target(test, hardware, meter, architecture, results))
            else:
                latency: dict[str, Source] = {"latency_ms": Source.MEASURED}
                ends = {**test.intervals, **interval_of(results[0], "latency_ms")}
                found.append(Tested(test.values, {"latency_ms": results[0]["median_ms"]}, latency, ends, results))
        return found


def scored(
    evaluator: Evaluator,
    network: Network,
    spec: JobSpec,
    held_out: Sequence[Exam],
    asked: Mapping[str, Interval],
) -> Scores:
    """A network's scores on what no search has seen, with their intervals beside those of what the search asked."""
    shipped = scored_as(network, spec)
    test = scores(shipped, SplitExam(evaluator.data.test))
    values = {f"{HELD_OUT}{name}": value for name, value in test.values.items()}
    intervals = dict(asked) | {f"{HELD_OUT}{name}": ends for name, ends in test.intervals.items()}
    for exam in held_out:
        answered = scores(shipped, exam)
        values |= answered.values
        intervals |= answered.intervals
    return Scores(values, intervals)


def interval_of(result: Reading, metric: str) -> dict[str, Interval]:
    """Where a measured metric would fall if it were measured again; nothing where a target does not say."""
    ends = result.get("interval_ms")
    if ends is None:
        return {}
    low, high = ends
    if metric == "latency_ms":
        return {metric: (low, high)}
    # So many tokens in a time that is known with an interval.
    tokens = result["tokens_per_second"] * result["median_ms"]
    return {metric: (tokens / max(high, 1e-9), tokens / max(low, 1e-9))}


def _on_target(test: Scores, hardware: Hardware, meter: Meter, architecture: Architecture, found: Results) -> Tested:
    """What the job's target measured, beside what was predicted of it."""
    runtime = meter.instrument.setting.runtime
    results: Results = [{**one, "target": meter.target, "runtime": runtime} for one in found]
    metrics = {metric: read(results, metric) for metric in hardware.metrics}
    sources: dict[str, Source] = dict.fromkeys(metrics, Source.MEASURED)
    ends = dict(test.intervals)
    for metric in hardware.metrics:
        ends |= interval_of(reading_of(results, metric), metric)
    for metric, fitted in hardware.fitted.items():
        metrics[f"{PREDICTED}{metric}"] = fitted.value(architecture)
        sources[f"{PREDICTED}{metric}"] = Source.PREDICTED
    return Tested(test.values, metrics, sources, ends, results)
