"""Rounding to the nearest, GPTQ and signed rounding in 4 bits: perplexity of the small llama of `small_llama.py`.

A llama of bytes is trained on tinyshakespeare as it is, for each seed anew. Then its largest network, and, where asked,
smaller ones that were trained with it, are rounded by all of them in groups of several sizes, on the same calibration
examples. Signed rounding comes twice: as its authors have it, where a block takes what rounded blocks give, and with
exact inputs, as schemes of Winnow have them.

    python -m benchmarks.gptq [--json] [--data FILE] [--pretrain-steps 1500] [--steps 500] [--seeds 0 1 2] [--slices 3]
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.signed_rounding import STEPS, signed_rounding
from benchmarks.small_llama import Plan, train
from export.measure import describe_machine
from predictors.cost import costs
from quantization.policies import Quantization
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.quantized_space import QuantizedSpace
from search_space.architecture import Architecture
from search_space.plugins import load_family
from supernet.data import load_dataset
from supernet.evaluate import perplexity
from supernet.methods.alternating.method import Alternating
from supernet.methods.single.method import Single
from supernet.network import Network, Supernet

SCHEMES, GROUPS = ("int4_weight", "gptq"), (32, 128)
# Way of signed rounding -> whether a block takes what rounded blocks give.
SIGNED = {"signed": True, "signed, exact inputs": False}
CALIBRATION_EXAMPLES = 128


def compare(plan: Plan, path: Path, seeds: list[int], slices: int) -> dict[str, Any]:
    """Perplexities in full precision and in every scheme and group, and what they add in the mean over seeds."""
    if not path.exists():
        sys.stderr.write(f"Skipped: {path} is not there. Give a text file with --data.\n")
        raise SystemExit(0)
    rows = [row for seed in seeds for row in _of_seed(plan, path, seed, slices)]
    return {
        "question": "test perplexity with all linear layers in 4 bits: nearest, GPTQ, signed rounding",
        "space": "llama/tiny",
        "steps": {"pretraining": plan.pretrain_steps, "alternating": plan.steps, "signed_rounding": STEPS},
        "calibration_examples": CALIBRATION_EXAMPLES,
        "test_blocks": plan.test_blocks,
        "seeds": seeds,
        "torch": torch.__version__,
        **describe_machine(),
        "rows": rows,
        "paired": paired(rows),
    }


def _of_seed(plan: Plan, path: Path, seed: int, slices: int) -> Iterator[dict[str, Any]]:
    data = load_dataset("text", seed, {"path": str(path), "length": plan.length})
    data = replace(data, test=data.test.take(torch.arange(min(plan.test_blocks, len(data.test)))))
    space = load_family("llama", "tiny")
    torch.manual_seed(seed)
    supernet = Supernet(space)
    train(supernet, Single(), data, plan, plan.pretrain_steps, plan.learning_rate, seed)
    if plan.steps:
        train(supernet, Alternating(), data, plan, plan.steps, plan.learning_rate / 3, seed)
    rng = np.random.default_rng(seed)
    networks = [space.largest(), *(space.sample(rng, over="params") for _ in range(slices))]
    for group in GROUPS:
        for scheme in SCHEMES:
            policies = QuantizedSpace(space, Quantization((4,), {4: scheme}, group=group))
            evaluator = QuantizedEvaluator(
                supernet, data, 16, seed, policies, observer="minmax", calibration_examples=CALIBRATION_EXAMPLES
            )
            for network in networks:
                rounded = policies.quantized(network, 4)
                row = {"seed": seed, "architecture": network.id, "scheme": scheme, "group": group}
                row["size_bytes"] = costs(policies, rounded)["size_bytes"]
                full = perplexity(evaluator.network(network), data.test)
                row |= {"full": full, "perplexity": perplexity(evaluator.network(rounded), data.test)}
                yield _told(row)
                if scheme != SCHEMES[0]:
                    continue
                for way, after_rounded in SIGNED.items():
                    began = time.process_time()
                    made = _signed(evaluator, network, rounded, group, seed, after_rounded=after_rounded)
                    seconds = time.process_time() - began
                    yield _told({**row, "scheme": way, "perplexity": perplexity(made, data.test), "seconds": seconds})


def _told(row: dict[str, Any]) -> dict[str, Any]:
    sys.stderr.write(json.dumps(row) + "\n")
    return row


def _signed(
    evaluator: QuantizedEvaluator,
    network: Architecture,
    rounded: Architecture,
    group: int,
    seed: int,
    *,
    after_rounded: bool,
) -> nn.Module:
    """A copy of a network with the weights that a policy rounds rounded by their signs."""
    quantizable = evaluator.quantizable(network)
    names = [name for name, precision in evaluator.policies.policy(rounded).items() if not precision.is_full]
    paths = {name: quantizable.paths[name] for name in names}
    made = copy.deepcopy(quantizable.folded)
    assert isinstance(made, Network)
    found = signed_rounding(made, paths, evaluator.examples, 4, group, after_rounded=after_rounded, seed=seed)
    assert found.keys() == paths.keys()
    with torch.no_grad():
        for name, weight in found.items():
            layer = made.get_submodule(paths[name])
            assert isinstance(layer, nn.Linear)
            layer.weight = nn.Parameter(weight.dequantized())  # a tied table of words stays as it is
    return made


def paired(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each way adds to the logarithm of perplexity, in thousandths, beside GPTQ of the same network; means over
    networks and seeds, with standard errors of the differences."""
    added: dict[tuple[int, str], dict[tuple[int, str], float]] = {}
    for row in rows:
        lost = 1e3 * math.log(row["perplexity"] / row["full"])
        added.setdefault((row["group"], row["scheme"]), {})[row["seed"], row["architecture"]] = lost
    found = []
    for (group, scheme), losses in added.items():
        apart = [value - added[group, "gptq"][pair] for pair, value in losses.items()]
        error = statistics.stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else None
        numbers = {"added": statistics.mean(losses.values()), "minus_gptq": statistics.mean(apart), "error": error}
        found.append({"group": group, "scheme": scheme, **numbers, "networks": len(apart)})
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tinyshakespeare/input.txt.gz"))
    parser.add_argument("--pretrain-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--slices", type=int, default=3, help="smaller networks beside the largest")
    parser.add_argument("--test-blocks", type=int, default=200, help="blocks of test text on which each is scored")
    arguments = parser.parse_args()
    plan = Plan(arguments.pretrain_steps, arguments.steps, 16, 128, 3e-3, arguments.test_blocks)
    result = compare(plan, arguments.data, arguments.seeds, arguments.slices)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for row in result["paired"]:
        scheme = f"{row['scheme']}, groups of {row['group']}"
        print(f"{scheme:<36} {row['added']:>9.3f} {row['minus_gptq']:>9.3f} ({row['error'] or math.nan:.3f})")


if __name__ == "__main__":
    main()
