"""DataSpec: what a job's supernet is trained, searched and tested on: a data source's own options, and its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import BeforeValidator, Field

from job.parts import InnerPart
from plugins.kinds import SOURCES
from plugins.registry import one_of
from supernet.data.options import SourceOptions

if TYPE_CHECKING:
    from search_space.inputs import Input


class _Source(InnerPart):
    """Which source, before everything else."""

    source: str = Field(description="Name of the data source.")


class DataPart(SourceOptions, _Source):
    """What is known of the data of any job."""


def _data_part(name: str, declared: type[SourceOptions]) -> type[SourceOptions]:
    """The declaration of a source with its name as the field that tells it from others."""
    title = declared.__name__.removesuffix("Options") + "Spec"
    words = {"__module__": __name__, "__doc__": declared.__doc__, "__annotations__": {"source": Literal[name]}}
    return type(title, (declared, DataPart), words)


# Data source -> its wire form, of every source whose declaration can be read.
DATA_MODELS: dict[str, type[SourceOptions]] = {
    name: _data_part(name, module.OPTIONS) for name, module in SOURCES.every_options().items()
}


def _known(given: Any) -> Any:
    """The source's name, checked before the union is, so that the message lists the names."""
    if isinstance(given, dict) and isinstance(given.get("source"), str):
        SOURCES.options(one_of(SOURCES.word, given["source"], SOURCES.names()))
    return given


if TYPE_CHECKING:
    DataSpec: TypeAlias = DataPart
else:
    DataSpec = Annotated[
        Annotated[Union[tuple(DATA_MODELS.values())], Field(discriminator="source")],  # noqa: UP007 (of any number)
        BeforeValidator(_known),
    ]


def data_gives(spec: DataPart) -> Input | None:
    """What networks get from a data source, without loading it; None: known only once it is read."""
    return spec.gives()
