"""A network made ready for quantization once, and any number of policies applied to it.

Batch normalisation is folded into the convolution before it, as runtimes do; activations are calibrated on the folded
network; each weight is quantized once per precision. A policy then costs a copy of the module tree that shares all of
that.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from quantization.affine import QuantizedWeight
from quantization.layer import FakeQuantized, Plan, Statistics, Stored, scheme
from search_space.layers import LayerSpec, Precision
from search_space.layers.precision import BY_BYTES, EMBEDDING, SCHEMES
from supernet.inputs import Inputs

Module = TypeVar("Module", bound=nn.Module)


def layer_paths(network: nn.Module, layers: Mapping[str, LayerSpec]) -> dict[str, str]:
    """Layer name (`slot.part`) -> path of its module, for every layer of a network that can be quantized.

    A part is the attribute of its block that has its name, unless the block's `part_modules` says otherwise.

    Raises:
        ValueError: a block has no convolution or linear layer for a part of its spec.
    """
    found = {}
    for slot, spec in layers.items():
        block = network.get_submodule(slot)
        for part, numbers in spec.quantizable(embeddings=True).items():
            path = getattr(block, "part_modules", {}).get(part, part)
            try:
                module: object = block.get_submodule(path)
            except AttributeError:
                module = None
            able: Any = nn.Embedding if numbers.operation == EMBEDDING else nn.Conv2d | nn.Linear
            if not isinstance(module, able) or module.weight.numel() != numbers.weights:
                raise ValueError(
                    f"Block {spec.kind!r} has no convolution, linear layer or table {path!r} of {numbers.weights} "
                    f"weights for its spec's part {part!r}; name them alike, or say where it is in its part_modules."
                )
            found[f"{slot}.{part}"] = f"{slot}.{path}"
    return found


@dataclass(frozen=True, slots=True)
class _Follower:
    """What works on a layer's output alone: batch normalisation, then an activation that cuts values off."""

    norm: str | None
    activation: str | None


@dataclass(frozen=True, slots=True)
class Folded:
    """A network in evaluation mode with batch normalisation in its convolutions.

    Attributes:
        norms: path of a convolution -> path of what was its batch normalisation.
        activations: layer name -> `ReLU` or `ReLU6` if one follows, else empty.
    """

    network: nn.Module
    norms: dict[str, str]
    activations: dict[str, str]


