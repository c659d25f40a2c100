"""Options: where a plug-in declares, once, what can be said about it.

A field is an option; its annotation has the bounds, its description the help. The API reads the class, a job is
checked and completed by it, and the plug-in itself is handed its instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Options(BaseModel):
    """A record of options: immutable, without unknown fields, infinity and NaN.

    Its validator is built when it is first used, so that declaring one costs little where it is only listed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


O_ = TypeVar("O_", bound=Options)

# JSON schema's words for bounds, in ours.
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def read(options: type[O_], given: Mapping[str, Any], whose: str) -> O_:
    """The record of what somebody wrote in code.

    Args:
        whose: what has the options, for messages, such as `Algorithm 'nsga2'`.

    Raises:
        ValueError: an option that is not there, or an impossible value, in a sentence.
    """
    try:
        return options.model_validate(dict(given))
    except ValidationError as error:
        raise ValueError(_told(options, error, whose)) from None


def _told(options: type[Options], error: ValidationError, whose: str) -> str:
    """The first mistake as a sentence."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"][:1])) or "options"
    known = [field for field, info in options.model_fields.items() if not info.exclude]
    if first["type"] == "extra_forbidden":
        return f"{whose} has no option {name!r}. Its options: {', '.join(known) or 'none'}."
    if first["type"] == "missing":
        return f"{whose} needs the option {name!r}."
    if first["type"] == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    right = _right(options, name) or f"{first['msg']}"
    return f"Got {name} {first['input']!r}; it must be {right}."


def _right(options: type[Options], name: str) -> str:
    """What an option may be, in words: `at least 2 and at most 10000`, `genes, params or macs`; empty if unknown."""
    schema = options.model_json_schema()["properties"].get(name, {})
    variants = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    if len(variants) != 1:
        return ""
    (one,) = variants
    if "enum" in one:
        *others, last = map(str, one["enum"])
        return f"{', '.join(others)} or {last}" if others else last
    bounds = [f"{word} {one[key]:.10g}" for key, word in BOUNDS.items() if key in one]
    kind = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}
    return " and ".join(bounds) if bounds else kind.get(one.get("type", ""), "")
