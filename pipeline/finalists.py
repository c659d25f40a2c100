"""Finalists on their device: measured as they would be shipped, beside what was predicted of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.measurable import write_measurable
from job.spec import JobSpec
from pipeline.benches import LocalBench
from pipeline.hardware import Hardware, Meter, read
from pipeline.shipping import scored_as
from pipeline.workshop import JobFailed, Workshop
from predictors.readings import MeasurementError, Results
from predictors.setting import Effort, Setting
from quantization.quantizable import on_device
from search.evaluation import numbers
from search.metrics import METRICS, Source
from search.objectives import limits_of
from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.evaluate import score
from supernet.evaluator import Evaluator

# What a finalist's predicted number is called beside the measured one.
PREDICTED = "predicted_"


@dataclass(frozen=True, slots=True)
class Tested:
    """A network as it would be shipped: extracted, calibrated, exported.

    Attributes:
        test: its score on test examples, by name.
        metrics, sources: what was measured of it on the job's device, beside what was predicted; how each was obtained.
        measurements: that they come from.
    """

    test: dict[str, float]
    metrics: dict[str, float]
    sources: dict[str, Source]
    measurements: Results


def tested_networks(
    evaluator: Evaluator,
    architectures: Sequence[Architecture],
    space: SearchSpace,
    hardware: Hardware,
    spec: JobSpec,
    listen: Callable[[], None],
) -> list[Tested]:
    """Test scores and latencies of networks, which are measured in turns, so that they can be compared.

    A job without a target gets the latency of this machine in ONNX Runtime, with one thread and with all. Where the
    target is an uploaded table there is nothing to measure: the prediction stands.

    Args:
        space: of the architectures.
        spec: of the job: how networks are shipped, and the most measuring time of one.
        listen: called now and then; may raise to stop.

    Raises:
        JobFailed: the target cannot run one of them.
    """
    data = evaluator.data
    inputs = data.test.inputs(slice(0, 1)).cpu()
    tests, networks = [], []
    for architecture in architectures:
        network = evaluator.network(architecture)
        tests.append({f"test_{data.metric}": score(scored_as(network, spec), data.test)})
        networks.append(on_device(network, inputs.device))
        listen()
    meter = hardware.meter
    if hardware.metrics and meter is None:
        return [Tested(test, {}, {}, []) for test in tests]
    here = [Setting(threads=threads) for threads in sorted({1, os.cpu_count() or 1})]
    settings = here if meter is None else [meter.instrument.setting]
    bench = LocalBench(settings[0].how) if meter is None else meter.instrument.bench
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
        models = [
            write_measurable(network, space.layers(architecture), inputs, Path(folder) / str(number), settings[0])
            for number, (architecture, network) in enumerate(zip(architectures, networks, strict=True))
        ]
        measured = bench.measure(models, settings, Effort(max_seconds=spec.hardware.seconds), listen)
    found = []
    for architecture, test, results in zip(architectures, tests, measured, strict=True):
        if isinstance(results, MeasurementError):
            who = "This machine" if meter is None else f"Target {meter.target}"
            raise JobFailed(f"{who} cannot measure {architecture.id}. {results}")
        if meter is not None:
            found.append(_on_target(test, hardware, meter, architecture, results))
        else:
            latency: dict[str, Source] = {"latency_ms": Source.MEASURED}
            found.append(Tested(test, {"latency_ms": results[0]["median_ms"]}, latency, results))
    return found


def _on_target(
    test: dict[str, float], hardware: Hardware, meter: Meter, architecture: Architecture, found: Results
) -> Tested:
    """What the job's target measured, beside what was predicted of it."""
    runtime = meter.instrument.setting.runtime
    results: Results = [{**one, "target": meter.target, "runtime": runtime} for one in found]
    metrics = {metric: read(results, metric) for metric in hardware.metrics}
    sources: dict[str, Source] = dict.fromkeys(metrics, Source.MEASURED)
    for metric, fitted in hardware.fitted.items():
        metrics[f"{PREDICTED}{metric}"] = fitted.value(architecture)
        sources[f"{PREDICTED}{metric}"] = Source.PREDICTED
    return Tested(test, metrics, sources, results)


def tell_violations(shop: Workshop, hardware: Hardware) -> None:
    """Say how many finalists, now that they are measured, break a limit that their prediction kept."""
    finalists = shop.reporter.finalists()
    for limited in limits_of(*shop.spec.goals):
        if limited.metric not in hardware.fitted or hardware.meter is None:
            continue
        assert limited.limit is not None
        broken = [f.architecture_id for f in finalists if limited.violation(numbers(f.metrics)[limited.metric]) > 0]
        facts = {"metric": limited.metric, "limit": limited.limit, "finalists": len(finalists), "broken": broken}
        shop.reporter.event("violations", facts)
        unit = METRICS[limited.metric].unit
        room = f"with {hardware.margins[limited.metric]:.1%} of room for the predictor's errors"
        if broken:
            text = (
                f"{len(broken)} of {len(finalists)} networks of the front break the limit of {limited.limit:g} {unit}"
            )
            shop.reporter.tell("warning", f"{text} as measured ({', '.join(broken)}); the search kept it {room}.")
        else:
            text = f"All {len(finalists)} networks of the front keep the limit of {limited.limit:g} {unit} as measured"
            shop.reporter.tell("info", f"{text}, {room}.")