def fold(network: nn.Module, layers: Mapping[str, LayerSpec], example: Inputs) -> Folded:
    """Fold a copy of a network.

    What follows a convolution is seen by running the network, so blocks need not say it.
    """
    paths = layer_paths(network, layers)
    folded = copy.deepcopy(network).eval()
    followers = _followers(folded, list(paths.values()), example)
    with torch.no_grad():
        for path, follower in followers.items():
            if follower.norm is not None:
                conv, norm = folded.get_submodule(path), folded.get_submodule(follower.norm)
                assert isinstance(conv, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                _replace(folded, path, fuse_conv_bn_eval(conv, norm))
                _replace(folded, follower.norm, nn.Identity())
    for parameter in folded.parameters():
        parameter.requires_grad_(False)
    norms = {path: follower.norm for path, follower in followers.items() if follower.norm is not None}
    return Folded(folded, norms, {name: followers[path].activation or "" for name, path in paths.items()})


def _followers(network: nn.Module, paths: list[str], example: Inputs) -> dict[str, _Follower]:
    """By identity of tensors: a norm that was given a convolution's output is its norm."""
    names = {module: name for name, module in network.named_modules()}
    wanted = {network.get_submodule(path): path for path in paths}
    made: dict[int, str] = {}
    norm: dict[str, str] = {}
    activation: dict[str, str] = {}
    kept: list[Tensor] = []

    def see(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        kept.extend((*given, out))  # so that no other tensor gets the same identity meanwhile
        if module in wanted:
            made[id(out)] = wanted[module]
        source = made.get(id(given[0])) if given else None
        if source is None:
            return
        if (
            isinstance(module, nn.BatchNorm2d)
            and source not in norm
            and isinstance(network.get_submodule(source), nn.Conv2d)
        ):
            norm[source] = names[module]
            made[id(out)] = source
        elif isinstance(module, nn.ReLU | nn.ReLU6):
            activation[source] = type(module).__name__

    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, nn.ReLU6)
    hooks = [m.register_forward_hook(see) for m in network.modules() if isinstance(m, kinds)]
    try:
        with torch.no_grad():
            network(*example.values())
    finally:
        for hook in hooks:
            hook.remove()
    return {path: _Follower(norm.get(path), activation.get(path)) for path in paths}


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a network with a policy was made from: all that a writer of files needs.

    Attributes:
        folded: the network in full precision with batch normalisation folded in.
        norms: path of a convolution -> path of the batch normalisation that was folded into it.
        plans: path of a layer's module -> how it is executed, of the layers that are quantized.
        tied: path of a linear layer -> path of the quantized table of words whose weight it reads as well.
    """

    folded: nn.Module
    norms: dict[str, str]
    plans: dict[str, Plan]
    tied: dict[str, str] = field(default_factory=dict)


def weight_bits(plans: Iterable[Plan]) -> int | None:
    """Most bits of weights that kernels multiply with bytes; None: no layer has such a scheme."""
    return max((p.precision.weight_bits for p in plans if p.precision.scheme in BY_BYTES), default=None)


def wants_moments(precision: Precision) -> bool:
    """Whether a scheme rounds weights by what their layer takes."""
    return bool(getattr(scheme(precision.scheme), "WANTS_MOMENTS", False))


def _operation(layer: Stored) -> str:
    if isinstance(layer, nn.Embedding):
        return EMBEDDING
    return "linear" if isinstance(layer, nn.Linear) else "depthwise" if layer.groups > 1 else "conv"


def readers(network: nn.Module, paths: Iterable[str]) -> dict[str, str]:
    """Path of a linear layer -> path of the table of words that its weight is, of the tables among these paths."""
    tables = {id(network.get_submodule(path).weight): path for path in paths}
    return {
        name: tables[id(module.weight)]
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and id(module.weight) in tables and name != tables[id(module.weight)]
    }


def applied_to(network: nn.Module) -> Applied | None:
    """What a network with a policy was made from; None for any other network."""
    applied = getattr(network, "applied_policy", None)
    assert applied is None or isinstance(applied, Applied)
    return applied


def on_device(network: Module, device: torch.device) -> Module:
    """The network if it is there, else a copy that is; the modules that policies share stay where they are."""
    if all(tensor.device == device for tensor in network.parameters()):
        return network
    applied = applied_to(network)
    modules = (network,) if applied is None else (network, applied.folded)
    moved: dict[int, object] = {}
    for module in modules:
        for parameter in module.parameters():
            there = parameter.detach().to(device, copy=True)
            moved[id(parameter)] = nn.Parameter(there, requires_grad=parameter.requires_grad)
        moved |= {id(buffer): buffer.to(device, copy=True) for buffer in module.buffers()}
    return copy.deepcopy(network, moved)


class QuantizableNetwork:
    """A folded network with the statistics of its activations, to which policies are applied.

    Args:
        network: a plain network with batch-norm statistics of its own.
        layers: its specs by slot.
        example: a batch of one or more inputs.
    """

    def __init__(self, network: nn.Module, layers: Mapping[str, LayerSpec], example: Inputs) -> None:
        self.paths = layer_paths(network, layers)
        folded = fold(network, layers, example)
        self.folded, self.norms, self.activations = folded.network, folded.norms, folded.activations
        self.statistics: dict[str, Statistics] = {}
        # Layer name -> sum of x x^T over what it takes, where a scheme asked for it (`see_moments`).
        self.moments: dict[str, Tensor] = {}
        self._weights: dict[tuple[str, Precision], QuantizedWeight | None] = {}
        self._plans: dict[tuple[str, Precision], Plan] = {}
        self._layers: dict[tuple[str, Precision], FakeQuantized] = {}

    def layer(self, name: str) -> Stored:
        """The folded layer of that name."""
        layer = self.folded.get_submodule(self.paths[name])
        assert isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding)
        return layer

    def is_rounded(self, name: str, precision: Precision) -> bool:
        """Whether a layer's weight is there at a precision."""
        return (name, precision) in self._weights

    def round(self, name: str, precision: Precision, *moments_II: Tensor) -> None:
        """Store a layer's weight at a precision.

        Args:
            moments_II: what some schemes want (see `SchemeFile`).
        """
        self._weights[name, precision] = scheme(precision.scheme).quantize(
            self.layer(name).weight, precision, *moments_II
        )

    def plan(self, name: str, precision: Precision) -> Plan:
        """How a layer is executed at a precision; worked out once.

        Raises:
            ValueError: there are no kernels for such a layer, or its activations were not calibrated.
        """
        key = name, precision
        if key not in self._plans:
            layer: Any = self.layer(name)
            file = scheme(precision.scheme)
            operation = _operation(layer)
            if operation not in SCHEMES[precision.scheme].operations:
                raise ValueError(f"Scheme {precision.scheme!r} has no kernels for {name!r}, a {operation} layer.")
            if not self.is_rounded(name, precision):
                wanted: tuple[Tensor, ...] = ()
                if wants_moments(precision):
                    if name not in self.moments:
                        raise ValueError(f"Layer {name!r} was not calibrated for scheme {precision.scheme!r}.")
                    wanted = (self.moments[name],)
                self.round(name, precision, *wanted)
            self._plans[key] = file.plan(layer, precision, self._weights[key], self.statistics.get(name))
        return self._plans[key]

    def plans(self, policy: Mapping[str, Precision]) -> dict[str, Plan]:
        """The plan of every layer of a policy that is quantized.

        Raises:
            ValueError: the policy names a layer that the network does not have.
        """
        unknown = sorted(set(policy) - set(self.paths))
        if unknown:
            raise ValueError(f"The network has no layer {unknown[0]!r}. Its layers: {', '.join(self.paths)}.")
        return {name: self.plan(name, precision) for name, precision in policy.items() if not precision.is_full}

    def with_policy(self, policy: Mapping[str, Precision]) -> nn.Module:
        """The network as its kernels would compute it, in floating point; weights are shared with this one."""
        shared = {id(tensor): tensor for tensor in (*self.folded.parameters(), *self.folded.buffers())}
        network = copy.deepcopy(self.folded, dict(shared))
        plans = self.plans(policy)
        by_path = {self.paths[name]: plan for name, plan in plans.items()}
        tied = readers(self.folded, by_path)
        network.applied_policy = Applied(self.folded, self.norms, by_path, tied)  # type: ignore[assignment]
        for name, plan in plans.items():
            key = name, plan.precision
            if key not in self._layers:
                self._layers[key] = FakeQuantized(self.layer(name), plan)
            _replace(network, self.paths[name], self._layers[key])
        for path, table in tied.items():
            # The head computes with the numbers that the table has now.
            module = network.get_submodule(path)
            module.weight = network.get_submodule(table).weight
        return network.eval()

    @contextmanager
    def all_experts(self) -> Iterator[None]:
        """While it lasts, every expert sees every position, so that also those that no example chooses are seen."""
        routed: list[Any] = [module for module in self.folded.modules() if hasattr(module, "everywhere")]
        for module in routed:
            module.everywhere = True
        try:
            yield
        finally:
            for module in routed:
                module.everywhere = False

    @contextmanager
    def watching(self, names: Iterable[str]) -> Iterator[dict[str, tuple[list[Tensor], list[Tensor]]]]:
        """While it lasts, inputs and outputs of the named layers in every pass of `folded` are put into lists.

        The output of a layer that an activation follows is what the activation leaves of it.
        """
        seen: dict[str, tuple[list[Tensor], list[Tensor]]] = {name: ([], []) for name in names}
        hooks = []
        for name, (inputs, outputs) in seen.items():

            def keep(
                _module: nn.Module,
                given: tuple[Tensor, ...],
                out: Tensor,
                *,
                inputs: list[Tensor] = inputs,
                outputs: list[Tensor] = outputs,
                activation: str = self.activations[name],
            ) -> None:
                inputs.append(given[0])
                if activation:
                    out = out.clamp(min=0.0, max=6.0 if activation == "ReLU6" else None)
                outputs.append(out)

            hooks.append(self.layer(name).register_forward_hook(keep))
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()
