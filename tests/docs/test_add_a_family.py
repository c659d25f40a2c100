"""docs/add-a-family.md is true: its files are checked, trained, extracted, exported and loaded elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from export.bundle import BundleContents, write_bundle
from job.spec import JobSpec
from search_space import plugins
from supernet.data import load_dataset
from supernet.evaluate import accuracy
from supernet.methods.bignas.method import BigNAS
from supernet.network import Supernet, extract
from supernet.trainer import Trainer, TrainingOptions
from tests.docs.families import documented_files, with_own_module, write_documented_family


# One file goes the whole way in tests/e2e/test_users_family.py.
@pytest.fixture(params=[pytest.param("one file", marks=pytest.mark.thorough), "with a module of one's own"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The families folder of a reader."""
    families = write_documented_family(tmp_path / "families")
    if request.param != "one file":
        family = families / "residual.py"
        family.write_text(with_own_module(family.read_text()))
        (families / "_mine.py").write_text(documented_files()["_mine.py"])
    plugins.use_families_dir(families)
    yield families
    plugins.use_families_dir(None)
    sys.path.remove(str(families.resolve()))
    sys.modules.pop("_mine", None)


def test_the_family_passes_its_check(tmp_path: Path) -> None:
    families = write_documented_family(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "family", "check", "residual"],
        env={**os.environ, "WINNOW_FAMILIES_DIR": str(families)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "residual/digits" in done.stdout
    assert "All checks passed" in done.stdout


@pytest.mark.thorough
def test_it_trains_on_digits_and_its_export_needs_neither_winnow_nor_the_file(folder: Path, tmp_path: Path) -> None:
    spec = JobSpec.model_validate({"supernet": {"family": "residual", "preset": "digits"}})
    space = spec.supernet.space()
    data = load_dataset("digits", 0)
    torch.manual_seed(0)
    supernet = Supernet(space)
    training = spec.training.model_dump(include=set(TrainingOptions.model_fields)) | {"epochs": 10}
    options = TrainingOptions(**(training | {"lr_decay_epochs": 10 / 150}))
    trainer = Trainer(supernet, BigNAS(), data.train, options, seed=0)
    while trainer.steps_done < trainer.num_steps:
        trainer.step()
    architecture = space.architecture(width=32, depth=2, block1_hidden=64, block2_hidden=32)
    network = extract(supernet.eval(), architecture)
    assert accuracy(network, data.test) > 0.8

    subject = BundleContents(network, space.layers(architecture), {"name": "documented"}, "# A network\n")
    bundle = write_bundle(subject, data.test.x, data.test.y, tmp_path / "exports" / "documented")
    assert bundle.report["formats"]["safetensors"]["max_abs_difference"] == 0
    assert (bundle.folder / "_mine.py").is_file() == (folder / "_mine.py").is_file()

    # On another machine: the archive alone.
    elsewhere = tmp_path / "elsewhere"
    with tarfile.open(bundle.archive) as archive:
        archive.extractall(elsewhere, filter="data")
    shutil.rmtree(folder)
    script = (
        "import sys, json, torch; sys.path.insert(0, sys.argv[1]); from load import model; "
        "torch.manual_seed(1); print(json.dumps(model(torch.randn(2, 1, 8, 8)).tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(elsewhere / "documented")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    torch.manual_seed(1)
    assert torch.equal(torch.tensor(json.loads(done.stdout)), network(torch.randn(2, 1, 8, 8)))
