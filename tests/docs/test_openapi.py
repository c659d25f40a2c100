"""The description of the API: every field, parameter and answer says what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def _is_said(part: Mapping[str, Any]) -> bool:
    return bool(str(part.get("description", "")).strip()) or "const" in part
