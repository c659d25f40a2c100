"""What a training step costs: a sandwich against the sum of its four static networks, and a llama against transformers.

Both are timed interleaved, step by step in one process, so that a slow moment of the machine hits both. Goals: a
sandwich at most 1.05 times the sum of the static networks' steps; tokens per second of a llama step at full size
at least 0.97 of transformers' own model.

    python -m benchmarks.training_step [--json] [--batch 128] [--seconds 30] [--only sandwich|llama]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.supernet_overhead import ratio
from export.measure import describe_machine
from pipeline.environment import choose_device, fix_threads
from predictors.cost import macs
from search_space.plugins import load_family
from supernet.data import Batch
from supernet.losses import distillation_loss, task_loss
from supernet.methods.bignas.method import BigNAS
from supernet.network import Supernet, extract
from supernet.passes import Passes

GOALS = {"sandwich": 1.05, "llama_tokens_per_second": 0.97}


def waiting(step: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The step, and until the device has done it."""
    if device.type != "cuda":
        return step

    def timed() -> object:
        result = step()
        torch.cuda.synchronize(device)
        return result

    return timed


def sandwich(batch_size: int, seconds: float, device: torch.device) -> dict[str, Any]:
    """One BigNAS step against the same four networks as plain modules with the same losses."""
    space = load_family("mobilenet", "digits" if device.type == "cpu" else "cifar")
    if device.type == "cpu":
        fix_threads(None, macs(space, space.largest()))
    torch.manual_seed(0)
    supernet = Supernet(space).to(device).train()
    method, passes = BigNAS(), Passes(supernet)
    size, channels = (8, 1) if device.type == "cpu" else (32, 3)
    x = torch.randn(batch_size, channels, size, size, device=device)
    batch = Batch.of(x, torch.randint(0, 10, (batch_size,), device=device))
    ratios = []
    for seed in range(4):
        members = method.architectures(space, np.random.default_rng(seed))
        networks = [extract(supernet, member).train() for member in members]

        def shared(seed: int = seed) -> dict[str, Tensor]:
            supernet.zero_grad(set_to_none=True)
            return method.step(passes, batch, np.random.default_rng(seed))

        def static(networks: list[nn.Sequential] = networks) -> None:  # type: ignore[assignment]
            biggest, *others = networks
            for network in networks:
                network.zero_grad(set_to_none=True)
            logits = biggest(batch.x)
            task_loss(logits, batch.targets, 0.1).backward()
            teacher = logits.detach().softmax(1)
            for network in others:
                distillation_loss(network(batch.x), teacher).backward()

        both = ratio(waiting(shared, device), waiting(static, device), seconds / 4)
        ratios.append({"seed": seed, "ratio": both[0], "static_ms": both[1]})
    return {
        "space": space.name,
        "batch": batch_size,
        "median_ratio": float(np.median([row["ratio"] for row in ratios])),
        "sandwiches": ratios,
    }


def llama(seconds: float, device: torch.device) -> dict[str, Any]:
    """A step of the full llama in the supernet against LlamaForCausalLM of the same sizes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from predictors.cost import params

    space = load_family("llama", "tiny")
    torch.manual_seed(0)
    supernet = Supernet(space).to(device).train()
    passes, full = Passes(supernet), space.largest()
    config = LlamaConfig(**llama_sizes(supernet))
    theirs = LlamaForCausalLM(config).to(device).train()
    ids = torch.randint(0, config.vocab_size, (16, 129), device=device)
    batch = Batch.of(ids[:, :-1], ids[:, 1:])

    def ours() -> None:
        supernet.zero_grad(set_to_none=True)
        passes.backward(passes.task_loss(passes.run(batch, full), batch))

    def reference() -> None:
        theirs.zero_grad(set_to_none=True)
        task_loss(theirs(input_ids=batch.x, use_cache=False).logits, batch.targets).backward()

    slower, milliseconds = ratio(waiting(ours, device), waiting(reference, device), seconds)
    return {
        "space": space.name,
        "params": params(space, full),
        "reference_params": sum(p.numel() for p in theirs.parameters()),
        "tokens": batch.x.numel(),
        "relative_tokens_per_second": 1 / slower,
        "reference_tokens_per_second": 1000 * batch.x.numel() / milliseconds,
    }


def llama_sizes(supernet: Supernet) -> dict[str, Any]:
    """Arguments of transformers' configuration for the full network, read from its layer specs."""
    layers = supernet.layers(supernet.space.largest())
    decoders = [spec.fields() for spec in layers.values() if spec.kind == "decoder_layer"]
    facts = json.loads(str(decoders[0]["config"]))
    head = layers["head"].fields()
    return {
        **{name: value for name, value in facts.items() if name != "model_type"},
        "vocab_size": head["vocab"],
        "hidden_size": head["embed"],
        "tie_word_embeddings": bool(head["tied_to"]),
        "num_hidden_layers": len(decoders),
        "intermediate_size": decoders[0]["ffn"],
        "num_attention_heads": decoders[0]["heads"],
        "num_key_value_heads": decoders[0]["kv_heads"],
        "head_dim": decoders[0]["head_dim"],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each of the two questions")
    parser.add_argument("--only", choices=("sandwich", "llama"))
    arguments = parser.parse_args()
    device = choose_device()
    result: dict[str, Any] = {
        "question": "time of a training step over that of static networks; tokens per second over transformers'",
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        **describe_machine(),
        "goals": GOALS,
        "met": {},
    }
    if arguments.only != "llama":
        result["sandwich"] = sandwich(arguments.batch, arguments.seconds, device)
        result["met"]["sandwich"] = result["sandwich"]["median_ratio"] <= GOALS["sandwich"]
    if arguments.only != "sandwich":
        result["llama"] = llama(arguments.seconds, device)
        speed = result["llama"]["relative_tokens_per_second"]
        result["met"]["llama_tokens_per_second"] = speed >= GOALS["llama_tokens_per_second"]
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    if "sandwich" in result:
        print(f"sandwich over static networks: {result['sandwich']['median_ratio']:.3f} (goal: at most 1.05)")
    if "llama" in result:
        print(f"llama's tokens per second over transformers': {speed:.3f} (goal: at least 0.97)")


if __name__ == "__main__":
    main()
