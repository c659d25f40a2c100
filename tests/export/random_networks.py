"""Random networks of every family, none of whose numbers is zero or one by construction, and formats reloaded here.

A clean process for each network would cost seconds of imports; one that is exported whole has it (`test_formats`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from export.contents import BundleContents
from job.formats import Subject
from plugins.kinds import FORMATS
from search_space.adjustments import Adjustments
from search_space.architecture import Architecture
from search_space.plugins import load_family
from search_space.space import SearchSpace
from supernet.network import Network, Supernet, arguments, extract
from tests.supernet.brought import BROUGHT
from tests.supernet.checkpoints import CHECKPOINTS


def space_of(name: str) -> SearchSpace:
    """The space of a checkpoint of `CHECKPOINTS` or `BROUGHT`, or of a preset, such as `vit/cifar`."""
    if (config := checkpoint_of(name)) is not None:
        return load_family({**CHECKPOINTS, **BROUGHT}[name][0], None, None, config)
    family, preset = name.split("/")
    widths = {"stem_width": (8, 16), "stage*_width": (32, 64)}
    small = Adjustments(widths, classes=10) if name == "resnet/resnet50" else None
    return load_family(family, preset, small)


def checkpoint_of(name: str) -> dict[str, Any] | None:
    """config.json of a checkpoint; None: a preset."""
    if name not in CHECKPOINTS and name not in BROUGHT:
        return None
    _, kind, config = {**CHECKPOINTS, **BROUGHT}[name]
    return {**config.to_dict(), "architectures": [kind.__name__]}


def random_contents(
    space: SearchSpace,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    architecture: Architecture | None = None,
    **facts: Any,
) -> BundleContents:
    """A random network of a space, or this one with random weights, in evaluation mode."""
    architecture = architecture or space.sample(np.random.default_rng(seed))
    torch.manual_seed(seed)
    network = extract(Supernet(space), architecture).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.1 * torch.randn_like(buffer))
            if name.endswith("running_var"):
                buffer.mul_(0.5 + torch.rand_like(buffer))
    told = {"space": space.name, "dtype": str(dtype).removeprefix("torch."), **facts}
    return BundleContents(network.to(dtype), space.layers(architecture), told, "# A card\n")


def subject_of(contents: BundleContents) -> Subject:
    """What the API would know of it."""
    return Subject(contents.facts["space"], contents.layers, False, contents.facts["dtype"])


def samples_of(space: SearchSpace, count: int = 3) -> Tensor:
    """Inputs that its networks take: texts of 12 tokens, images of 64 pixels at most."""
    generator, takes = torch.Generator().manual_seed(1), space.takes
    if hasattr(takes, "vocab"):
        return torch.randint(1, takes.vocab, (count, 12), generator=generator)
    size = takes.size if space.name.startswith(("vit/", "convnext/", "mobilenet/checkpoint")) else min(takes.size, 64)
    return torch.randn(count, takes.channels, size, size, generator=generator)


def answers(network: Network, inputs: Tensor) -> np.ndarray[Any, Any]:
    """Logits of the network itself, computed in float32."""
    wide = network.float()
    with torch.no_grad():
        return wide(*arguments(wide, inputs)).numpy()


def reloaded(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, part: str = "") -> Callable[..., Any]:
    """What a format's `RELOAD` gives, in this process.

    Every folder has a `load.py`: the module and the path that find it are gone when the test has ended, so that the
    next test of this process reads its own.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in ("load", "load_int8"):
        monkeypatch.setitem(sys.modules, module, None)
        del sys.modules[module]
    scope: dict[str, Any] = {}
    exec(FORMATS.load(name).RELOAD, scope)
    run: Callable[..., Any] = scope["reload"](str(folder), part) if part else scope["reload"](str(folder))
    return run


def subjects_of_spec(name: str) -> tuple[Subject, Subject]:
    """What the API would know of the smallest network of a space, whose layers may differ, and of the largest."""
    space, facts = space_of(name), {"checkpoint": checkpoint_of(name)}
    smallest, largest = (space.layers(architecture) for architecture in (space.smallest(), space.largest()))
    return Subject(space.name, smallest, facts=facts), Subject(space.name, largest, facts=facts)
