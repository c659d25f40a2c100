"""Alternating fine-tuning of a small llama: perplexity of 20 sub-networks before and after, against plain slicing.

A llama of bytes is first trained as it is (the "pretrained checkpoint"), on tinyshakespeare. Then three ways go
on from the same weights for the same number of steps: the full network alone (plain slicing), LLaMA-NAS's
alternation of full and random networks, and InstaTune's loss.

    python benchmarks/small_llama.py [--json] [--data FILE] [--pretrain-steps 1500] [--steps 1000]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.measure import describe_machine
from predictors.cost import params
from search_space.architecture import Architecture
from search_space.plugins import load_family
from supernet.data import Dataset, load_dataset
from supernet.evaluate import perplexity
from supernet.methods.alternating.method import Alternating
from supernet.methods.alternating.options import AlternatingOptions
from supernet.methods.single.method import Single
from supernet.network import Supernet, extract
from supernet.trainer import Trainer, TrainingMethod, TrainingOptions

NUM_SUB_NETWORKS = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps of each phase, and what they have in common."""

    pretrain_steps: int
    steps: int
    batch_size: int
    length: int
    learning_rate: float
    test_blocks: int


def train(
    supernet: Supernet, method: TrainingMethod, data: Dataset, plan: Plan, steps: int, rate: float, seed: int = 0
) -> float:
    """Train so many steps; tokens per second."""
    steps_per_epoch = max(1, len(data.train) // plan.batch_size)
    options = TrainingOptions(
        epochs=-(-steps // steps_per_epoch),
        batch_size=plan.batch_size,
        optimizer="adamw",
        learning_rate=rate,
        lr_decay=1.0,
        lr_decay_epochs=1.0,
        lr_floor=0.05,
        weight_decay=0.01,
        momentum=0.9,
        clip_norm=1.0,
        schedule="cosine",
    )
    trainer = Trainer(supernet, method, data.train, options, seed=seed)
    began = time.monotonic()
    for _ in range(steps):
        losses = trainer.step()
        if trainer.steps_done % 50 == 0:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in losses.items() if name.startswith("loss"))
            sys.stderr.write(f"\r{type(method).__name__}: step {trainer.steps_done}/{steps}, {shown}   ")
    sys.stderr.write("\n")
    return trainer.units_seen / (time.monotonic() - began)


def scores(supernet: Supernet, chosen: list[Architecture], data: Dataset) -> list[float]:
    """Test perplexity of every chosen sub-network."""
    return [perplexity(extract(supernet, architecture), data.test) for architecture in chosen]


def compare(plan: Plan, path: Path) -> dict[str, Any]:
    """Perplexities of the same sub-networks under every way of fine-tuning."""
    if not path.exists():
        sys.stderr.write(f"Skipped: {path} is not there. Give a text file with --data.\n")
        raise SystemExit(0)
    data = load_dataset("text", 0, {"path": str(path), "length": plan.length})
    data = replace(data, test=data.test.take(torch.arange(min(plan.test_blocks, len(data.test)))))
    space = load_family("llama", "tiny")
    rng = np.random.default_rng(0)
    ends = [space.largest(), space.smallest()]
    drawn = {a.id: a for a in [*ends, *(space.sample(rng, over="params") for _ in range(4 * NUM_SUB_NETWORKS))]}
    chosen = list(drawn.values())[:NUM_SUB_NETWORKS]
    torch.manual_seed(0)
    start = Supernet(space)
    speed = train(start, Single(), data, plan, plan.pretrain_steps, plan.learning_rate)
    found: dict[str, list[float]] = {"before": scores(start, chosen, data)}
    ways: dict[str, TrainingMethod] = {
        "plain": Single(),
        "alternating": Alternating(),
        "instatune": Alternating(AlternatingOptions(alpha=0.3)),
    }
    for name, method in ways.items():
        supernet = copy.deepcopy(start)
        train(supernet, method, data, plan, plan.steps, plan.learning_rate / 3)
        found[name] = scores(supernet, chosen, data)
    rows: list[dict[str, Any]] = [
        {"architecture": a.id, "params": params(space, a), **{name: values[i] for name, values in found.items()}}
        for i, a in enumerate(chosen)
    ]
    return {
        "question": "test perplexity of sub-networks after fine-tuning, by method",
        "space": space.name,
        "steps": {"pretraining": plan.pretrain_steps, "fine_tuning": plan.steps},
        "batch_size": plan.batch_size,
        "length": plan.length,
        "test_tokens": data.test.y.numel(),
        "tokens_per_second": speed,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **describe_machine(),
        "median_perplexity": {name: statistics.median(values) for name, values in found.items()},
        "largest_perplexity": {name: values[0] for name, values in found.items()},
        "better_than_plain_slicing": sum(row["alternating"] < row["plain"] for row in rows),
        "sub_networks": rows,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tinyshakespeare/input.txt.gz"))
    parser.add_argument("--pretrain-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--test-blocks", type=int, default=200, help="blocks of test text on which each is scored")
    arguments = parser.parse_args()
    plan = Plan(
        arguments.pretrain_steps, arguments.steps, arguments.batch, arguments.length, 3e-3, arguments.test_blocks
    )
    result = compare(plan, arguments.data)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    names = ["before", "plain", "alternating", "instatune"]
    print(f"{'architecture':<18} {'params':>10} " + " ".join(f"{name:>12}" for name in names))
    for row in result["sub_networks"]:
        print(f"{row['architecture']:<18} {row['params']:>10,} " + " ".join(f"{row[name]:>12.3f}" for name in names))
    print("median: " + ", ".join(f"{name} {value:.3f}" for name, value in result["median_perplexity"].items()))


if __name__ == "__main__":
    main()
