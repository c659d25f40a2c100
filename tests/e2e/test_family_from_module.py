"""A module of one's own, as a family, through the command line, the API and a worker to an export."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from service.client import Client
from service.stack import Stack
from tests.conftest import TINY_JOB
from tests.e2e.helpers import is_finished, wait_for

pytestmark = pytest.mark.e2e

MODEL = '''
import torch
from torch import nn


class Cell(nn.Module):
    """A residual block."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.up, self.down = nn.Conv2d(width, 16, 3, padding=1), nn.Conv2d(16, width, 1)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Network(nn.Module):
    """A small network of one's own, for digits."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.cells = nn.ModuleList([Cell(8) for _ in range(3)])
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        return self.head(torch.relu(x).mean((2, 3)))


def make():
    torch.manual_seed(0)
    return Network()


def branching():
    class Branching(Network):
        def forward(self, x):
            if x.mean() > 0:
                x = -x
            return super().forward(x)

    return Branching()
'''


def winnow(*words: str, folder: Path, families: Path) -> subprocess.CompletedProcess[str]:
    """The command line, run where one's own package lies."""
    return subprocess.run(
        [sys.executable, "-m", "service.cli", "family", *words],
        cwd=folder,
        env={**os.environ, "WINNOW_FAMILIES_DIR": str(families), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a package of one's own."""
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "model.py").write_text(textwrap.dedent(MODEL))
    return tmp_path


@pytest.mark.thorough
def test_a_module_becomes_a_family_that_is_checked_and_searched(stack: Stack, client: Client, package: Path) -> None:
    families = stack.families_dir
    assert families is not None
    asked = ("from-module", "own_package.model:make", "--input", "1,1,8,8", "--name", "digit_cells")
    done = winnow(*asked, folder=package, families=families)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stage1_depth" in done.stdout
    again = winnow(*asked, folder=package, families=families)
    assert again.returncode != 0
    assert "is there already" in again.stdout + again.stderr

    checked = winnow("check", str(families / "digit_cells.py"), folder=package, families=families)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "answers as that module did" in checked.stdout
    assert "safetensors" in checked.stdout
    assert "onnx" in checked.stdout

    # Jobs read nothing of the service's own folder, in which the families of this test lie.
    weights = shutil.copytree(families / "digit_cells", package / "weights")
    supernet = {"family": "digit_cells", "preset": "module", "pretrained": str(weights)}
    job = client.submit({**TINY_JOB, "supernet": supernet, "data": {"source": "digits"}, "name": "one's own module"})
    job = wait_for(client, job["id"], is_finished)
    assert job["state"] == "succeeded", job["message"]
    front = client.front(job["id"])
    assert all(point["values"].keys() >= {"width1", "stage1_depth"} for point in front["points"])
    export = client.export(job["id"], front["knee"])
    assert export["report"]["formats"]["safetensors"]["max_abs_difference"] == 0


@pytest.mark.thorough
def test_control_flow_that_depends_on_data_is_refused_with_its_line(stack: Stack, package: Path) -> None:
    families = stack.families_dir
    assert families is not None
    asked = ("from-module", "own_package.model:branching", "--input", "1,1,8,8", "--name", "branching")
    done = winnow(*asked, folder=package, families=families)
    assert done.returncode != 0
    line = MODEL.splitlines().index("            if x.mean() > 0:") + 1
    assert f"line {line}" in " ".join((done.stdout + done.stderr).split())
    assert not (families / "branching.py").exists()
