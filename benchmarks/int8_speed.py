"""What searched quantization policies give at 224 pixels, and which layers they leave in fp32, and why.

MobileNetV2 with 0.35 of its channels is trained on CIFAR-10's images, enlarged to 224 pixels; then `winnow` searches
its policies for validation accuracy (fake quantization), measured latency in ONNX Runtime (one thread, one image) and
size. Shown for the network in fp32, all in INT8 and every policy on the front: accuracy on test images, and its time as
a share of fp32's with one thread and with two, measured in turns. For each layer: how many policies of the front leave
it in fp32, how far the answers move when it alone is in INT8 (nats), and the network's time when it alone is not, as a
share of the time all in INT8.

    python -m benchmarks.int8_speed [--json] [--small] [--data FOLDER] [--cache FOLDER]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.cache import Cache
from benchmarks.simq_data import Plan, read
from benchmarks.simq_nas import (
    OBJECTIVES,
    Lab,
    numbers,
    say,
    searched,
    sensitivities_of,
    share_of_time,
    show,
)
from job.quantization_spec import QuantizationSpec
from quantization.first_policies import seeds_from
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.quantized_space import QuantizedSpace
from search.pareto import pareto_front
from search_space.architecture import Architecture
from search_space.families import mobilenet
from search_space.space import SearchSpace
from supernet.data import Dataset
from supernet.data.dataset import Split
from supernet.methods.single.method import Single
from supernet.network import Supernet
from supernet.options import AugmentationOptions
from supernet.trainer import Trainer, TrainingOptions

NETWORK, SIZE = "mobilenet_v2_035", 224
THREADS = (1, 2)
FULL = Plan("", 11_000, 1000, 2000, 6, 64, 0.1, 100, 10, 1, warmup_epochs=1.0)
SMALL = Plan("", 5_000, 500, 1000, 3, 32, 0.05, 40, 10, 1, warmup_epochs=0.5)


def enlarged(data: Dataset) -> Dataset:
    """The same images at 224 pixels."""

    def large(split: Split) -> Split:
        stored = split.stored[slice(None)]
        parts = [F.interpolate(part, SIZE, mode="bilinear", antialias=False) for part in stored.split(1000)]
        return replace(split, stored=torch.cat(parts))

    train, validation, test = (large(split) for split in (data.train, data.validation, data.test))
    return replace(data, train=train, validation=validation, test=test)


def trained(space: SearchSpace, plan: Plan, data: Dataset, cache: Cache) -> Supernet:
    """The network, trained plainly, or the one that the cache has."""
    torch.manual_seed(0)
    supernet = Supernet(space)
    options = TrainingOptions(
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        optimizer="sgd",
        learning_rate=plan.learning_rate,
        lr_decay=1.0,
        lr_decay_epochs=1.0,
        lr_floor=0.0,
        weight_decay=1e-4,
        momentum=0.9,
        clip_norm=1.0,
        schedule="cosine",
        warmup_epochs=plan.warmup_epochs,
    )

    def train() -> None:
        trainer = Trainer(supernet, Single(), data.train, options, 0, AugmentationOptions(crop_padding=28, flip=True))
        while trainer.steps_done < trainer.num_steps:
            losses = trainer.step()
            if trainer.steps_done % 20 == 0:
                say(f"step {trainer.steps_done}/{trainer.num_steps}, {losses}")

    cache.weights(f"int8_speed-{plan.epochs}-{plan.limit}", supernet, train)
    return supernet


def report(lab: Lab, plan: Plan) -> dict[str, Any]:
    """Search policies and say what they give."""
    space = lab.space
    network = space.base.largest()
    full, narrow = (space.quantized(network, bits) for bits in (32, 8))
    sensitive = sensitivities_of(lab)
    say(f"{len(sensitive)} layers scored")
    seeds = seeds_from(space, sensitive, plan.evaluations)
    front = pareto_front(searched(lab, space, 0, plan, lambda one: one, seeds), OBJECTIVES)
    say(f"{len(lab.known)} policies measured, {len(front)} on the front")
    references = {threads: lab.timed(full, threads) for threads in THREADS}

    def row(one: Architecture) -> dict[str, Any]:
        policy = space.policy(one)
        return {
            **numbers(lab.evaluate(one)),
            "test_accuracy": lab.test_accuracy(one),
            "layers_in_32": sum(precision.is_full for precision in policy.values()),
            "time_share_of_fp32": {
                str(threads): round(share_of_time(lab.timed(one, threads), reference), 3)
                for threads, reference in references.items()
            },
        }

    left = {name: sum(space.policy(one.architecture)[name].is_full for one in front) for name in space.policy(full)}
    times = lab.time_left_in_32(network, list(left))
    divergence = {one.layer: one.divergence for one in sensitive}
    layers = [
        {
            "layer": name,
            "left_in_32": round(count / len(front), 2),
            "divergence": divergence[name],
            "time_in_32": round(times[name], 3),
        }
        for name, count in left.items()
    ]
    return {
        "fp32": row(full),
        "int8": row(narrow),
        "front": [row(one.architecture) for one in front],
        "layers": layers,
    }


def main() -> None:
    """Train, search, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--small", action="store_true", help="half an hour of a core")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=None, help="folder that keeps the trained network")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = SMALL if arguments.small else FULL
    began = time.monotonic()
    cache = Cache(arguments.cache)
    data = enlarged(read("mobilenet", plan, arguments.data, cache))
    base = mobilenet.fixed(replace(mobilenet.PUBLISHED[NETWORK], classes=data.num_classes), NETWORK)
    supernet = trained(base, plan, data, cache)
    say(f"trained after {time.monotonic() - began:.0f} s")
    spec = QuantizationSpec(bits=(8, 32), calibration_examples=plan.calibration_examples)
    space = QuantizedSpace(base, spec.quantization())
    lab = Lab(
        QuantizedEvaluator(
            supernet,
            data,
            plan.calibration_images,
            0,
            space,
            observer=spec.observer,
            calibration_examples=spec.calibration_examples,
        ),
        data,
        "winnow",
    )
    result = {
        "benchmark": "int8_speed",
        "form": "small" if arguments.small else "full",
        "network": NETWORK,
        "plan": plan.facts(),
        "quantization": spec.model_dump(mode="json"),
        **report(lab, plan),
    }
    show(result, began, as_json=arguments.json)


if __name__ == "__main__":
    main()
