"""Families made from modules, for tests: written, loaded, and forgotten again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from search_space import plugins
from search_space.architecture import Architecture
from search_space.space import SearchSpace
from supernet.from_module.making import Made, make_family
from supernet.network import Supernet
from supernet.weights import load_pretrained


@contextmanager
def families_in(folder: Path) -> Iterator[None]:
    """Look for families in a folder."""
    plugins.use_families_dir(folder)
    try:
        yield
    finally:
        plugins.use_families_dir(None)
        if str(folder.resolve()) in sys.path:
            sys.path.remove(str(folder.resolve()))


def made_from(module: nn.Module, folder: Path, side: int = 32, channels: int = 3, name: str = "mine") -> Made:
    """A family of a module whose norms differ from channel to channel, as those of a trained one do."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                    if tensor is not None:
                        tensor.uniform_(0.5, 1.5, generator=generator)
    return make_family(module, "tests:make", (1, channels, side, side), name, folder, replace=False)


def loaded_supernet(folder: Path, name: str = "mine") -> Supernet:
    """The supernet of a family with the module's weights, in evaluation mode."""
    supernet = Supernet(plugins.load_family(name, "module"))
    load_pretrained(supernet, folder / name)
    return supernet.eval()


def zero_unused(supernet: Supernet, architecture: Architecture) -> None:
    """Make every weight 0 that a network has no part of."""
    counts: dict[torch.Tensor, torch.Tensor] = {}
    for slot, spec in supernet.layers(architecture).items():
        supernet.slot(slot).add_uses(spec, counts)
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter in counts:
                parameter.mul_(counts[parameter] > 0)
            else:
                parameter.zero_()


def without(space: SearchSpace, architecture: Architecture, names: set[str]) -> Architecture:
    """The same network with these choices at their largest."""
    options = {choice.name: choice.options[-1] for choice in space.choices}
    return space.architecture(**{**options, **architecture.values, **{name: options[name] for name in names}})
