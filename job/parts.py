"""Part: what every part of a job's wire format has in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ConfigDict

from plugins.options import Options
from plugins.registry import Kind


class Part(Options):
    """A part of a job that is built at once, because it is also checked by itself."""

    model_config = ConfigDict(defer_build=False)


class InnerPart(Options):
    """A part that is only ever checked as a part of a job: it is built with the job and not by itself."""


def offered(kind: Kind) -> Callable[[dict[str, Any]], None]:
    """For the schema of a field of options: what they are for each plug-in of a kind, with bounds and help."""

    def extend(schema: dict[str, Any]) -> None:
        declared = {name: module.OPTIONS.model_json_schema() for name, module in kind.every_options().items()}
        schema["anyOf"] = [{**own, "title": name} for name, own in declared.items()]

    return extend


def complete_options(kind: Kind, name: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Options checked and completed by their plug-in's declaration (whether it is known is checked elsewhere).

    Raises:
        PluginError: an installed package offers it, and it cannot be used.
    """
    if name is None or name not in kind.names():
        return options
    declared: type[Options] = kind.options(name).OPTIONS
    return declared.model_validate(options).model_dump()
