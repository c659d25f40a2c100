"""ProxylessNAS: what its steps cost, whether its search beats random networks, and whether its table is right.

- **memory**: peak memory and time of a weight step and of an architecture step, against a plain training step of the
  largest path and against all paths in memory at once, each in a process of its own. Goal: at most 1.15 times plain
  training's memory. Memory is that of the weights, their gradients and momenta, and the most that tensors took in a
  step (torch's profiler of allocations on a CPU, its allocator's peak on a GPU); on a CPU the growth of the process
  (peak resident set) is said as well, for the largest path.
- **search**: on CIFAR-10, networks derived within a latency budget on this machine, against random networks of the
  space that take 90 to 100 % of the budget, all trained alike. Goal: better than the random mean by more than their
  standard deviation.
- **latency**: the derived and the random networks by the table, which adds up layers, and measured whole. Goal:
  the derived ones within 10 %.

The small form has a space of its own, whose networks of at most six blocks learn something in a few minutes: with the
eleven blocks of `cifar`, 900 steps of single paths leave the over-parameterised network as good as untrained. The
medium form searches the same space with all images, for an hour of a core each, and trains networks as the small one.
The form `operations` has the paper's candidates for CIFAR-10 instead of MBConv blocks, and all images.

    python -m benchmarks.proxylessnas [--json] [--form small|medium|operations|full] [--part memory|search]
        [--data FOLDER] [--cache FOLDER] [--piece NAME]

With `--piece`, one piece is put into the cache: `table`, then `search-0`, ..., then the trainings of `derived-0`, ...
and `random-0`, .... So several processes share the work, or one machine trains and another measures.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.cache import Cache
from export.measurable import write_fresh
from export.measure import describe_machine
from pipeline.benches import LocalBench, MemoryStore
from pipeline.traced_layers import layers_of
from predictors.candidate_prices import price_candidates
from predictors.instrument import Instrument, Specimen
from predictors.layer_tables import corrected_table
from predictors.setting import Effort, Setting
from proxyless.derive import most_likely_within
from proxyless.expected_latency import Latencies, NoLatency
from proxyless.gates import GatedPasses
from proxyless.held_out import carve
from proxyless.parameters import ArchitectureParameters
from proxyless.search import Budget, PathSearch, Turns
from proxyless.steps import GradientStep
from proxyless.target_tables import correcting_networks
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.families import proxyless
from search_space.operations import Blocks, alone, blocks_of, separated
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.calibrate import calibrate
from supernet.data import Dataset, load_dataset
from supernet.data.dataset import Split
from supernet.evaluate import accuracy
from supernet.losses import task_loss
from supernet.methods.proxylessnas.method import ProxylessNAS
from supernet.methods.single.method import Single
from supernet.methods.single.options import SingleOptions
from supernet.network import Supernet, build_network, extract
from supernet.options import AugmentationOptions
from supernet.randomness import derived_rng
from supernet.trainer import Trainer, TrainingOptions

MEMORY_GOAL, LATENCY_GOAL = 1.15, 0.10
ERRORS = ("error", "error_beside_drift")
# Steps before the one whose memory counts, so that momenta are there, and steps whose time is taken.
WARM_UP, TIMED = 2, 5
MODES = ("plain", "weight", "two", "full", "all paths")


@dataclass(frozen=True, slots=True)
class Size:
    """How large the benchmark is.

    Attributes:
        memory_batch: examples of the steps whose memory is compared.
        pixels: of the images in the search; below 32 they are averaged.
        table: of the search's space, `proxyless/cifar` or smaller.
        limit: training images, validation included; None: all.
        final: form by which networks are trained alone in the end; its own where this is empty.
    """

    memory_batch: int
    pixels: int
    table: proxyless.ProxylessTable
    limit: int | None
    batch_size: int
    warmup_epochs: int
    search_epochs: int
    final_epochs: int
    learning_rate: float
    alpha_rate: float
    every: int
    mode: str
    searches: int
    random: int
    final: str = ""


CIFAR = proxyless.PRESETS["cifar"]
# Blocks of two stages instead of four, half as wide.
CIFAR_SMALL = replace(
    CIFAR, resolution=16, blocks=proxyless.searched_blocks(8, (16, 3, 2), (32, 3, 2)), head=128, multipliers=(1.0,)
)
OPERATIONS_SMALL = replace(
    proxyless.PRESETS["cifar_operations"], resolution=16, blocks=proxyless.bottlenecks((32, 4, 2), (64, 4, 2)), head=128
)
FORMS = {
    "small": Size(32, 16, CIFAR_SMALL, 10_000, 64, 12, 24, 15, 0.1, 0.01, 1, "full", 3, 10),
    # Searches that see all images, five times as many in all.
    "medium": Size(32, 16, CIFAR_SMALL, None, 128, 15, 20, 15, 0.1, 0.006, 2, "full", 2, 10, final="small"),
    # The paper's candidates for CIFAR-10, all images: 40 minutes of a core each search, 5 of a GPU for the rest.
    "operations": Size(256, 16, OPERATIONS_SMALL, None, 128, 8, 12, 20, 0.1, 0.006, 2, "full", 2, 10),
    "full": Size(256, 32, CIFAR, None, 128, 40, 120, 120, 0.1, 0.006, 5, "full", 3, 10),
}


# --- memory and time ----------------------------------------------------------------------------------


def step_of(mode: str, space: SearchSpace, batch: Any, seed: int = 0) -> tuple[Any, Any]:
    """(module that holds the weights, one step of this mode)."""
    device = batch.x.device
    torch.manual_seed(seed)
    blocks = blocks_of(space)
    if mode == "plain":
        network = build_network(space.layers(space.largest())).to(device)
        return network, sgd_step(network, lambda: task_loss(network(batch.x), batch.targets))
    supernet = Supernet(separated(space)).to(device)
    if mode == "weight":
        # The largest path: a random one takes less.
        return supernet, sgd_step(supernet, lambda: task_loss(supernet(batch.x, space.largest()), batch.targets))
    if mode == "all paths":
        return supernet, sgd_step(supernet, lambda: task_loss(all_paths(supernet, blocks, batch.x), batch.targets))
    parameters = ArchitectureParameters(space, blocks.searched, seed)
    largest = tuple(len(block.options) - 1 for block in blocks.searched)
    with torch.no_grad():
        for alpha in parameters.alphas:
            alpha[-1] += 20  # so that the largest candidate is the active one
    assert parameters.most_likely() == largest
    latencies = Latencies("none", 1.0, tuple((0.0,) * len(block.options) for block in blocks.searched))
    step = GradientStep(GatedPasses(supernet, blocks), parameters, latencies, NoLatency(), 1e-9, mode)
    return supernet, lambda: step.step(batch, np.random.default_rng(0))


def sgd_step(module: torch.nn.Module, loss: Any) -> Any:
    """A training step with momentum."""
    optimizer = torch.optim.SGD(module.parameters(), 1e-3, momentum=0.9, nesterov=True, weight_decay=4e-5)

    def step() -> None:
        module.train()
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


def all_paths(supernet: Supernet, blocks: Blocks, x: Tensor) -> Tensor:
    """Logits with every candidate of every block in memory, each with the same weight."""
    by_slot = {block.slot: block for block in blocks.searched}
    for slot in blocks.order:
        if slot in blocks.fixed:
            x = supernet.slot(slot)(x, blocks.fixed[slot])
            continue
        specs = by_slot[slot].specs
        outs = [x if spec is None else supernet.slot(f"{slot}/{k}")(x, spec) for k, spec in enumerate(specs)]
        x = torch.stack(outs).mean(0)
    return x


def memory_of(mode: str, batch_size: int, device: str) -> dict[str, float]:
    """Memory and time of one mode's step; in a process of its own."""
    space = load_family("proxyless", "cifar")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch_size, 3, 32, 32, generator=generator).to(device)
    split = Split(inputs, torch.randint(0, 10, (batch_size,), generator=generator).to(device))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    module, step = step_of(mode, space, split.batch(slice(0, batch_size)))
    for _ in range(WARM_UP):
        step()
    rss = 1024.0 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb)
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        step()
        peak = float(torch.cuda.max_memory_allocated() - inputs.numel() * 4)
    else:
        # Weights and momenta (of all candidates, as every path has been drawn by then), gradients of the step
        # before, and what the step takes on top.
        weights = sum(p.numel() * p.element_size() for p in module.parameters())
        gradients = sum(p.numel() * p.element_size() for p in module.parameters() if p.grad is not None)
        peak = float(2 * weights + gradients + step_peak(step))
    times = []
    for _ in range(TIMED):
        began = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return {"peak_bytes": peak, "rss_growth_bytes": rss, "step_ms": 1000 * float(np.median(times))}


