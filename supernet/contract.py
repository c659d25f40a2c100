"""The contract of a model family: its specs, its torch modules and its supernet are the same networks.

Every check takes a space and says what it looked at, or raises `ContractBroken` with the network at which it
failed. Built-in families are held to it by the tests, users' own by `winnow family check`, which runs

    python -m supernet.contract NAME [--preset PRESET] [--families-dir FOLDER]

and reads one JSON object a line: preset, check, passed, detail.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from search_space import plugins
from search_space.architecture import Architecture
from search_space.family_files import culprit, file_of
from search_space.inputs import IMAGES, INPUT, TEXTS, ImageInput, PairInput
from search_space.layers import LayerSpec
from search_space.space import SearchSpace
from supernet.inputs import Flow, Inputs, moved
from supernet.kinds import block_class
from supernet.network import Network, Supernet, build_network, extract
from supernet.slot import build_block
from supernet.weights import load_pretrained

EMPTY = inspect.Parameter.empty

# Architectures that are described and counted layer by layer, and of these, built or run whole.
DESCRIBED, WHOLE = 200, 3
# Supernets larger than this are not allocated; what needs one is then skipped, and says so.
MAX_ALLOCATED_PARAMS = 60_000_000
# Multiply-accumulates that a check which runs networks may spend, and most networks that it runs.
MACS_BUDGET, MOST_RUN = 600_000_000, 200
# Samples of a batch: two, so that batch normalisation has something to normalise.
BATCH = 2
# Where nothing is computed.
META = torch.device("meta")
# What a module that a family was made from answered, beside its weights; and how far from it, as a share of its largest
# logit, the largest network may be.
SAMPLES, TOLERANCE = "samples.safetensors", 1e-5
# Tokens of a text that is run; counts are for the space's own length.
RUN_TOKENS = 16


class ContractBroken(Exception):
    """A family does not keep its contract; the message says where."""


class Skipped(Exception):
    """A check that this machine cannot do; the message says why."""


class Subject:
    """A space under test, with what its checks share."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._blocks: dict[LayerSpec, nn.Module] = {}
        self._flops: dict[tuple[LayerSpec, tuple[int, ...]], tuple[int, Tensor]] = {}

    def architectures(self, count: int) -> list[Architecture]:
        """The smallest, the largest, and random ones; the same on every call."""
        rng = np.random.default_rng(0)
        ends = [self.space.smallest(), self.space.largest()]
        return ends + [self.space.sample(rng) for _ in range(count - 2)]

    def runnable(self) -> list[Architecture]:
        """Smallest, random and largest networks, as many as the budget of computation allows, but always two."""
        smallest, largest, *random = self.architectures(MOST_RUN)
        chosen, left = [smallest, random[0]], MACS_BUDGET
        for architecture in (smallest, random[0], largest, *random[1:]):
            # Supernet and extracted network, in training and in evaluation.
            left -= 4 * BATCH * sum(layer.macs() for layer in self.space.layers(architecture).values())
            if left > 0 and architecture not in chosen:
                chosen.append(architecture)
        return chosen

    @cached_property
    def supernet(self) -> Supernet:
        """With statistics and scales that differ from channel to channel, so that no slice equals another.

        Raises:
            Skipped: it would take too much memory.
        """
        params = sum(layer.params() for layer in self.space.capacity().values())
        if params > MAX_ALLOCATED_PARAMS:
            raise Skipped(f"its supernet has {params:,} parameters, too many to allocate for a test")
        torch.manual_seed(0)
        made = Supernet(self.space)
        with torch.no_grad():
            for module in made.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                        if tensor is not None:
                            tensor.uniform_(0.5, 1.5)
        return made

    def block(self, spec: LayerSpec) -> nn.Module:
        """A layer's torch module without storage, built once for every spec that occurs."""
        if spec not in self._blocks:
            with torch.device("meta"):
                self._blocks[spec] = build_block(spec).eval()
        return self._blocks[spec]

    def flops(self, layers: Mapping[str, LayerSpec], inputs: Inputs) -> int:
        """What torch counts for one pass, layer by layer; each layer is run once for every shape it is given."""
        total, flow = 0, Flow(inputs)
        for spec in layers.values():
            flow = flow.into(self.block(spec))
            assert flow.x is not None
            key = spec, tuple(flow.x.shape)
            if key not in self._flops:
                counter = FlopCounterMode(display=False)
                with torch.no_grad(), counter:
                    out = self.block(spec)(flow.x)
                self._flops[key] = counter.get_total_flops(), out
            flops, x = self._flops[key]
            flow, total = flow.gave(x), total + flops
        return total

    def example_inputs(self, batch: int, tokens: int | None = None) -> Inputs:
        """Random inputs for the networks of the space, the same on every call."""
        return example_inputs(self.space, batch, tokens)


