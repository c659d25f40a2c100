"""Options: where a plug-in declares, once, what can be said about it.

A field is an option; its annotation has the bounds, its description the help. The API reads the class, a job is
checked and completed by it, and the plug-in itself is handed its instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class Options(BaseModel):
    """A record of options: immutable, without unknown fields, infinity and NaN.

    Its validator is built when it is first used, so that declaring one costs little where it is only listed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


O_ = TypeVar("O_", bound=Options)

# JSON schema's words for bounds, in ours.
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


@dataclass(frozen=True, slots=True)
class NamesFile:
    """In the annotation of an option: its text is a path on the workers, so it is judged as every path of a job is.

    Attributes:
        or_hub: whether a text that is no absolute path is a name of the Hugging Face Hub.
    """

    or_hub: bool = False


def paths_of(options: BaseModel) -> Iterator[tuple[str, str, bool]]:
    """Every path in a record: the option, the path, and whether it may be a name of the Hub instead.

    A path is what `NamesFile` says is one, any `pathlib.Path`, and what is called `path`, marked or not.
    """
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        mark = next(_marks((field.annotation, *field.metadata)), NamesFile() if name == "path" else None)
        for inner, text in _texts(name, value, marked=mark is not None):
            yield inner, text, mark is not None and mark.or_hub
        for record in value if isinstance(value, tuple | list) else (value,):
            if isinstance(record, BaseModel):
                yield from ((f"{name}.{inner}", text, or_hub) for inner, text, or_hub in paths_of(record))


def _marks(annotations: tuple[Any, ...]) -> Iterator[NamesFile]:
    """Those anywhere within annotations, such as in `Path | None`."""
    for one in annotations:
        if isinstance(one, NamesFile):
            yield one
        else:
            yield from _marks((*get_args(one), *(getattr(one, "__metadata__", ()))))


def _texts(name: str, value: Any, *, marked: bool) -> Iterator[tuple[str, str]]:
    if isinstance(value, PurePath) or (marked and isinstance(value, str)):
        yield name, str(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(name, inner, marked=marked)
    elif isinstance(value, tuple | list | set | frozenset):
        for inner in value:
            yield from _texts(name, inner, marked=marked)


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
