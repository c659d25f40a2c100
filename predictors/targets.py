"""Targets: the device and runtime that latency is measured on.

`cpu-onnxruntime` and its kin are the machine that runs the job. Any other name is a row: a machine that
registered itself with `winnow measure --name NAME`, or a table that somebody uploaded. A machine has several
runtimes; `NAME/cuda-onnxruntime` says which, and `NAME` alone means its first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plugins import kinds
from predictors.runtime import Runtime

# Names of registered targets: they become names of queues, so they are as plain as host names.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def _declared() -> Iterator[Runtime]:
    """Runtimes of every engine, built-in ones first."""
    declared = kinds.RUNTIMES.every_options()
    others = [name for name in declared if name not in kinds.RUNTIMES.built_in()]
    for name in (*kinds.RUNTIMES.built_in(), *others):
        yield from declared[name].RUNTIMES


RUNTIMES: dict[str, Runtime] = {}
for _runtime in _declared():
    RUNTIMES.setdefault(_runtime.name, _runtime)  # a name stands for one runtime: the first that has it

DEFAULT_TARGET = "cpu-onnxruntime"


@dataclass(frozen=True, slots=True)
class TargetName:
    """A target as a job names it: a registered one, or this machine (None), and a runtime if one was said."""

    registered: str | None
    runtime: str | None

    @classmethod
    def parse(cls, text: str) -> TargetName:
        """Read `cpu-torch`, `jetson-kitchen` or `jetson-kitchen/cuda-onnxruntime`.

        Raises:
            ValueError: the name is not spelled like one, or the runtime is unknown.
        """
        if text in RUNTIMES:
            return cls(None, text)
        name, slash, runtime = text.partition("/")
        if slash and runtime not in RUNTIMES:
            raise ValueError(f"Got runtime {runtime!r} in target {text!r}. Known: {', '.join(RUNTIMES)}.")
        check_name(name)
        return cls(name, runtime or None)


def named_target(text: str) -> Path | TargetName:
    """A target of a search by gradient: a table's file on the workers, by its whole path, or a target's name.

    Raises:
        ValueError: the name is not spelled like one, or the runtime is unknown.
    """
    path = Path(text)
    return path if path.is_absolute() else TargetName.parse(text)


def check_name(name: str) -> str:
    """`name` if a target may be called that.

    Raises:
        ValueError: it is spelled wrong, or is the name of a runtime.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"Got the target name {name!r}; use up to 63 lower-case letters, digits, '.', '_' and '-', such as "
            "jetson-kitchen, or a runtime of this machine: " + ", ".join(RUNTIMES) + "."
        )
    if name in RUNTIMES:
        raise ValueError(f"{name!r} is the name of a runtime of the machine that runs a job; choose another one.")
    return name
