"""The description of the API: every field, parameter and answer says what it is."""

from __future__ import annotations

import compileall
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from service.api.app import create_app
from service.settings import Settings


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return create_app(Settings(database_url="postgresql://x/x", redis_url="redis://x")).openapi()


def fields(description: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every field of every body, by `schema.field`."""
    for name, schema in description["components"]["schemas"].items():
        for field, said in schema.get("properties", {}).items():
            yield f"{name}.{field}", said


def test_every_field_is_described(description: dict[str, Any]) -> None:
    named = dict(fields(description))
    assert len(named) > 500
    assert sorted(name for name, said in named.items() if not _is_said(said)) == []


def test_every_schema_is_described(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    assert sorted(name for name, schema in schemas.items() if not _is_said(schema)) == []


def test_every_operation_and_parameter_is_described(description: dict[str, Any]) -> None:
    silent = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            silent += [] if operation.get("description") or operation.get("summary") else [f"{method} {path}"]
            for one in operation.get("parameters", ()):
                silent += [] if _is_said(one) else [f"{method} {path}: {one['name']}"]
    assert silent == []


def test_generators_find_a_name_of_its_own_for_each_schema_and_a_schema_for_each_body(
    description: dict[str, Any],
) -> None:
    """FastAPI puts the module before a name that two models have, and generators take it off again."""
    assert [name for name in description["components"]["schemas"] if "__" in name] == []
    bare = []
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            kinds = operation.get("requestBody", {}).get("content", {})
            bare += [f"{method} {path}" for kind in kinds.values() if "schema" not in kind]
    assert bare == []


@pytest.mark.thorough
def test_a_generated_client_compiles(description: dict[str, Any], tmp_path: Path) -> None:
    generator = shutil.which("openapi-python-client")
    if generator is None:
        pytest.skip(
            "openapi-python-client is not on the PATH; its packages are not ours, so it has its own environment"
        )
    (tmp_path / "openapi.json").write_text(json.dumps(description))
    command = [generator, "generate", "--meta", "none", "--path", "openapi.json", "--output-path", "made"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "parse" not in said.stdout, said.stdout  # nothing is left out
    assert compileall.compile_dir(tmp_path / "made", quiet=1)
    operations = sum(len(methods) for methods in description["paths"].values())
    assert len(list((tmp_path / "made" / "api").rglob("[a-z]*.py"))) >= operations


def _is_said(part: Mapping[str, Any]) -> bool:
    return bool(str(part.get("description", "")).strip()) or "const" in part
