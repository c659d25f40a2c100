"""What is measured for a space: its layers alone, networks whole, and probes; each as a task that is done once."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from export.measurable import write_measurable
from export.measure import Effort, MeasurementError, Setting
from export.measure.bench import Results
from predictors.tables import key_of
from quantization.calibration import with_stated_policy
from quantization.space import QuantizedSpace
from search_space.architecture import Architecture
from search_space.distinct import TooManyLayers, distinct_layers
from search_space.inputs import ImageInput
from search_space.layers import ConvSpec, LayerSpec
from search_space.space import SearchSpace
from supernet.network import Network, build_network
from supernet.slot import build_block


class Bench(Protocol):
    """Something that measures files: this machine or a registered one."""

    @property
    def place(self) -> Mapping[str, Any]:
        """What numbers depend on besides the setting: device, cores, versions."""

    def measure(
        self, models: Sequence[Path], settings: Sequence[Setting], effort: Effort, tick: Callable[[], None]
    ) -> list[Results | MeasurementError]:
        """Results for each file, or why there are none."""


class LatencyStore(Protocol):
    """Remembers numbers across jobs."""

    def known(self, place: str, kind: str, subjects: Sequence[str]) -> dict[str, Results]:
        """Those of these subjects that were measured in this place."""

    def remember(
        self, place: str, where: Mapping[str, Any], kind: str, subject: str, what: str, results: Results
    ) -> None:
        """Store what was measured."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer to measure alone.

    Attributes:
        shape, dtype: of its input, with a batch of 1; `out_shape` and `out_dtype` of its output.
        is_first, is_last: whether its input is the network's input, its output the network's output.
    """

    spec: LayerSpec
    shape: tuple[int, ...]
    dtype: torch.dtype
    out_shape: tuple[int, ...]
    out_dtype: torch.dtype
    is_first: bool
    is_last: bool

    @property
    def subject(self) -> str:
        """What tells it from every other layer, as a digest."""
        return digest([key_of(self.spec), list(self.shape), str(self.dtype)])


@dataclass(frozen=True, slots=True)
class Task:
    """Something to measure once: its digest, its name, and who writes it as a file."""

    subject: str
    what: str
    write: Callable[[Path], Path]


def digest(value: Any) -> str:
    """sha256 of a value's JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def place_of(bench: Bench, setting: Setting) -> tuple[str, dict[str, Any]]:
    """Where and how a number was measured: as a digest, and in words."""
    where = {**bench.place, **setting.as_dict()}
    return digest(where), where


# --- what to measure ---------------------------------------------------------------------------------


def example_of(space: SearchSpace) -> Tensor:
    """One sample of what a space's networks eat: zeros, whose values cost the same as any."""
    takes = space.takes
    assert takes is not None, space
    if isinstance(takes, ImageInput):
        return torch.zeros(1, takes.channels, takes.size, takes.size)
    return torch.zeros((1, takes.length), dtype=torch.int64)


def layers_of(space: SearchSpace, most: int) -> list[Layer]:
    """Every different layer of a space with the shapes of its input and output.

    Of a space with policies each layer is there once at every precision, wholly; mixes are priced part by part.

    Raises:
        TooManyLayers: there are more than `most`.
    """
    if isinstance(space, QuantizedSpace):
        precisions = space.precisions
        try:
            plain = layers_of(space.base, most // len(precisions))
        except TooManyLayers:
            raise TooManyLayers(
                f"{space.name} has more than {most} different layers, each at {len(precisions)} precisions; raise "
                "hardware.max_layers, or leave the table out with hardware.max_layers: 0."
            ) from None
        uniform = (replace(layer, spec=layer.spec.uniform(one)) for layer in plain for one in precisions)
        return list({key_of(layer.spec): layer for layer in uniform}.values())
    holders = distinct_layers(space, most)
    example = example_of(space)
    found: dict[LayerSpec, Layer] = {}
    for spec, architecture in holders.items():
        if spec not in found:
            _trace(space, architecture, example, found)
    return [found[spec] for spec in holders]


def _trace(space: SearchSpace, architecture: Architecture, example: Tensor, found: dict[LayerSpec, Layer]) -> None:
    """Note the shapes of the layers of one network that are new, without computing them where that can be."""
    specs = list(space.layers(architecture).values())
    x = example.to("meta")
    for place, spec in enumerate(specs):
        if spec not in found:
            out = _output_of(spec, x)
            ends = place == 0, place == len(specs) - 1
            found[spec] = Layer(spec, tuple(x.shape), x.dtype, tuple(out.shape), out.dtype, *ends)
        layer = found[spec]
        x = torch.empty(layer.out_shape, dtype=layer.out_dtype, device="meta")


def _output_of(spec: LayerSpec, x: Tensor) -> Tensor:
    """A layer's output for an input of this shape; only its own shape and type mean anything."""
    with torch.no_grad():
        try:
            with torch.device("meta"):
                block = build_block(spec).eval()
            out: Tensor = block(x)
        except (NotImplementedError, RuntimeError):
            # A layer that looks at values: computed for once.
            out = build_block(spec).eval()(torch.zeros(x.shape, dtype=x.dtype))
    return out


def layer_task(layer: Layer, setting: Setting) -> Task:
    """A network of one layer, with fresh weights: latency does not depend on them."""

    def write(folder: Path) -> Path:
        torch.manual_seed(0)
        layers = {"layer": layer.spec}
        inputs = torch.zeros(layer.shape, dtype=layer.dtype)
        network = with_stated_policy(Network(OrderedDict(layer=build_block(layer.spec))).eval(), layers, inputs)
        return write_measurable(network, layers, inputs, folder, setting, tied=False)

    return Task(layer.subject, key_of(layer.spec), write)


def network_task(space: SearchSpace, architecture: Architecture, setting: Setting) -> Task:
    """A whole network with fresh weights."""
    layers = space.layers(architecture)
    example = example_of(space)

    def write(folder: Path) -> Path:
        torch.manual_seed(0)
        network = with_stated_policy(build_network(layers).eval(), layers, example)
        return write_measurable(network, layers, example, folder, setting)

    subject = digest([[key_of(spec) for spec in layers.values()], list(example.shape)])
    return Task(subject, f"{space.name} {architecture.id}", write)


def probe_task(channels: int, size: int, copies: int, setting: Setting) -> Task:
    """A chain of 1x1 convolutions on maps of one shape."""
    spec = ConvSpec(channels, channels, 1, 1, size, "ReLU")
    layers: dict[str, LayerSpec] = {f"copy{i}": spec for i in range(copies)}

    def write(folder: Path) -> Path:
        torch.manual_seed(0)
        inputs = torch.zeros(1, channels, size, size)
        return write_measurable(build_network(layers).eval(), layers, inputs, folder, setting)

    return Task(digest(["probe", channels, size, copies]), f"{copies} of {key_of(spec)}", write)