def step_peak(step: Any) -> int:
    """Most bytes that the tensors made in a step take at once, by every allocation that torch's profiler saw.

    A step first frees the gradients of the one before; they count as held, so the balance starts at what is freed.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    events = seen.profiler.kineto_results.events()
    balance = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        balance += event.nbytes()
        peak = max(peak, balance)
    return peak


def memory(size: Size, device: str) -> dict[str, Any]:
    """Every mode in a process of its own, and ratios to plain training."""
    rows = {}
    for mode in MODES:
        command = [sys.executable, "-m", "benchmarks.proxylessnas", "--mode", mode, str(size.memory_batch), device]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        rows[mode] = json.loads(done.stdout)
        say(f"{mode}: {rows[mode]['peak_bytes'] / 2**20:.0f} MiB, {rows[mode]['step_ms']:.0f} ms")
    plain = rows["plain"]
    for row in rows.values():
        for name in ("peak_bytes", "rss_growth_bytes", "step_ms"):
            row[name.rsplit("_", 1)[0] + "_ratio"] = row[name] / plain[name] if plain[name] else float("nan")
    met = all(rows[mode]["peak_ratio"] <= MEMORY_GOAL for mode in ("weight", "two", "full"))
    return {"space": "proxyless/cifar", "batch": size.memory_batch, "modes": rows, "met": met}


# --- search and latency -------------------------------------------------------------------------------


@dataclass
class Study:
    """The space, the data, and whatever the cache has of the results."""

    size: Size
    cache: Cache
    data: Dataset
    final_data: Dataset
    space: SearchSpace = field(init=False)
    blocks: Blocks = field(init=False)
    setting: Setting = field(default_factory=lambda: Setting("cpu-onnxruntime", 1, 1))

    def __post_init__(self) -> None:
        proxyless.PRESETS["cifar_benchmark"] = self.size.table
        self.space = load_family("proxyless", "cifar_benchmark", Adjustments())
        self.blocks = blocks_of(self.space)
        self.instrument = Instrument(LocalBench(self.setting.how), self.setting, MemoryStore(), write_fresh)

    @cached_property
    def table(self) -> dict[str, Any]:
        """Latencies of the space's layers on this machine, and how long that took."""
        return dict(self.cache.result("table", self._measured_table))

    def _measured_table(self) -> dict[str, Any]:
        began = time.monotonic()
        layers, networks = layers_of(self.space, 2000), correcting_networks(self.space)
        table = corrected_table(
            "cpu-onnxruntime", self.space, layers, networks, self.instrument, 2.0, lambda _done: None
        )
        prices = price_candidates(self.space, table, self.blocks)
        return {"fixed_ms": prices.fixed_ms, "blocks_ms": prices.blocks_ms, "seconds": time.monotonic() - began}

    @cached_property
    def latencies(self) -> Latencies:
        """The table as a search takes it."""
        return Latencies("cpu-onnxruntime", self.table["fixed_ms"], tuple(map(tuple, self.table["blocks_ms"])))

    @property
    def final(self) -> Size:
        """How networks are trained alone."""
        return FORMS[self.size.final] if self.size.final else self.size

    @property
    def budget_ms(self) -> float:
        """What the over-parameterised network expects at first."""
        return self.latencies.uniform_ms

    def searched(self, seed: int) -> dict[str, Any]:
        """What a search found."""
        job = partial(derive, self.size, self.space, self.blocks, self.data, self.latencies, self.budget_ms, seed)
        return dict(self.cache.result(f"search-{seed}", job))

    def rivals(self) -> list[Architecture]:
        """The random networks."""
        return random_networks(self.space, self.blocks, self.latencies, self.budget_ms, self.size.random)

    def derived(self, seed: int) -> Architecture:
        """The network that a search found."""
        return self.space.architecture(**self.searched(seed)["values"])

    def score(self, one: Architecture) -> float:
        """Accuracy of a network trained from scratch."""
        return float(
            self.cache.result(f"trained-{one.id}", partial(trained, self.final, self.space, one, self.final_data))
        )

    def make(self, piece: str) -> None:
        """One of `pieces` into the cache."""
        kind, _, number = piece.partition("-")
        match kind:
            case "table":
                say(f"table in {self.table['seconds']:.0f} s")
            case "search":
                self.searched(int(number))
            case "derived":
                self.score(self.derived(int(number)))
            case _:
                self.score(self.rivals()[int(number)])


