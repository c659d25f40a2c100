"""Memory and speed of language models on a GPU, with torchao's kernels for weights of 8 and 4 bits.

- **corners**: a supernet of LLaMA-2-7B's shape with random weights, and the six corner networks of LLaMA-NAS's space
  (24, 28 or 32 layers; all feed-forward networks of 5,504 or 11,008 neurons) extracted from it: in bf16 and with INT8
  and INT4 weights.
- **policies**: a network of Llama-3.2-1B's shape with random weights in bf16, all in INT8, all in INT4, and mixed:
  feed-forward networks in INT4, attention and head in INT8.

Of each: bytes of the weights, the most memory that a run takes besides them, and tokens a second of `prefill` (a prompt
of 512 tokens) and `decode` (one more token behind it) for 1 and 16 texts at once. Decoding is replayed as a CUDA graph,
so that it is the GPU that is timed and not Python; INT8 layers are compiled for decoding, because torchao leaves the
fusion of their conversion to the compiler. Median of single runs by CUDA events (at least one after the first, and as
many as half a second has room for), with the middle half of them. What a GPU or a version cannot run is said in its
row.

    python -m benchmarks.decoding_speed [--json] [--part corners|policies] [--form small|full]

The small form runs anywhere, on networks of the family's preset `tiny`: a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
from torchao.quantization.granularity import PerGroup
from torchao.quantization.quantize_.workflows import Int8Tensor

from export.measure import describe_machine
from export.measure.energy import EnergyMeter, visible_gpu
from export.runtimes.torch.runtime import language_phases
from predictors.cost import params
from quantization.quantizable import layer_paths
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.families import llama
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.network import Network, Supernet, extract

# The shape of meta-llama/Llama-3.2-1B.
ONE_BILLION = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    "tie_word_embeddings": True,
}
WARM_UP, RUNS, MOST_SECONDS = 3, 40, 0.5
Policy = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Form:
    """How large everything is."""

    corners: str
    one: Mapping[str, Any]
    prompt: int
    batches: tuple[int, ...] = (1, 16)
    group: int = 128


FORMS = {
    "full": Form("llama2_7b", ONE_BILLION, 512),
    "small": Form("tiny", llama.PRESETS["tiny"].config, 32, (1, 2), 8),
}


@contextmanager
def made_there(device: torch.device) -> Iterator[None]:
    """Modules are made on the device, in bf16: one of 7 billion weights would fill the machine's memory first."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def quantized(network: Network, layers: Mapping[str, Any], policy: Policy, form: Form) -> None:
    """Every linear layer's weights in the bits that the policy has for its slot's part."""
    bits_of = {path: bits for name, path in layer_paths(network, layers).items() if (bits := policy[name]) != 16}
    for bits in sorted(set(bits_of.values())):

        def chosen(module: nn.Module, path: str, bits: int = bits) -> bool:
            return isinstance(module, nn.Linear) and bits_of.get(path) == bits

        quantize_(network, config(bits, form, next(network.parameters()).device), filter_fn=chosen)


def config(bits: int, form: Form, device: torch.device) -> Any:
    """torchao's name of a scheme. Its kernel for 4 bits is CUDA's; elsewhere weights are turned back in every run."""
    if bits == 8:
        return Int8WeightOnlyConfig()
    if device.type == "cuda":
        return Int4WeightOnlyConfig(group_size=form.group, int4_packing_format="tile_packed_to_4d")
    return IntxWeightOnlyConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]
        granularity=PerGroup(form.group),
    )


def timed(run: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """Median ms of a run, and the quartiles. It has run before, so a slow one runs once more."""
    times: list[float] = []
    began = time.monotonic()
    while len(times) < WARM_UP + RUNS and (not times or time.monotonic() - began < MOST_SECONDS):
        if device.type == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        else:
            at = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - at))
    low, median, high = np.percentile(times[min(WARM_UP, len(times) - 1) :], [25, 50, 75])
    return {"ms": round(float(median), 4), "ms_from": round(float(low), 4), "ms_to": round(float(high), 4)}


