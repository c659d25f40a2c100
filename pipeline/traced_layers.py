"""Every different layer of a space, with the shapes that it meets inside a network, found by running its blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from predictors.instrument import Layer, Sample
from predictors.tables import key_of
from quantization.quantized_space import QuantizedSpace
from search_space.architecture import Architecture
from search_space.distinct import TooManyLayers, distinct_layers
from search_space.layers import LayerSpec
from search_space.space import SearchSpace
from supernet.inputs import Flow
from supernet.slot import build_block


def layers_of(space: SearchSpace, most: int) -> list[Layer]:
    """Every different layer of a space with what it takes and gives.

    In a space with policies each layer is there once at every precision, wholly; mixes are priced part by part.

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
        uniform = (layer.at(layer.spec.uniform(one)) for layer in plain for one in precisions)
        return list({key_of(layer.spec): layer for layer in uniform}.values())
    holders = distinct_layers(space, most)
    found: dict[LayerSpec, Layer] = {}
    for spec, architecture in holders.items():
        if spec not in found:
            _trace(space, architecture, found)
    return [found[spec] for spec in holders]


def _trace(space: SearchSpace, architecture: Architecture, found: dict[LayerSpec, Layer]) -> None:
    """Note what the layers of one network that are new take and give, without computing them where that can be."""
    specs = list(space.layers(architecture).values())
    flow = Flow({name: _empty(sample) for name, sample in Sample.of(space).items()})
    for place, spec in enumerate(specs):
        with torch.device("meta"):
            block = build_block(spec).eval()
        begins = flow.x is None or bool(getattr(block, "reads", ""))
        flow = flow.into(block)
        assert flow.x is not None
        takes = _sample(flow.x)
        if spec not in found:
            gives = _sample(_output_of(spec, block, takes))
            found[spec] = Layer(spec, takes, gives, begins, place == len(specs) - 1)
        flow = flow.gave(_empty(found[spec].gives))


def _empty(sample: Sample) -> Tensor:
    return torch.empty(sample.shape, dtype=getattr(torch, sample.dtype), device="meta")


def _sample(x: Tensor) -> Sample:
    return Sample(tuple(x.shape), str(x.dtype).removeprefix("torch."))


def _output_of(spec: LayerSpec, block: nn.Module, takes: Sample) -> Tensor:
    """A layer's output for such an input; only its shape and type mean anything.

    Args:
        block: the layer without storage.
    """
    dtype = getattr(torch, takes.dtype)
    with torch.no_grad():
        try:
            out: Tensor = block(_empty(takes))
        except (NotImplementedError, RuntimeError):
            # A layer that looks at values: computed for once.
            out = build_block(spec).eval()(torch.zeros(takes.shape, dtype=dtype))
    return out
