"""Which export formats a network can have: what a request names is checked before a worker is asked, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from job.spec import JobSpec
from plugins.kinds import FORMATS
from plugins.registry import one_of
from search_space.layers import LayerSpec


@dataclass(frozen=True, slots=True)
class Subject:
    """A network as far as formats care.

    Attributes:
        space: name of its space, such as `llama/tiny`.
        layers: its specs by slot, in forward order.
        quantized: whether it has a quantization policy that stores some layer in fewer bits.
        dtype: type of its floating-point numbers.
        facts: what else a writer needs, as `architecture.json` has it.
    """

    space: str
    layers: Mapping[str, LayerSpec]
    quantized: bool = False
    dtype: str = "float32"
    facts: Mapping[str, Any] = field(default_factory=dict)


class FormatRefused(ValueError):
    """A network cannot have a format; the message says why, and which it can have."""


def subject_of(spec: JobSpec, space: str, layers: Mapping[str, LayerSpec]) -> Subject:
    """A network of a job."""
    stored = any(not precision.is_full for layer in layers.values() for _, precision in layer.policy)
    dtype = "float32" if spec.quantization is not None else spec.supernet.float_type
    facts = {"checkpoint": spec.supernet.checkpoint, "without_supernet": _without_supernet(spec)}
    return Subject(space, layers, stored, dtype, facts)


def _without_supernet(spec: JobSpec) -> str | None:
    """Why a job's networks are no slices of one file; None: they are."""
    if spec.gradient is not None:
        return "the job found its networks by gradient and trained each alone, without a supernet"
    if spec.quantization is not None:
        return "the job's networks have policies of their own, and those of a supernet share floating-point weights"
    return None


def unasked() -> tuple[str, ...]:
    """Formats that an export is written in when none is named: those that do not say they are for who asks."""
    declared = FORMATS.every_options()
    return tuple(name for name in FORMATS.names() if not getattr(declared.get(name), "WHEN_ASKED", False))


def refusal(name: str, subject: Subject) -> str | None:
    """Why a network cannot have a format, as a clause that follows the format's name; None: it can.

    Raises:
        UnknownPluginError: there is no such format.
    """
    refuses = getattr(FORMATS.options(name), "refusal", None)
    reason: str | None = None if refuses is None else refuses(subject)
    return reason


def possible(subject: Subject) -> tuple[str, ...]:
    """Formats that a network can have."""
    return tuple(name for name in FORMATS.every_options() if refusal(name, subject) is None)


def refuse_for_all(names: Sequence[str], spec: JobSpec) -> None:
    """Refuse formats that the largest network of a resolved job cannot have, and so hardly any that the job may find.

    Raises:
        UnknownPluginError: there is no format of a name.
        FormatRefused: no network of the job can have one.
    """
    space = spec.supernet.space()
    subject = subject_of(spec, space.name, space.layers(space.largest()))
    wanted(names, replace(subject, quantized=spec.quantization is not None))


def wanted(names: Sequence[str], subject: Subject) -> tuple[str, ...]:
    """The formats that somebody names, each once and in order of names.

    Raises:
        UnknownPluginError: there is no format of a name.
        FormatRefused: the network cannot have one.
    """
    chosen = tuple(sorted({one_of(FORMATS.word, name, FORMATS.names()) for name in names}))
    for name in chosen:
        if (reason := refusal(name, subject)) is not None:
            raise FormatRefused(
                f"A network of {subject.space} cannot be exported as {name}: {reason}. "
                f"It can have: {', '.join(possible(subject))}."
            )
    return chosen
