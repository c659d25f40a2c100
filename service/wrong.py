"""What is wrong with a value that pydantic refuses, in a sentence: what would be right, and what was got."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Kinds of pydantic's mistakes -> what would be right.
RIGHT = {
    **dict.fromkeys(("string_type", "path_type"), "text"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "a mapping"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("literal_error", "enum"), "{expected}"),
    "finite_number": "a finite number",
    "greater_than_equal": "at least {ge:.10g}",
    "greater_than": "above {gt:.10g}",
    "less_than_equal": "at most {le:.10g}",
    "less_than": "below {lt:.10g}",
    "string_too_short": "text with a length of at least {min_length}",
    "string_too_long": "text with a length of at most {max_length}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}
# Characters of a wrong value that a message repeats.
MOST_SHOWN = 100


def told(item: Mapping[str, Any]) -> str:
    """One of a ValidationError's `errors()` as a sentence that does not name the field."""
    if item["type"] == "missing":
        return "It is missing; give it."
    if item["type"] in RIGHT:
        return f"It must be {RIGHT[item['type']].format(**(item.get('ctx') or {}))}; got {shown(item['input'])}."
    message, given = str(item["msg"]).removeprefix("Value error, "), item.get("input")
    if isinstance(given, str | int | float | bool) and repr(given) not in message:
        return f"{message[:-1]}; got {shown(given)}." if message.endswith(".") else f"{message}, got {shown(given)}"
    return message


def shown(given: object) -> str:
    """What somebody gave, in short."""
    if given is None:
        return "nothing"
    if isinstance(given, str | int | float | bool):
        return repr(given) if len(repr(given)) <= MOST_SHOWN else f"{repr(given)[:MOST_SHOWN]}..."
    if isinstance(given, Mapping):
        return "a mapping"
    return "a list" if isinstance(given, list | tuple | set) else type(given).__name__
