"""The description of the API: every field, parameter and answer says what it is."""

from __future__ import annotations

import compileall
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from service.api.app import create_app, every_route
from service.api.openapi import UNSAID, describe
from service.settings import Settings

# What a summary begins with.
VERBS = (
    *("Add", "Announce", "Cancel", "Change", "Check", "Clone", "Compare", "Download", "Estimate", "Export", "Extend"),
    *("Finish", "Follow", "Heal", "List", "Make", "Measure", "Pause", "Plan", "Profile", "Read", "Remove", "Rerun"),
    *("Restore", "Resume", "Retry", "Revoke", "Send", "Share", "Sign", "Solve", "Stop", "Submit", "Upload"),
)
NAMES = ("Prometheus",)


class Cup(BaseModel):
    """What is left
    in a cup.

    More of it.
    """


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


def operations(description: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every operation, by `METHOD path`."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_parameter_is_described(description: dict[str, Any]) -> None:
    silent = [
        f"{name}: {one['name']}"
        for name, operation in operations(description)
        for one in operation.get("parameters", ())
        if not _is_said(one)
    ]
    assert silent == []


def test_a_summary_says_what_an_operation_does(description: dict[str, Any]) -> None:
    said = {name: operation["summary"] for name, operation in operations(description)}
    assert len(said) > 70
    assert len(set(said.values())) == len(said), [one for one, times in Counter(said.values()).items() if times > 1]
    assert {name: one for name, one in said.items() if not _is_title(one)} == {}


def test_no_summary_is_the_name_of_a_function(description: dict[str, Any]) -> None:
    app = create_app(Settings(database_url="postgresql://x/x", redis_url="redis://x"))
    said = {operation["summary"] for _, operation in operations(description)}
    echoes = {route.name.replace("_", " ").title() for _, _, route in every_route(app) if isinstance(route, APIRoute)}
    assert len(echoes) > 50
    assert said & echoes == set()


@pytest.mark.parametrize(
    "wrong", ["Read", "List Jobs", "The jobs", "List jobs.", "List " + "very " * 12 + "long names"]
)
def test_a_wrong_summary_is_found(wrong: str) -> None:
    assert not _is_title(wrong)
    assert _is_title("List jobs")


def test_every_answer_says_what_it_holds(description: dict[str, Any]) -> None:
    silent = [
        f"{name}: {status}"
        for name, operation in operations(description)
        for status, answer in operation["responses"].items()
        if not answer["description"] or answer["description"] == UNSAID or answer["description"].endswith(".")
    ]
    assert silent == []


def test_words_of_an_operation_are_its_docstring_and_those_of_an_answer_its_models() -> None:
    app = FastAPI()

    @app.get("/cup")
    def cup() -> Cup:
        """Read a cup.

        It may be empty.
        """
        return Cup()

    @app.get("/tea", response_description="Tea")
    def tea() -> dict[str, str]:
        """Read tea."""
        return {}

    described = describe(app.openapi(), iter([("GET", route.path, route) for route in app.routes[-2:]]))  # type: ignore[attr-defined]
    first, second = (described["paths"][path]["get"] for path in ("/cup", "/tea"))
    assert (first["summary"], first["description"]) == ("Read a cup", "It may be empty.")
    assert (second["summary"], second["description"]) == ("Read tea", "")
    assert first["responses"]["200"]["description"] == "What is left in a cup"
    assert second["responses"]["200"]["description"] == "Tea"


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


def _is_title(summary: str) -> bool:
    """A verb and more, in sentence case: names and short words in capitals may stand in it."""
    verb, *others = summary.split()
    is_sentence_case = all(word == word.lower() or word.isupper() or word in NAMES for word in others)
    return verb in VERBS and bool(others) and is_sentence_case and len(summary) <= 60 and not summary.endswith(".")


def _is_said(part: Mapping[str, Any]) -> bool:
    return bool(str(part.get("description", "")).strip()) or "const" in part
