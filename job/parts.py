"""Part: what every part of a job's wire format has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from plugins.registry import UnknownPluginError


class Part(BaseModel):
    """A part of a job: immutable, and without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InnerPart(Part):
    """A part that is only ever checked as a part of a job.

    It is built with the job and not by itself, which halves what importing the job's models costs.
    """

    model_config = ConfigDict(defer_build=True)


def one_of(kind: str, got: str, known: tuple[str, ...]) -> str:
    """`got` if it is known.

    Raises:
        UnknownPluginError: it is not.
    """
    if got not in known:
        raise UnknownPluginError(kind, got, known)
    return got


def complete_options(models: dict[str, type[Part]], name: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Options checked and completed by the model of their plug-in (whose own name is checked elsewhere)."""
    return models[name].model_validate(options).model_dump() if name in models else options
