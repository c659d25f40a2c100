"""The recipes that there are, as words that a job may say: one for each file of `job/recipes`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError

from plugins.kinds import RECIPES

if TYPE_CHECKING:

    class Recipe(StrEnum):
        """A paper's defaults. Its members are found when this is imported."""

else:
    Recipe = StrEnum("Recipe", {name.upper(): name for name in RECIPES.names()})
    Recipe.__doc__ = "A paper's defaults."


def _text(given: Any) -> Any:
    if not isinstance(given, str):
        raise PydanticKnownError("string_type")
    return given


RecipeName = Annotated[Recipe, BeforeValidator(_text)]