def replayed(run: Callable[[], Any]) -> Callable[[], Any]:
    """The run as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def tried(supernet: Supernet, one: Architecture, policy: Policy, form: Form, device: torch.device) -> dict[str, Any]:
    """What was measured, or why it could not be."""
    try:
        return measured(supernet, one, policy, form, device)
    except Exception as error:  # of CUDA, of torchao, of the compiler
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {str(error)[:300]}"}


@torch.no_grad()
def measured(supernet: Supernet, one: Architecture, policy: Policy, form: Form, device: torch.device) -> dict[str, Any]:
    """Memory, and tokens a second of both phases, by number of texts."""
    with made_there(device):
        network = extract(supernet, one)
    quantized(network, supernet.layers(one), policy, form)
    weights = sum(map(held, network.parameters()))
    row: dict[str, Any] = {"weight_bytes": weights}
    on_gpu = device.type == "cuda"
    prompts = {n: torch.zeros((n, form.prompt), dtype=torch.int64, device=device) for n in form.batches}
    phases: dict[int, dict[str, Callable[[], Any]]] = {}
    for n, prompt in prompts.items():
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        made = language_phases(network, prompt)
        assert made is not None
        phases[n] = made
        found = timed(made["prefill"], device)
        row[f"prefill_{n}"] = found | {"tokens_per_second": round(1000 * n * form.prompt / found["ms"])}
        if on_gpu:
            row[f"memory_besides_weights_{n}_bytes"] = torch.cuda.max_memory_allocated() - before
    compile_int8(network)
    for n, both in phases.items():
        decode = replayed(both["decode"]) if on_gpu else both["decode"]
        decode()
        found = timed(decode, device)
        row[f"decode_{n}"] = found | {"tokens_per_second": round(1000 * n / found["ms"], 1)}
    return row


def held(tensor: torch.Tensor) -> int:
    """Bytes of a tensor, or of those that a quantized one holds."""
    names = getattr(tensor, "tensor_data_names", None)
    if names is None:
        return tensor.nbytes
    return sum(getattr(tensor, name).nbytes for name in names)


class Int8Rows(nn.Module):
    """torchao's arithmetic for weights of 8 bits and a scale a row, compiled.

    Spelled out, because its class of tensors cannot be traced by every version of the compiler (torch 2.11 cannot).
    The scale works on 32 bits, which also keeps the compiler from a pattern of its own that it cannot always lower.
    """

    numbers: torch.Tensor
    scale: torch.Tensor

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.register_buffer("numbers", weight.qdata)
        self.register_buffer("scale", weight.scale.flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _int8_rows(x, self.numbers, self.scale)


@torch.compile(dynamic=False)
def _int8_rows(x: torch.Tensor, numbers_OI: torch.Tensor, scale_O: torch.Tensor) -> torch.Tensor:
    flat = torch.mm(x.reshape(-1, x.shape[-1]), numbers_OI.t().to(x.dtype)).float() * scale_O.float()
    return flat.to(x.dtype).reshape(*x.shape[:-1], numbers_OI.shape[0])


def compile_int8(network: Network) -> None:
    """Compile its layers of 8 bits, each shape once."""
    torch._dynamo.config.recompile_limit = 64
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and isinstance(child.weight, Int8Tensor):
                setattr(module, name, Int8Rows(child.weight))


def corner_networks(space: SearchSpace) -> list[Architecture]:
    """All layers of the least and of the most neurons, by depth: the smallest first."""
    depths = next((choice.options for choice in space.choices if choice.name == "depth"), (None,))
    found = []
    for end in (space.smallest(), space.largest()):
        for depth in depths:
            values = dict(space.largest().values)
            values |= {name: value for name, value in end.values.items() if name.endswith("_ffn")}
            found.append(space.architecture(**values | ({} if depth is None else {"depth": depth})))
    return found


def corners(form: Form, device: torch.device) -> list[dict[str, Any]]:
    """Every corner in every number of bits."""
    space = load_family("llama", form.corners, Adjustments())
    with made_there(device):
        supernet = Supernet(space).eval()
    rows = []
    for bits in (8, 16, 4):
        for one in corner_networks(space):
            row = tried(supernet, one, dict.fromkeys(names(space.layers(one)), bits), form, device)
            rows.append({**shape(space, one), "bits": bits, **row})
            say(rows[-1])
    return rows


def shape(space: SearchSpace, one: Architecture) -> dict[str, Any]:
    """A network in words."""
    layers = [layer.fields() for name, layer in space.layers(one).items() if name.startswith("layer")]
    return {"layers": len(layers), "ffn": sorted({layer["ffn"] for layer in layers}), "params": params(space, one)}


def names(layers: Mapping[str, Any]) -> list[str]:
    """Its layers that can be quantized."""
    return [f"{slot}.{part}" for slot, spec in layers.items() for part in spec.quantizable()]


def policies(form: Form, device: torch.device) -> list[dict[str, Any]]:
    """One network under each policy."""
    space = llama.checkpoint_space(form.one, None, Adjustments())
    one = space.largest()
    parts = names(space.layers(one))
    wanted: dict[str, Policy] = {
        "bf16": dict.fromkeys(parts, 16),
        "INT8": dict.fromkeys(parts, 8),
        "INT4": dict.fromkeys(parts, 4),
        "feed-forward in INT4, others in INT8": {part: 4 if ".ffn_" in part else 8 for part in parts},
    }
    with made_there(device):
        supernet = Supernet(space).eval()
    rows = []
    for name, policy in wanted.items():
        rows.append({"policy": name, **shape(space, one), **tried(supernet, one, policy, form, device)})
        say(rows[-1])
    for n in form.batches:
        speed = [row.get(f"decode_{n}", {}).get("tokens_per_second") for row in rows]
        for row, mine in zip(rows, speed, strict=True):
            if mine and speed[0]:
                row[f"decode_{n}_times_bf16"] = round(mine / speed[0], 3)
    return rows


def say(row: Mapping[str, Any]) -> None:
    """Progress, beside the result."""
    sys.stderr.write(json.dumps(row) + "\n")
    sys.stderr.flush()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--form", choices=tuple(FORMS), default="full")
    parser.add_argument("--part", choices=("corners", "policies"), help="only this")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and arguments.form == "full":
        sys.stderr.write("Skipped: the full form needs a CUDA GPU with 40 GB of memory. There is --form small.\n")
        return
    form = FORMS[arguments.form]
    result: dict[str, Any] = {
        "benchmark": "decoding_speed",
        "form": arguments.form,
        "prompt_tokens": form.prompt,
        "group_of_int4": form.group,
        **describe_machine(),
        **EnergyMeter(visible_gpu()).facts(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchao", "transformers")},
    }
    for part, run in (("policies", policies), ("corners", corners)):
        if arguments.part in (None, part):
            result[part] = run(form, device)
    print(json.dumps(result, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
