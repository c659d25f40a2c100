"""Small networks with weights that a quantizer can go wrong on, and batches for them."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from quantization.calibration import SharedStatistics, calibrate_activations
from quantization.policies import Quantization
from quantization.quantizable import QuantizableNetwork
from quantization.quantized_space import QuantizedSpace
from search_space.architecture import Architecture
from search_space.inputs import ImageInput
from search_space.plugins import load_family
from supernet.calibrate import calibrate
from supernet.network import Supernet, extract

FAMILIES = {
    "mobilenet": ("digits", (8, 32), {}),
    "resnet": ("cifar", (8, 32), {}),
    "proxyless": ("cifar_operations", (8, 32), {}),
    "vit": ("cifar", (8, 32), {}),
    "bert": ("tiny", (8, 32), {}),
    "llama": ("tiny", (4, 8, 32), {8: "int8_weight"}),
}


def space_of(family: str, **asked: object) -> QuantizedSpace:
    preset, bits, schemes = FAMILIES[family]
    return QuantizedSpace(load_family(family, preset), Quantization(**{"bits": bits, "schemes": schemes, **asked}))


def inputs_for(space: QuantizedSpace, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    takes = space.takes
    if isinstance(takes, ImageInput):
        return torch.randn(count, takes.channels, takes.size, takes.size, generator=generator)
    assert takes is not None
    return torch.randint(0, takes.vocab, (count, 12), generator=generator)


def batches(inputs: Tensor) -> Callable[[], Iterable[tuple[Tensor, None]]]:
    return lambda: [{"input": inputs}]


def quantizable(
    space: QuantizedSpace,
    architecture: Architecture,
    observer: str = "minmax",
    shared: SharedStatistics | None = None,
    supernet: Supernet | None = None,
) -> QuantizableNetwork:
    """A calibrated network of random weights."""
    torch.manual_seed(0)
    network = space.network(architecture)
    plain = extract(supernet or Supernet(space.base), network)
    inputs = inputs_for(space, 24)
    if inputs.is_floating_point():
        calibrate(plain, [inputs])
    layers = space.base.layers(network)
    made = QuantizableNetwork(plain.eval(), layers, {"input": inputs[:2]})
    calibrate_activations(made, layers, batches(inputs), observer, shared)
    return made
