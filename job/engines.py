"""Which engines a decoder's space is kept to where its job leaves that open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from job.formats import Subject, refusal
from search_space.adjustments import Adjustments
from search_space.deployable import ENGINES, fits
from search_space.space import SearchSpace

# `huggingface` is never decided, because it makes all layers alike.
DECIDED = ("vllm", "gguf")
# Families whose spaces are decoders.
FAMILIES = ("llama",)


def decided_engines(
    space: SearchSpace, adjustments: Adjustments, checkpoint: Mapping[str, Any] | None
) -> tuple[str, ...]:
    """The engines that can run a space's largest network as it is, and whose rules the client does not break.

    Args:
        space: the space with these adjustments, kept to no engine.
        checkpoint: config.json of the checkpoint, if there is one.
    """
    largest = Subject(space.name, space.layers(space.largest()), facts={"checkpoint": checkpoint})
    fitting = (name for name in DECIDED if fits(space, adjustments, name))
    return tuple(name for name in fitting if refusal(ENGINES[name].format, largest) is None)