def pieces(size: Size) -> list[str]:
    """What can be made apart, by several processes or on other machines; what a piece needs is made with it."""
    searches = [f"{kind}-{n}" for kind in ("search", "derived") for n in range(size.searches)]
    return ["table", *searches, *(f"random-{n}" for n in range(size.random))]


def search(study: Study) -> dict[str, Any]:
    """Derived against random networks, by accuracy; all of them by the table and as measured."""
    size, space, latencies = study.size, study.space, study.latencies
    say(f"table in {study.table['seconds']:.0f} s: {latencies.cheapest_ms:.3f} to {latencies.dearest_ms:.3f} ms")
    searches = [study.searched(seed) for seed in range(size.searches)]
    derived = [study.derived(seed) for seed in range(size.searches)]
    rows: list[dict[str, Any]] = []
    for kind, one in [*(("derived", one) for one in derived), *(("random", one) for one in study.rivals())]:
        score, table_ms = study.score(one), latencies.of_path(study.blocks.path(one))
        rows.append({"kind": kind, "id": one.id, "accuracy": score, "table_ms": table_ms, "values": one.values})
        say(f"{kind} {one.id}: {score:.4f}")
    drift = measured_whole(space, rows, study.instrument)
    return {
        "space": f"{len(study.blocks.searched)} blocks with a choice, {size.pixels} pixels, {space.size()} networks",
        "operations": sorted({str(option) for block in study.blocks.searched for option in block.options}),
        "images": {"search": len(study.data.train), "final": len(study.final_data.train)},
        "epochs": {"warm-up": size.warmup_epochs, "search": size.search_epochs, "final": study.final.final_epochs},
        "budget_ms": study.budget_ms,
        "range_ms": [latencies.cheapest_ms, latencies.dearest_ms],
        "table_seconds": study.table["seconds"],
        "drift": drift,
        "searches": searches,
        "networks": rows,
        **verdict(rows),
    }