def example_inputs(space: SearchSpace, batch: int, tokens: int | None = None) -> Inputs:
    """Random inputs for the networks of a space, by name; the same on every call.

    Args:
        tokens: length of texts; None: the length for which costs are counted.

    Raises:
        ContractBroken: the space does not say what its networks eat.
    """
    takes, generator = space.takes, torch.Generator().manual_seed(0)
    if takes is None:
        raise ContractBroken("the space does not say what its networks take; give SearchSpace takes=ImageInput(...)")
    if isinstance(takes, ImageInput):
        return {INPUT: torch.randn(batch, takes.channels, takes.size, takes.size, generator=generator)}
    length = takes.length if tokens is None else min(tokens, takes.max_length)
    if isinstance(takes, PairInput):
        images = torch.randn(batch, takes.channels, takes.size, takes.size, generator=generator)
        return {IMAGES: images, TEXTS: torch.randint(0, takes.vocab, (batch, length), generator=generator)}
    return {INPUT: torch.randint(0, takes.vocab, (batch, length), generator=generator)}


def require(holds: bool, broken: str) -> None:
    """Raise ContractBroken with this sentence unless it holds."""
    if not holds:
        raise ContractBroken(broken)


# --- the space --------------------------------------------------------------------------------------


def equal_ids(subject: Subject) -> str:
    """Ids are equal exactly when layers are."""
    space, rng = subject.space, np.random.default_rng(1)
    ids: dict[str, object] = {}
    layers: dict[object, str] = {}
    drawn = subject.architectures(DESCRIBED)
    # Neighbours that differ in one gene, alive or dead, are the likely collisions.
    drawn += [space.mutate(architecture, rng, 1 / len(space.choices)) for architecture in drawn]
    for architecture in drawn:
        described = tuple(space.layers(architecture).items())
        require(ids.setdefault(architecture.id, described) == described, f"{architecture.id} has two sets of layers")
        other = layers.setdefault(described, architecture.id)
        require(other == architecture.id, f"{other} and {architecture.id} are one network: {architecture.values}")
    return f"{len(drawn)} architectures, {len(ids)} networks"


