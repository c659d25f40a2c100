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
from search_space.beit3_configs import RETRIEVAL, VQA, of_beit3
from search_space.inputs import PairInput
from search_space.plugins import family_of, load_family
from search_space.space import SearchSpace
from search_space.timm_configs import TORCHVISIONS, of_timm
from supernet.network import Network, Supernet, arguments, extract
from tests.supernet import beit3, beit3_vqa, towers
from tests.supernet.brought import BROUGHT
from tests.supernet.checkpoints import CHECKPOINTS

# Who has published an architecture -> a name of its weights by which it is known.
PUBLISHED = {"timm": "conv_stem.weight", "torchvision": TORCHVISIONS}

# Model types of BEiT-3's image-text forms.
BEIT3: dict[str, Any] = {RETRIEVAL: beit3, VQA: beit3_vqa}

# A seed whose network of each space is none that is alike in all layers by chance.
DRAWN = 3


def space_of(name: str) -> SearchSpace:
    """The space of a checkpoint (see `checkpoint_of`), or of a preset, such as `vit/cifar`."""
    if (config := checkpoint_of(name)) is not None:
        return load_family(family_of(config), None, None, config)
    family, preset = name.split("/")
    widths = {"stem_width": (8, 16), "stage*_width": (32, 64)}
    small = Adjustments(widths, classes=10) if name == "resnet/resnet50" else None
    return load_family(family, preset, small)


def checkpoint_of(name: str) -> dict[str, Any] | None:
    """config.json of a checkpoint; None: a preset.

    Args:
        name: a key of `CHECKPOINTS` or `BROUGHT`, a kind of two towers, one of BEiT-3's image-text forms, or `timm/` or
            `torchvision/` with the name of an architecture of theirs.
    """
    whose, _, architecture = name.partition("/")
    if whose in PUBLISHED:
        facts = {"architecture": architecture, "num_classes": 7, "pretrained_cfg": {"input_size": [3, 64, 64]}}
        return of_timm(facts, (PUBLISHED[whose],))
    if name in BEIT3:
        form = BEIT3[name]
        return of_beit3({"architecture": form.NAME, "model_args": form.ARGUMENTS}, form.tensors())
    if name in towers.KINDS:
        model = towers.model_of(name)
        return {**model.config.to_dict(), "architectures": [type(model).__name__]}
    if name not in CHECKPOINTS and name not in BROUGHT:
        return None
    _, kind, config = {**CHECKPOINTS, **BROUGHT}[name]
    return {**config.to_dict(), "architectures": [kind.__name__]}


def random_architecture(space: SearchSpace, seed: int) -> Architecture:
    """The same one whenever it is asked for."""
    return space.sample(np.random.default_rng(seed))


def random_contents(
    space: SearchSpace,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    architecture: Architecture | None = None,
    **facts: Any,
) -> BundleContents:
    """A random network of a space, or this one with random weights, in evaluation mode."""
    architecture = architecture or random_architecture(space, seed)
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


def samples_of(space: SearchSpace, count: int = 3) -> Tensor | dict[str, Tensor]:
    """Inputs that its networks take: texts of 12 tokens, images of 64 pixels at most, or pairs of both."""
    generator, takes = torch.Generator().manual_seed(1), space.takes
    if space.name.startswith(("two_tower/", "multiway/")):
        assert isinstance(takes, PairInput)
        return beit3.pairs(count) if takes.vocab == beit3.VOCAB and takes.end == beit3.END else towers.pairs(count)
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


def subjects_of_spec(name: str) -> tuple[Subject, Subject, Subject]:
    """What the API would know of the smallest network of a space, of the largest, and of a random one."""
    space, facts = space_of(name), {"checkpoint": checkpoint_of(name)}
    small, large, drawn = (
        space.layers(a) for a in (space.smallest(), space.largest(), random_architecture(space, DRAWN))
    )
    return tuple(Subject(space.name, layers, facts=facts) for layers in (small, large, drawn))  # type: ignore[return-value]
