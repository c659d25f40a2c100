"""Every different layer of a space, with the shapes that it meets inside a network, found by running its blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from predictors.instrument import Layer, Sample
from predictors.tables import key_of
from quantization.quantized_space import QuantizedSpace
from search_space.architecture import Architecture
from search_space.distinct import TooManyLayers, distinct_layers
from search_space.layers import LayerSpec
from search_space.space import SearchSpace
from supernet.slot import build_block


def layers_of(space: SearchSpace, most: int) -> list[Layer]:
    """Every different layer of a space with what it takes and gives.

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
        uniform = (layer.at(layer.spec.uniform(one)) for layer in plain for one in precisions)
        return list({key_of(layer.spec): layer for layer in uniform}.values())
    holders = distinct_layers(space, most)
    takes = Sample.of(space)
    found: dict[LayerSpec, Layer] = {}
    for spec, architecture in holders.items():
        if spec not in found:
            _trace(space, architecture, takes, found)
    return [found[spec] for spec in holders]


def _trace(space: SearchSpace, architecture: Architecture, takes: Sample, found: dict[LayerSpec, Layer]) -> None:
    """Note what the layers of one network that are new take and give, without computing them where that can be."""
    specs = list(space.layers(architecture).values())
    for place, spec in enumerate(specs):
        if spec not in found:
            out = _output_of(spec, takes)
            gives = Sample(tuple(out.shape), str(out.dtype).removeprefix("torch."))
            found[spec] = Layer(spec, takes, gives, place == 0, place == len(specs) - 1)
        takes = found[spec].gives


def _output_of(spec: LayerSpec, takes: Sample) -> Tensor:
    """A layer's output for such an input; only its shape and type mean anything."""
    dtype = getattr(torch, takes.dtype)
    with torch.no_grad():
        try:
            with torch.device("meta"):
                block = build_block(spec).eval()
            out: Tensor = block(torch.empty(takes.shape, dtype=dtype, device="meta"))
        except (NotImplementedError, RuntimeError):
            # A layer that looks at values: computed for once.
            out = build_block(spec).eval()(torch.zeros(takes.shape, dtype=dtype))
    return out
