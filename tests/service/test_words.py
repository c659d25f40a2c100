"""Words of a closed list are enums in OpenAPI, so that a generated client knows them."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.kinds import RECIPES
from search.metrics import Source
from service.api.app import create_app
from service.settings import Settings
from service.store.models import ExportState, JobState, Stage


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    app = create_app(Settings(database_url="postgresql://nowhere/winnow", redis_url="redis://nowhere"))
    found: dict[str, Any] = app.openapi()["components"]["schemas"]
    return found


def words(schemas: dict[str, Any], model: str, field: str) -> set[str]:
    """The words that a field may say, or the values of a field that maps names to them."""
    said = schemas[model]["properties"][field]
    said = said.get("additionalProperties", said)
    references = [one["$ref"] for one in (said, *said.get("anyOf", ()), *said.get("allOf", ())) if "$ref" in one]
    (reference,) = references
    return set(schemas[reference.rsplit("/", 1)[1]]["enum"])


@pytest.mark.parametrize(
    ("model", "field", "expected"),
    [
        ("JobOut", "state", JobState),
        ("JobOut", "stage", Stage),
        ("FrontOut", "state", JobState),
        ("GradientOut", "state", JobState),
        ("ExportOut", "state", ExportState),
        ("EvaluationOut", "sources", Source),
        ("FrontPointOut", "sources", Source),
        ("ReferenceOut", "sources", Source),
        ("BaselineOut", "sources", Source),
        ("JobSpec", "recipe", RECIPES.names()),
    ],
)
def test_a_word_of_a_closed_list_is_an_enum(schemas: dict[str, Any], model: str, field: str, expected: Any) -> None:
    assert words(schemas, model, field) == {str(word) for word in expected}
