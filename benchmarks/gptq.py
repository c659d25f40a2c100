"""GPTQ against rounding to the nearest in 4 bits: perplexity of the small llama of `small_llama.py`.

A llama of bytes is trained on tinyshakespeare as it is. Then its largest network, and some smaller ones that were
trained with it, are rounded by both schemes in groups of several sizes, on the same calibration examples.

    python benchmarks/gptq.py [--json] [--data FILE] [--pretrain-steps 1500] [--steps 500]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.small_llama import Plan, train
from export.measure import describe_machine
from predictors.cost import costs
from quantization.policies import Quantization
from quantization.quantized_evaluator import QuantizedEvaluator
from quantization.quantized_space import QuantizedSpace
from search_space.plugins import load_family
from supernet.data import load_dataset
from supernet.evaluate import perplexity
from supernet.methods.alternating.method import Alternating
from supernet.methods.single.method import Single
from supernet.network import Supernet

SCHEMES, GROUPS = ("int4_weight", "gptq"), (32, 128)
CALIBRATION_EXAMPLES = 128


def compare(plan: Plan, path: Path) -> dict[str, Any]:
    """Perplexities in full precision and in every scheme and group."""
    if not path.exists():
        sys.stderr.write(f"Skipped: {path} is not there. Give a text file with --data.\n")
        raise SystemExit(0)
    data = load_dataset("text", 0, {"path": str(path), "length": plan.length})
    data = replace(data, test=data.test.take(torch.arange(min(plan.test_blocks, len(data.test)))))
    space = load_family("llama", "tiny")
    torch.manual_seed(0)
    supernet = Supernet(space)
    train(supernet, Single(), data, plan, plan.pretrain_steps, plan.learning_rate)
    if plan.steps:
        train(supernet, Alternating(), data, plan, plan.steps, plan.learning_rate / 3)
    rng = np.random.default_rng(0)
    networks = [space.largest(), *(space.sample(rng, over="params") for _ in range(3))]
    rows = []
    for group in GROUPS:
        for scheme in SCHEMES:
            policies = QuantizedSpace(space, Quantization((4,), {4: scheme}, group=group))
            evaluator = QuantizedEvaluator(
                supernet, data, 16, 0, policies, observer="minmax", calibration_examples=CALIBRATION_EXAMPLES
            )
            for network in networks:
                rounded = policies.quantized(network, 4)
                row = {"architecture": network.id, "scheme": scheme, "group": group}
                row["size_bytes"] = costs(policies, rounded)["size_bytes"]
                row["perplexity"] = perplexity(evaluator.network(rounded), data.test)
                row["full"] = perplexity(evaluator.network(network), data.test)
                rows.append(row)
    return {
        "question": "test perplexity with all linear layers in 4 bits, rounded to the nearest and by GPTQ",
        "space": space.name,
        "steps": {"pretraining": plan.pretrain_steps, "alternating": plan.steps},
        "calibration_examples": CALIBRATION_EXAMPLES,
        "test_tokens": data.test.y.numel(),
        "torch": torch.__version__,
        **describe_machine(),
        "rows": rows,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tinyshakespeare/input.txt.gz"))
    parser.add_argument("--pretrain-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--test-blocks", type=int, default=200, help="blocks of test text on which each is scored")
    arguments = parser.parse_args()
    plan = Plan(arguments.pretrain_steps, arguments.steps, 16, 128, 3e-3, arguments.test_blocks)
    result = compare(plan, arguments.data)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for row in result["rows"]:
        scheme = f"{row['scheme']}, groups of {row['group']}"
        print(f"{row['architecture']:<18} {scheme:<28} {row['full']:>9.4f} {row['perplexity']:>9.4f}")


if __name__ == "__main__":
    main()