def measured_whole(space: SearchSpace, rows: list[dict[str, Any]], instrument: Instrument) -> float:
    """Fill in what the networks take, measured in turns with the networks that corrected the table; the drift.

    Drift is how much those take now of what they took when they were first measured: a shared machine's own doing.
    """
    specimens = [Specimen.network(space, one) for one in correcting_networks(space)]
    before = instrument.measure(specimens, "network", Effort(), lambda _done: None)
    mine = [Specimen.network(space, space.architecture(**row["values"])) for row in rows]
    after = instrument.measure([*specimens, *mine], "again", Effort(max_seconds=2.0), lambda _done: None)
    drift = float(np.median([ms(after, specimen) / ms(before, specimen) for specimen in specimens]))
    for row, specimen in zip(rows, mine, strict=True):
        row["measured_ms"], row["interval_ms"] = ms(after, specimen), after[specimen.subject][0]["interval_ms"]
        row["error"] = row["table_ms"] / row["measured_ms"] - 1
        row["error_beside_drift"] = drift * row["table_ms"] / row["measured_ms"] - 1
    return drift


def ms(found: dict[str, Any], specimen: Specimen) -> float:
    """Median latency of a specimen."""
    return float(found[specimen.subject][0]["median_ms"])


def pooled(data: Dataset, pixels: int) -> Dataset:
    """Images averaged down to so many pixels."""

    def smaller(split: Split) -> Split:
        images = split.stored[:]
        stored = torch.nn.functional.adaptive_avg_pool2d(images.float(), pixels).round().to(images.dtype)
        return replace(split, stored=stored)

    if data.train.stored.shape[-1] == pixels:
        return data
    return replace(data, train=smaller(data.train), validation=smaller(data.validation), test=smaller(data.test))


def verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means, spread and what was met."""
    of = {kind: np.array([row["accuracy"] for row in rows if row["kind"] == kind]) for kind in ("derived", "random")}
    mean, spread = float(of["random"].mean()), float(of["random"].std(ddof=1))
    errors = {name: [abs(row[name]) for row in rows if row["kind"] == "derived"] for name in ERRORS}
    return {
        "derived_mean": float(of["derived"].mean()),
        "random_mean": mean,
        "random_std": spread,
        "better_by_std": float((of["derived"].mean() - mean) / spread),
        "met": {
            "beats random by one standard deviation": bool(of["derived"].mean() > mean + spread),
            "derived latency within 10 %": max(errors["error"]) <= LATENCY_GOAL,
            "derived latency within 10 % beside drift": max(errors["error_beside_drift"]) <= LATENCY_GOAL,
        },
        "median_errors_of_all": {name: float(np.median([abs(row[name]) for row in rows])) for name in ERRORS},
    }


def options(size: Size, epochs: int) -> TrainingOptions:
    """Nesterov SGD with a cosine, as in the paper's code."""
    return TrainingOptions(
        epochs=epochs,
        batch_size=size.batch_size,
        optimizer="sgd",
        learning_rate=size.learning_rate,
        lr_decay=1.0,
        lr_decay_epochs=1.0,
        lr_floor=0.0,
        weight_decay=4e-5,
        momentum=0.9,
        clip_norm=5.0,
        schedule="cosine",
    )


AUGMENT = AugmentationOptions(crop_padding=4, flip=True)


