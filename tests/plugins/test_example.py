"""The example package: built and installed as a stranger's is, it keeps Winnow's contracts and a job may name it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]

# What an API and a worker do with a job that names every plug-in of the package.
LIFE_OF_A_JOB = """
import json
import torch
from fastapi.testclient import TestClient
from job.resolve import resolve
from job.spec import JobSpec
from pipeline.materials import fresh_supernet, make_trainer, prepare_data
from search.algorithms import make_algorithm
from service.api.app import create_app
from service.settings import Settings

spec = resolve(JobSpec.model_validate({
    "data": {"source": "stripes", "count": 30},
    "training": {"method": "balanced", "epochs": 1, "options": {"weight": 0.25}},
    "search": {"algorithm": "hill_climb", "options": {"batch": 3}},
}))
space, device = spec.space(), torch.device("cpu")
data = prepare_data(spec, space, device)
trainer = make_trainer(spec, fresh_supernet(spec, space, data, device), data)
objectives, _ = spec.goals
asked = make_algorithm(spec.search.algorithm, space, objectives, **spec.search.options).ask()
servers = {"database_url": "postgresql://nobody@localhost:1/none", "redis_url": "redis://localhost:1/0"}
app = create_app(Settings(**servers, auth="off", allowed_hosts="testserver"))
client = TestClient(app)
catalog, document = client.get("/v1/catalog").json(), client.get("/openapi.json").json()
offered = document["components"]["schemas"]["SearchSpec"]["properties"]["options"]["anyOf"]
print(json.dumps({
    "classes": data.num_classes,
    "step": trainer.step(),
    "asked": len(asked),
    "batch": catalog["search_algorithms"]["hill_climb"]["properties"]["batch"],
    "weight": catalog["training_methods"]["balanced"]["properties"]["weight"],
    "directions": catalog["data_sources"]["stripes"]["properties"]["directions"],
    "format": catalog["export_formats"]["numpy_weights"],
    "refused": catalog["plugins_refused"],
    "offered": [one["title"] for one in offered],
    "data": [name for name in document["components"]["schemas"] if name == "StripesSpec"],
}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs Python where the package is installed."""
    folder = tmp_path_factory.mktemp("example")
    source, installed = folder / "source", folder / "installed"
    shutil.copytree(ROOT / "examples" / "plugin", source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    offline = ["--no-build-isolation", "--no-index", "--target", str(installed), str(source)]
    done = subprocess.run([*pip, *offline], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)])}
    # Its tests run against what was installed.
    shutil.rmtree(source / "winnow_example")

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)

    return python


def test_the_packages_own_tests_pass(run: Run) -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-3000:]
    # One is skipped: what a source says of a path that is not there, of which this one has none.
    assert re.search(r"^\d+ passed, 1 skipped", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.thorough
def test_a_job_that_names_its_plug_ins_is_checked_trained_and_searched(run: Run) -> None:
    done = run("-c", LIFE_OF_A_JOB)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["classes"] == 10
    assert set(told["step"]) == {"loss_largest", "loss_random", "learning_rate"}
    assert told["asked"] == 3
    assert (told["batch"]["minimum"], told["batch"]["maximum"]) == (1, 1000)
    assert told["batch"]["description"] == "Architectures asked for at a time."
    assert told["weight"]["exclusiveMinimum"] == 0
    assert told["directions"]["default"] == 10
    assert told["format"].startswith("`weights.npz`")
    assert not any(told["refused"].values())
    assert {"hill_climb", "nsga2"} <= set(told["offered"])
    assert told["data"] == ["StripesSpec"]
