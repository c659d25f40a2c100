"""Families made from modules of one's own: what is grouped, what stays, what is refused."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_space import plugins
from search_space.adjustments import Adjustments
from supernet import contract
from supernet.contract import CHECKS, Subject
from supernet.from_module.graph import RefusedModule
from supernet.from_module.making import Made, check_shape, load_module
from tests.supernet.made_families import families_in, loaded_supernet, made_from, zero_unused


class Cell(nn.Module):
    """A residual block with squeeze and excitation."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, hidden, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.squeeze, self.excite = nn.Conv2d(hidden, 4, 1), nn.Conv2d(4, hidden, 1)
        self.project = nn.Conv2d(hidden, width, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm2(self.depthwise(F.relu(self.norm1(self.expand(x))))))
        y = y * torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return x + self.norm3(self.project(y))


class Network(nn.Module):
    """Repeated blocks, maps that are concatenated, channels that are taken apart, one layer for q, k and v."""

    def __init__(self, width: int = 16, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.cells = nn.Sequential(*(Cell(width, 2 * width) for _ in range(3)))
        self.left, self.right = nn.Conv2d(width, 8, 1), nn.Conv2d(width, 12, 1)
        self.mix_norm = nn.BatchNorm2d(20)
        self.mix = nn.Conv2d(20, width, 1)
        self.gates = nn.Linear(width, 2 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cells(F.relu(self.stem(x)))
        x = self.mix(F.relu(self.mix_norm(torch.cat([self.left(x), self.right(x)], 1))))
        x = x.flatten(2).transpose(1, 2)
        gate, value = self.gates(x).chunk(2, -1)
        x = x + F.silu(gate) * value
        q, k, v = self.qkv(x).reshape(x.shape[0], -1, 3, 4, x.shape[-1] // 4).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head(self.dropout(x.mean(1)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A family of `Network`."""
    torch.manual_seed(0)
    return made_from(Network(), tmp_path_factory.mktemp("families"), side=8, channels=1)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_the_contract(made: Made, check: Callable[[Subject], str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in {"DESCRIBED": 40, "MOST_RUN": 12}.items():
        monkeypatch.setattr(contract, name, number)
    with families_in(made.file.parent):
        check(Subject(plugins.load_family("mine", "module")))


def test_a_slice_is_the_largest_network_without_what_it_leaves_out(made: Made) -> None:
    """Zeros in place of what a smaller network has not: so channels are those of the same places everywhere."""
    with families_in(made.file.parent):
        for seed in range(6):
            supernet = loaded_supernet(made.file.parent)
            space = supernet.space
            small = space.sample(np.random.default_rng(seed))
            x = torch.randn(2, 1, 8, 8)
            with torch.no_grad():
                zero_unused(supernet, small)
                torch.testing.assert_close(supernet(x, space.largest()), supernet(x, small), rtol=1e-4, atol=1e-5)


def test_groups_repeats_and_reasons_are_what_the_module_has(made: Made) -> None:
    assert made.difference <= 1e-5
    assert made.depths == {"stage1_depth": (1, 2, 3)}
    heads = [name for name in made.widths if name.endswith("heads")]
    assert [made.widths[name] for name in heads] == [(2, 3, 4)]
    text = made.file.read_text()
    assert '"head.weight[1]"' in text
    assert any("dropout (p=0.1) is left out" in line for line in made.kept)
    assert any("qkv.weight[0]" in line for line in made.kept)  # 3, and the width of a head


def test_another_number_of_classes_has_a_fresh_classifier(made: Made) -> None:
    from supernet.weights import pretrained_supernet

    with families_in(made.file.parent):
        supernet, loaded = pretrained_supernet(made.weights, "module", Adjustments(classes=7))
        assert set(loaded.fresh) == {"head.weight", "head.bias"}
        assert supernet(torch.randn(2, 1, 8, 8), supernet.space.smallest()).shape == (2, 7)


def test_the_file_alone_needs_nothing_of_the_module(made: Made) -> None:
    imported = [line for line in made.file.read_text().splitlines() if "import" in line]
    assert not [line for line in imported if "tests" in line]


# --- refusals -----------------------------------------------------------------------------------


class Branching(nn.Module):
    """Its way depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.head = nn.Linear(64, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x.flatten(1))
        if y.sum() > 0:  # the line that is named
            y = -y
        return self.head(y)


class Shared(nn.Module):
    """A module that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.middle, self.head = nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.middle(self.one(x.flatten(1))))
        return self.head(F.relu(self.middle(y)))


class Tied(Shared):
    """Two modules with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8, 8)
        self.last.weight = self.middle.weight

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.middle(self.one(x.flatten(1))))
        return self.head(F.relu(self.last(y)))


class OneBatch(nn.Module):
    """The number of samples is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.head = nn.Linear(64, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.one(x.flatten(1)).view(2, 8))


class Features(nn.Module):
    """No logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Rigid(nn.Module):
    """Nothing of it can be narrower."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Branching, r"depends on the values of its input .*test_from_module.py, line \d+: if y.sum\(\) > 0"),
        (
            Shared,
            r"Module 'middle' is shared: its weight is used 2 times, .* middle \(test_from_module.py, line \d+\)",
        ),
        (Tied, r"'(middle|last)' is shared: its weight is used 2 times, by linear in middle \(test_from_module.py"),
        (OneBatch, r"for one number of samples only|torch.export cannot read"),
        (Features, r"logits have the shape \(batch, classes\)"),
        (Rigid, r"Nothing of the module can be made smaller"),
    ],
)
def test_a_module_that_becomes_no_family_is_refused(module: type[nn.Module], reason: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedModule, match=reason):
        made_from(module(), tmp_path, side=8, channels=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", ["3,224,224", "1,3,224,112", "1,x,2,2", "0,3,8,8"])
def test_a_shape_that_is_no_square_image_is_refused(shape: str) -> None:
    with pytest.raises(RefusedModule, match="1,3,224,224"):
        check_shape(shape)


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ("model", "say mypackage.model:make"),
        ("nonsuch_package:make", "No module named"),
        ("own_package.model:nonsuch", "no attribute 'nonsuch'"),
        ("own_package.model:number", "gives int"),
        ("own_package.model:failing", r"model.py, line 7\): ZeroDivisionError"),
    ],
)
def test_what_gives_no_module_is_refused(
    origin: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_package").mkdir()
    source = """
    from torch import nn

    def number():
        return 3

    def failing():
        1 / 0
    """
    (tmp_path / "own_package" / "model.py").write_text(textwrap.dedent(source).lstrip())
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RefusedModule, match=reason):
        load_module(origin)


def test_names_that_are_taken_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedModule, match="'vit' is a built-in family"):
        made_from(Network(), tmp_path, side=8, channels=1, name="vit")
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(RefusedModule, match="is there already"):
        made_from(Network(), tmp_path, side=8, channels=1)
