"""What a network eats, by the kind of its first layer. A new kind of first layer needs a line here."""

from collections.abc import Callable

import torch

from search_space import LayerSpec, SearchSpace

INPUTS: dict[str, Callable[[LayerSpec, int, torch.Generator], torch.Tensor]] = {
    "resize": lambda spec, batch, generator: torch.randn(
        batch, spec.channels, spec.size, spec.size, generator=generator
    ),
    "conv": lambda spec, batch, generator: torch.randn(
        batch, spec.in_channels, spec.size, spec.size, generator=generator
    ),
}


def example_input(space: SearchSpace, batch: int) -> torch.Tensor:
    """Random inputs for the networks of a space, the same on every call."""
    first = next(iter(space.layers(space.largest()).values()))
    assert first.kind in INPUTS, (
        f"tests/contracts/inputs.py does not know what a network starting with {first.kind!r} eats"
    )
    return INPUTS[first.kind](first, batch, torch.Generator().manual_seed(0))
