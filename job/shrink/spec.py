"""ShrinkSpec: what somebody says who wants a smaller network and no more questions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from job.parts import Part
from plugins.kinds import FORMATS
from plugins.registry import one_of
from search.metrics import METRICS

# Limits that a sentence may name: what a network costs, less of which is better.
COSTS = tuple(
    name
    for name, metric in METRICS.items()
    if metric.goal == "minimize" and name not in ("perplexity", "kl_divergence")
)
# The machine that runs the job.
THIS = "this"


class ShrinkSpec(Part):
    """A model, data, limits and a device. Everything else is decided, said, and may be changed."""

    model: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            description="Folder of a Hugging Face checkpoint, or a family that starts from nothing, such as "
            "`mobilenet` or `mobilenet/digits`.",
        ),
    ]
    data: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            description="File or folder of images, of text with labels, or of plain text; or a built-in set: `digits`.",
        ),
    ]
    under: dict[str, float] = Field(
        default_factory=dict,
        description="The most that the network may cost, by metric, such as `latency_ms`.",
        examples=[{"latency_ms": 5}],
    )
    device: str = Field(
        default=THIS, description="`this`: the worker's processor; or a target, where latency is measured."
    )
    formats: tuple[str, ...] = Field(
        default=(),
        max_length=32,
        description="Export formats that the chosen network must be able to have, such as `huggingface`. Bits are "
        "searched only if every one of them can store them.",
    )
    changes: dict[str, Any] = Field(
        default_factory=dict,
        description="Parts of a job that replace what was decided.",
        examples=[{"training": {"epochs": 3}}],
    )

    @field_validator("under")
    @classmethod
    def _known_costs(cls, under: dict[str, float]) -> dict[str, float]:
        for metric in under:
            one_of("cost", metric, COSTS)
        return under

    @field_validator("formats")
    @classmethod
    def _known_formats(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        for name in formats:
            one_of(FORMATS.word, name, FORMATS.names())
        return formats