def dead_genes(subject: Subject) -> str:
    """A choice that is inactive in a network is one that its layers do not depend on."""
    space, changed = subject.space, 0
    for architecture in subject.architectures(DESCRIBED // 4):
        layers = space.layers(architecture)
        for choice, active in zip(space.choices, space.is_active(architecture), strict=True):
            if active:
                continue
            items = tuple((name, choice.options[-1] if name == choice.name else v) for name, v in architecture.items)
            # An id of its own, so that the space does not take it for the network that it is.
            other = replace(architecture, items=items, id=f"{architecture.id} with {choice.name}")
            same = space.layers(other) == layers
            require(same, f"{choice.name} is inactive in {architecture.id}, but changes its layers")
            changed += 1
    return f"{changed} dead genes changed"


def every_choice_matters(subject: Subject) -> str:
    """Every choice can change the layers; one that no blueprint reads would be a lie in the id."""
    space, largest = subject.space, subject.space.largest()
    for position, choice in enumerate(space.choices):
        if len(choice.options) > 1:
            genes = list(largest.genes)
            genes[position] = 0
            changes = space.layers(space.from_genes(genes)) != space.layers(largest)
            require(changes, f"choice {choice.name} changes nothing in the largest network")
    return f"{len(space.choices)} choices"


def fits_capacity(subject: Subject) -> str:
    """Every layer is a slice of its slot's largest, and slots come in the same order."""
    capacity = subject.space.capacity()
    position = {slot: i for i, slot in enumerate(capacity)}
    drawn = subject.architectures(DESCRIBED)
    for architecture in drawn:
        layers = subject.space.layers(architecture)
        for slot, layer in layers.items():
            require(slot in capacity, f"slot {slot} of {architecture.id} is not in the capacity")
            require(layer.fits_in(capacity[slot]), f"{slot}: {layer} does not fit in {capacity[slot]}")
        order = [position[slot] for slot in layers]
        require(order == sorted(order), f"slots of {architecture.id} are in another order than the capacity's")
    return f"{len(drawn)} architectures, {len(capacity)} slots"


def specs_are_values(subject: Subject) -> str:
    """A layer spec equals its copy and can be a key; its fields are its block's arguments."""
    layers = subject.space.capacity().values()
    for layer in layers:
        twin = replace(layer)
        require(twin == layer and hash(twin) == hash(layer), f"{layer} is not equal to its copy")
        arguments = inspect.signature(block_class(layer)).parameters
        own = [field.name for field in dataclass_fields(layer) if field.name != "policy"]
        require(list(arguments) == own, f"block {layer.kind!r} takes {list(arguments)}, its spec has {own}")
        unsaid = [name for name in own if name not in layer.fields() and arguments[name].default is EMPTY]
        require(not unsaid, f"fields() of {layer.kind!r} leaves out {unsaid}, which its block has no default for")
    return f"{len(layers)} layers"


def branches_are_there(subject: Subject) -> str:
    """What a spec calls its residual branches, and a block its tables that do not decay, are parts of the block."""
    found = 0
    for layer in subject.space.capacity().values():
        block = subject.block(layer)
        for name in layer.branches():
            there = name in dict(block.named_modules())
            require(there, f"{type(layer).__name__}.branches() names {name!r}, which block {layer.kind!r} has not")
            found += 1
        for part in block.modules():
            for name in getattr(part, "undecayed", ()):
                there = name in dict(part.named_parameters())
                require(there, f"{type(part).__name__}.undecayed names {name!r}, which is no parameter of it")
    return f"{found} residual branches" if found else "no layer names residual branches: drop_connect is refused"


# --- counts -----------------------------------------------------------------------------------------


def counted_params(subject: Subject) -> str:
    """Counted parameters and bytes are those of the torch module."""
    space, drawn = subject.space, subject.architectures(DESCRIBED)
    specs = {layer: (slot, one) for one in drawn for slot, layer in space.layers(one).items()}
    for layer, (slot, architecture) in specs.items():
        tied = set(layer.ties())
        own = [parameter for name, parameter in subject.block(layer).named_parameters() if name not in tied]
        built = sum(parameter.numel() for parameter in own)
        where = f"{slot} of {architecture.id}"
        require(layer.params() == built, f"{where}: counted {layer.params()}, torch has {built}: {layer}")
        stored = sum(4 * parameter.numel() for parameter in own)
        require(layer.weight_bytes() == stored, f"{where}: counted {layer.weight_bytes()} bytes, torch has {stored}")
    for architecture in drawn[:WHOLE]:
        layers = space.layers(architecture)
        with torch.device("meta"):
            network = build_network(layers)
        built = sum(parameter.numel() for parameter in network.parameters())
        counted = sum(layer.params() for layer in layers.values())
        require(counted == built, f"{architecture.id}: counted {counted}, torch has {built}")
    return f"{len(specs)} different layers of {len(drawn)} networks, {WHOLE} of them built whole"


def counted_macs(subject: Subject) -> str:
    """Counted MACs are half of torch's own count of operations."""
    given = moved(subject.example_inputs(batch=1), META)
    drawn = subject.architectures(DESCRIBED)
    for number, architecture in enumerate(drawn):
        layers = subject.space.layers(architecture)
        counted, flops = sum(layer.macs() for layer in layers.values()), subject.flops(layers, given)
        require(2 * counted == flops, f"{architecture.id}: counted {counted} MACs, torch has {flops / 2:.10g}")
        if number < WHOLE:
            network = Network(OrderedDict((slot, subject.block(layer)) for slot, layer in layers.items()))
            counter = FlopCounterMode(display=False)
            with torch.no_grad(), counter:
                network(*given.values())
            whole = counter.get_total_flops()
            require(whole == flops, f"{architecture.id}: torch counts {whole} whole and {flops} layer by layer")
    return f"{len(drawn)} networks, {WHOLE} of them run whole"


# --- the supernet -----------------------------------------------------------------------------------


def supernet_equals_extract(subject: Subject) -> str:
    """`supernet(x, architecture)` equals `extract(supernet, architecture)(x)` exactly."""
    given, supernet = subject.example_inputs(BATCH, RUN_TOKENS), subject.supernet
    drawn = subject.runnable()
    for training in (True, False):
        supernet.train(training)
        for architecture in drawn:
            # Both with gradients: where none is needed torch may choose another kernel for layers of text.
            network = extract(supernet, architecture)
            torch.manual_seed(0)  # the same dropout for both
            shared = supernet(given, architecture)
            torch.manual_seed(0)
            alone = network(*given.values())
            far = "" if shared.shape != alone.shape else f", apart by {(shared - alone).abs().max():.3g}"
            require(torch.equal(shared, alone), f"{architecture.id} differs (training={training}){far}")
    return f"{len(drawn)} networks, training and evaluation"


def answers_are_what_it_says(subject: Subject) -> str:
    """Logits have one column a class (or token id), and gradients reach every parameter of the largest network."""
    takes = subject.space.takes
    given = moved(subject.example_inputs(BATCH, RUN_TOKENS), META)
    with torch.device("meta"):
        network = build_network(subject.space.layers(subject.space.largest())).train()
    logits = network(*given.values())
    if takes is not None and takes.classes is not None:
        shape = tuple(logits.shape)
        require(shape == (BATCH, takes.classes), f"the largest network answers {shape}, not {(BATCH, takes.classes)}")
    logits.float().pow(2).sum().backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    require(not idle, f"parameters that take no part: {', '.join(idle[:5])}")
    return "largest network, without storage"


def no_gradient_changes_nothing(subject: Subject) -> str:
    """The supernet computes the same with and without gradients."""
    given, supernet = subject.example_inputs(BATCH, RUN_TOKENS), subject.supernet.eval()
    drawn = subject.runnable()[:3]
    for architecture in drawn:
        with torch.no_grad():
            without = supernet(given, architecture)
        require(torch.equal(supernet(given, architecture), without), f"{architecture.id} differs without gradients")
    return f"{len(drawn)} networks"


def largest_equals_module(subject: Subject) -> str:
    """The largest network of a family that was made from a module answers as that module did."""
    family = plugins.FAMILIES.load(subject.space.name.split("/")[0])
    if not hasattr(family, "CHECKPOINT"):
        return "it was written by hand: there is no module to compare with"
    folder = file_of(family).parent / family.CHECKPOINT
    require((folder / SAMPLES).is_file(), f"{folder / SAMPLES} is missing; make the family again")
    params = sum(layer.params() for layer in subject.space.capacity().values())
    if params > MAX_ALLOCATED_PARAMS:
        raise Skipped(f"its supernet has {params:,} parameters, too many to allocate for a test")
    supernet = Supernet(subject.space).eval()
    load_pretrained(supernet, folder)
    difference = apart(supernet, folder)
    require(difference <= TOLERANCE, f"logits are apart by {difference:.3g} of the largest; {TOLERANCE:g} would do")
    return f"logits are apart by {difference:.3g} of the largest"


def apart(supernet: Supernet, folder: Path) -> float:
    """How far the largest network is from what a module answered to samples: the largest difference of logits, as a
    share of the module's largest logit."""
    samples = load_file(folder / SAMPLES)
    with torch.no_grad():
        given = supernet(samples["input"], supernet.space.largest())
    answer = samples["answer"]
    if given.shape != answer.shape:
        return float("inf")
    return float((given - answer).abs().max() / answer.abs().max().clamp_min(1e-12))


def a_step_trains(subject: Subject) -> str:
    """A step of training changes weights and leaves finite numbers."""
    given, supernet = subject.example_inputs(BATCH, RUN_TOKENS), subject.supernet.train()
    optimizer = torch.optim.SGD(supernet.parameters(), lr=1e-3)
    drawn = subject.runnable()[:2]
    for architecture in drawn:
        optimizer.zero_grad()
        supernet(given, architecture).float().pow(2).mean().backward()
        gradients = [parameter.grad for parameter in supernet.parameters() if parameter.grad is not None]
        moved = any(bool(gradient.any()) for gradient in gradients)
        require(moved, f"a step of {architecture.id} changes no weight")
        finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
        require(finite, f"gradients of {architecture.id} are not finite")
        optimizer.step()
    return f"{len(drawn)} networks"


CHECKS: tuple[Callable[[Subject], str], ...] = (
    equal_ids,
    dead_genes,
    every_choice_matters,
    fits_capacity,
    specs_are_values,
    branches_are_there,
    counted_params,
    counted_macs,
    supernet_equals_extract,
    answers_are_what_it_says,
    no_gradient_changes_nothing,
    largest_equals_module,
    a_step_trains,
)


# Checks that need weights; the others describe and count.
RUNNING = (supernet_equals_extract, no_gradient_changes_nothing, a_step_trains)


def run_checks(
    family: str, preset: str, checks: Sequence[Callable[[Subject], str]] = CHECKS
) -> Iterator[dict[str, object]]:
    """Every check of one preset in turn: preset, check, passed (None: skipped) and what was seen."""
    subject = Subject(plugins.load_family(family, preset))
    for check in checks:
        passed: bool | None = True
        try:
            detail = check(subject)
        except ContractBroken as broken:
            passed, detail = False, str(broken)
        except Skipped as skipped:
            passed, detail = None, str(skipped)
        except Exception as error:
            # A family's own code failed: where, is worth more than a traceback through ours.
            passed, detail = False, str(culprit(error) or f"{type(error).__name__}: {error}")
        asks = (check.__doc__ or "").partition("\n")[0].rstrip(".")
        yield {"preset": preset, "check": check.__name__, "asks": asks, "passed": passed, "detail": detail}


def main(checks: Sequence[Callable[[Subject], str]] = CHECKS, about: str | None = __doc__) -> int:
    """Hold a family's presets to these checks, one line of JSON each.

    Returns:
        0: every check passed or was skipped; 1: some did not; 2: the family cannot be loaded.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("family")
    parser.add_argument("--preset")
    parser.add_argument("--families-dir", type=Path)
    arguments = parser.parse_args()
    plugins.use_families_dir(arguments.families_dir)
    # On a busy machine a second thread that waits for a core made the runs ten times as slow.
    torch.set_num_threads(1)
    broken = False
    try:
        for preset in [arguments.preset] if arguments.preset else plugins.presets(arguments.family):
            for result in run_checks(arguments.family, preset, checks):
                broken = broken or result["passed"] is False
                sys.stdout.write(json.dumps(result) + "\n")
                sys.stdout.flush()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
