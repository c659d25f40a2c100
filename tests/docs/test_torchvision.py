"""docs/families.md makes a checkpoint of torchvision's weights: its lines are run with a module of the same names."""

from __future__ import annotations

import sys
from contextlib import chdir
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from supernet.weights import pretrained_supernet
from tests.docs.blocks import BLOCKS, TORCHVISION
from tests.supernet.published_cnns import TorchvisionMobile


def test_the_lines_of_the_page_make_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (one for one in BLOCKS if one.elsewhere is not None and one.elsewhere.reason == TORCHVISION)
    model = TorchvisionMobile("mobilenet_v3_large", classes=1000).eval()
    torchvision = ModuleType("torchvision")
    vars(torchvision)["models"] = SimpleNamespace(mobilenet_v3_large=lambda weights: model)
    with monkeypatch.context() as installed, chdir(tmp_path):
        installed.setitem(sys.modules, "torchvision", torchvision)
        exec(compile(block.text, str(block), "exec"), {})
    supernet, loaded = pretrained_supernet(tmp_path)
    assert loaded.fresh == ()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        answers = supernet.eval()(x, supernet.space.largest())
        assert (answers - model(x)).abs().max() <= 1e-5 * answers.abs().max()
