"""Finalists on their device: measured as they would be shipped, beside what was predicted of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from export.measurable import write_measurable
from export.measure import Effort, MeasurementError, Setting
from export.measure.bench import Results
from pipeline.benches import LocalBench
from pipeline.hardware import Hardware, read
from pipeline.workshop import JobFailed, Workshop
from search.evaluation import numbers
from search.metrics import METRICS, Source
from search.objectives import limits_of
from search_space.architecture import Architecture

# What a finalist's predicted number is called beside the measured one.
PREDICTED = "predicted_"

Latencies = tuple[dict[str, float], dict[str, Source], list[dict[str, Any]]]


def measured_finalists(
    shop: Workshop, hardware: Hardware, finalists: Sequence[tuple[Architecture, nn.Module]], inputs: Tensor
) -> list[Latencies]:
    """Of each finalist its latencies, how each was obtained, and the measurements they come from.

    They are measured in turns, so that they can be compared. A job without a target gets the latency of this machine in
    ONNX Runtime, with one thread and with all. Where the target is an uploaded table there is nothing to measure: the
    prediction stands.

    Args:
        finalists: with their networks, extracted and calibrated, on the CPU.
        inputs: one sample.

    Raises:
        JobFailed: the target cannot run one of them.
    """
    if hardware.metrics and hardware.setting is None:
        return [({}, {}, []) for _ in finalists]
    here = [Setting(threads=threads) for threads in sorted({1, os.cpu_count() or 1})]
    settings = here if hardware.setting is None else [hardware.setting]
    bench = hardware.bench or LocalBench(settings[0].how)
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
        models = [
            write_measurable(
                network, shop.searched.layers(architecture), inputs, Path(folder) / str(number), settings[0]
            )
            for number, (architecture, network) in enumerate(finalists)
        ]
        effort = Effort(max_seconds=shop.spec.hardware.seconds)
        measured = bench.measure(models, settings, effort, shop.reporter.listen)
    found: list[Latencies] = []
    for (architecture, _), results in zip(finalists, measured, strict=True):
        if isinstance(results, MeasurementError):
            who = f"Target {shop.spec.target}" if hardware.metrics else "This machine"
            raise JobFailed(f"{who} cannot measure {architecture.id}. {results}")
        if hardware.metrics:
            found.append(_on_target(shop, hardware, architecture, results))
        else:
            found.append(({"latency_ms": results[0]["median_ms"]}, {"latency_ms": "measured"}, results))
    return found


def _on_target(shop: Workshop, hardware: Hardware, architecture: Architecture, found: Results) -> Latencies:
    """What the job's target measured, beside what was predicted of it."""
    assert hardware.setting is not None
    results = [{**one, "target": shop.spec.target, "runtime": hardware.setting.runtime} for one in found]
    metrics = {metric: read(results, metric) for metric in hardware.metrics}
    sources: dict[str, Source] = dict.fromkeys(metrics, "measured")
    for metric, fitted in hardware.fitted.items():
        metrics[f"{PREDICTED}{metric}"] = fitted.value(architecture)
        sources[f"{PREDICTED}{metric}"] = "predicted"
    return metrics, sources, results


def tell_violations(shop: Workshop, hardware: Hardware) -> None:
    """Say how many finalists, now that they are measured, break a limit that their prediction kept."""
    finalists = shop.reporter.finalists()
    for limited in limits_of(*shop.spec.goals):
        if limited.metric not in hardware.fitted or hardware.bench is None:
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
            shop.tell("warning", f"{text} as measured ({', '.join(broken)}); the search kept it {room}.")
        else:
            text = f"All {len(finalists)} networks of the front keep the limit of {limited.limit:g} {unit} as measured"
            shop.tell("info", f"{text}, {room}.")