def derive(
    size: Size, space: SearchSpace, blocks: Blocks, data: Dataset, latencies: Latencies, budget_ms: float, seed: int
) -> dict[str, Any]:
    """One search: warm-up, both kinds of step in turn, the most likely network within the budget."""
    began = time.monotonic()
    rest, held_out = carve(data.train, 0.2, 0, data.name)
    torch.manual_seed(seed)
    supernet = Supernet(separated(space)).to(data.train.y.device)
    warm = Trainer(supernet, ProxylessNAS(), rest, options(size, size.warmup_epochs), seed, AUGMENT)
    for _ in range(warm.num_steps):
        warm.step()
    parameters = ArchitectureParameters(space, blocks.searched, seed)
    trainer = Trainer(supernet, ProxylessNAS(), rest, options(size, size.search_epochs), seed + 100, AUGMENT)
    step = GradientStep(GatedPasses(supernet, blocks), parameters, latencies, NoLatency(), size.alpha_rate, size.mode)
    turns, budget = Turns(1, size.every, 1, 2 * size.batch_size), Budget(latencies, budget_ms)
    searching = PathSearch(trainer, parameters, step, held_out, turns, budget)
    for number in range(searching.num_steps):
        shown = searching.step()
        if (number + 1) % max(1, searching.num_steps // 8) == 0:
            say(f"  {number + 1}/{searching.num_steps}: {shown}, entropy {np.mean(parameters.entropies()):.3f}")
    p = parameters.probabilities()
    path = most_likely_within(p, latencies, budget_ms)
    found = parameters.architecture(path)
    say(f"search {seed}: {found.id}")
    return {
        "values": found.values,
        "entropy": float(np.mean(parameters.entropies())),
        "expected_ms": float(latencies.expected([alpha.detach().softmax(0) for alpha in parameters.alphas])),
        "table_ms": latencies.of_path(path),
        "argmax_ms": latencies.of_path(parameters.most_likely()),
        "probabilities": [[round(float(one), 3) for one in row] for row in p],
        "seconds": time.monotonic() - began,
    }


def random_networks(
    space: SearchSpace, blocks: Blocks, latencies: Latencies, budget_ms: float, count: int
) -> list[Architecture]:
    """Random networks that take 90 to 100 % of the budget."""
    rng = derived_rng(0, "rivals", 0)
    found: dict[str, Architecture] = {}
    while len(found) < count:
        one = space.sample(rng)
        if 0.9 * budget_ms <= latencies.of_path(blocks.path(one)) <= budget_ms:
            found[one.id] = one
    return list(found.values())


def trained(size: Size, space: SearchSpace, architecture: Architecture, data: Dataset) -> float:
    """Test accuracy of one network trained from scratch on the whole training split."""
    torch.manual_seed(0)
    own = alone(space, architecture)
    supernet = Supernet(own).to(data.train.y.device)
    genes = ",".join(map(str, architecture.genes))
    trainer = Trainer(
        supernet,
        Single(SingleOptions(architecture=genes, label_smoothing=0.1)),
        data.train,
        options(size, size.final_epochs),
        0,
        AUGMENT,
    )
    for _ in range(trainer.num_steps):
        trainer.step()
    network = extract(supernet, architecture)
    chosen = torch.arange(min(len(data.train), 4096))
    calibrate(network, (data.train.inputs(part) for part in chosen.split(256)))
    return accuracy(network, data.test)


def say(text: str) -> None:
    """Progress, beside the result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--form", choices=tuple(FORMS), default="full", help="small: for a CPU")
    parser.add_argument("--part", choices=("memory", "search"), help="only this")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--cache", type=Path, help="folder that keeps searches and trained networks, to go on from")
    parser.add_argument("--piece", help="make this one and end; needs --cache")
    parser.add_argument("--mode", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.mode:
        mode, batch, device = arguments.mode
        print(json.dumps(memory_of(mode, int(batch), device)))
        return
    size = FORMS[arguments.form]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def images(limit: int | None) -> Dataset:
        data = load_dataset("cifar10", 0, {"path": str(arguments.data), "limit": limit})
        return pooled(data, size.pixels).to(device)

    def study() -> Study:
        data = images(size.limit)
        final = images(FORMS[size.final].limit) if size.final else data
        return Study(size, Cache(arguments.cache), data, final)

    if arguments.piece:
        if arguments.piece not in pieces(size) or arguments.cache is None:
            parser.error(f"--piece needs --cache, and is one of {', '.join(pieces(size))}.")
        study().make(arguments.piece)
        return
    result: dict[str, Any] = {
        "question": "what ProxylessNAS's steps cost, whether its search beats random, whether its table is right",
        "form": arguments.form,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if device.type == "cuda" else None,
        **describe_machine(),
    }
    if arguments.part != "search":
        result["memory"] = memory(size, device.type)
    if arguments.part != "memory":
        if not arguments.data.exists():
            say(f"search: skipped, there is no {arguments.data}")
        else:
            result["search"] = search(study())
    print(json.dumps(result, indent=2) if arguments.json else in_words(result))


def in_words(result: dict[str, Any]) -> str:
    """The result as a few lines."""
    lines = []
    for mode, row in result.get("memory", {}).get("modes", {}).items():
        lines.append(f"{mode:<10} memory x{row['peak_ratio']:.3f}  time x{row['step_ratio']:.2f} of plain training")
    if "search" in result:
        found = result["search"]
        lines.append(
            f"derived {found['derived_mean']:.4f}, random {found['random_mean']:.4f} +- {found['random_std']:.4f}: "
            f"better by {found['better_by_std']:.2f} standard deviations"
        )
        lines += [f"{goal}: {'met' if met else 'NOT met'}" for goal, met in found["met"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
