"""The public door: what `import winnow` gives, and that it costs nothing until it is used."""

import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from typer.testing import CliRunner

import winnow
from service.cli import app
from service.client import Client

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_import_brings_nothing_heavy():
    heavy = ("torch", "fastapi", "pydantic", "sqlalchemy", "numpy", "httpx")
    script = f"import sys, winnow; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_that_is_promised_is_there():
    assert all(getattr(winnow, name) is not None for name in winnow.__all__)
    assert set(winnow.__all__) <= set(dir(winnow))
    assert winnow.Client is Client


def test_a_wrong_name_is_answered_with_the_right_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'client'; it has AsyncClient, "):
        _ = winnow.client


def test_the_version_is_the_distributions_everywhere():
    assert winnow.__version__ == PROJECT["version"]
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.stdout.strip()) == (0, f"winnow {PROJECT['version']}")


def test_types_are_shipped():
    assert resources.files("winnow").joinpath("py.typed").is_file()
    assert (
        "py.typed"
        in tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["tool"]["setuptools"][
            "package-data"
        ]["winnow"]
    )


def test_a_space_is_profiled_without_a_server():
    found = winnow.profile(family="mobilenet", preset="digits", limits={"macs": 100_000}, samples=50)
    assert found.space == "mobilenet/digits"
    assert [(limit.metric, limit.limit) for limit in found.limits] == [("macs", 100_000)]
    assert found.feasibility.answer == "feasible"


def test_a_profiles_limit_takes_the_place_of_the_jobs():
    job = {"recipe": "bignas", "objectives": [{"metric": "accuracy"}, {"metric": "macs", "limit": 5}]}
    found = winnow.profile(job, limits={"macs": 100_000}, samples=50)
    assert [(limit.metric, limit.limit) for limit in found.limits] == [("macs", 100_000)]


def test_nothing_to_profile_is_told():
    with pytest.raises(ValueError, match="Nothing names a space"):
        winnow.profile()


def test_completion_offers_the_commands():
    environment = {"_WINNOW_COMPLETE": "complete_bash", "COMP_WORDS": "winnow su", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], env=environment, prog_name="winnow")
    assert done.stdout.split() == ["submit", "supernets"]
