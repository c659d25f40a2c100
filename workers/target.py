"""A target: this machine as a device that jobs measure on. What `winnow measure --name NAME` runs.

One Celery slot on a queue of its own, so that one thing is measured at a time, and a heartbeat that carries the
machine's facts. The networks come through the artifacts folder or the API, the results go into rows.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from collections.abc import Container, Mapping

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from export.measure.machine import available_memory_bytes, clocks, describe_machine, installed_version
from export.runtimes.onnxruntime.exactness import exact_weight_bits
from plugins import kinds
from predictors.readings import GpuFacts, Machine
from predictors.runtime import Device
from predictors.targets import RUNTIMES, check_name
from service.errors import Unavailable
from service.queue import Queue, measuring_queue
from service.settings import Settings, get_settings
from service.store import measuring, schema
from service.store.session import Database, first_line
from workers.logs import configure_logging
from workers.node import Node

log = structlog.get_logger()


class MachineFacts(Machine, GpuFacts):
    """What is stored of a registered machine."""

    memory_bytes: int | None
    versions: dict[str, str]
    runtimes: list[str]
    weight_bits: int


class NameTaken(RuntimeError):
    """Another machine, or a table, has this name."""


class TargetNode(Node):
    """The slot of a target, with its heartbeat."""

    def __init__(self, name: str, facts: MachineFacts, database: Database, queue: Queue, settings: Settings) -> None:
        super().__init__([measuring_queue(name)], database, queue, settings)
        self._target, self._facts = name, facts

    def register(self) -> None:
        """Take the name.

        Raises:
            NameTaken: somebody else has it.
        """
        with self._database.transaction() as session:
            other = measuring.beat(session, self._target, self._name, self._facts, start=True)
        if other is not None:
            raise NameTaken(
                f"The target {self._target} is served by {other}. Choose another name, or stop that one first "
                f"(it is forgotten after {measuring.OFFLINE_SECONDS:g} s of silence)."
            )

    def _look_after(self) -> None:
        super()._look_after()
        try:
            with self._database.transaction() as session:
                other = measuring.beat(session, self._target, self._name, {**self._facts, "clocks": clocks()})
        except (OperationalError, InterfaceError) as error:
            log.warning("no heartbeat: the database is away", reason=first_line(error))
            return
        if other is not None:
            log.error("the target's name was taken over while this machine was silent", by=other)
            self._stopping = True

    def _end(self) -> None:
        super()._end()
        try:
            with self._database.transaction() as session:
                measuring.goodbye(session, self._target, self._name)
        except (OperationalError, InterfaceError) as error:
            log.warning("not said goodbye; the target is offline soon", reason=first_line(error))


def machine_facts() -> MachineFacts:
    """What is stored of this machine: device, GPU, cores, memory, versions, and the runtimes that it has."""
    engines: dict[str, dict[Device, GpuFacts]] = {
        name: kinds.RUNTIMES.load(name).devices() for name in kinds.RUNTIMES.every_options()
    }
    facts: MachineFacts = {
        **describe_machine(),  # type: ignore[typeddict-item]  # it has no GPU in it
        "memory_bytes": available_memory_bytes(),
        "versions": {
            "python": platform.python_version(),
            **{name: found for name in engines if (found := installed_version(name)) is not None},
        },
        "runtimes": _available_runtimes(engines),
        "weight_bits": exact_weight_bits(),
    }
    for devices in engines.values():
        for device in devices.values():
            if "gpu" in device:
                facts["gpu"] = device["gpu"]
    return facts


def _available_runtimes(engines: Mapping[str, Container[str]]) -> list[str]:
    """Runtimes that this machine has, in the order in which they are offered: a GPU's first.

    Args:
        engines: the devices that each engine runs on here.
    """
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    found = [
        runtime
        for runtime in RUNTIMES.values()
        if runtime.device in engines[runtime.engine] and (not runtime.compiled or runtime.device == "cuda" or compiler)
    ]
    return [runtime.name for runtime in sorted(found, key=lambda runtime: runtime.device == "cpu")]


def main() -> int:
    """Check the servers, take the name, then measure until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    arguments = parser.parse_args()
    configure_logging()
    try:
        name = check_name(arguments.name)
        settings = get_settings()
        if settings.database_url is None or settings.redis_url is None:
            raise ValueError("A target needs WINNOW_DATABASE_URL and WINNOW_REDIS_URL; `winnow up` prints both.")
        facts = machine_facts()
        if not facts["runtimes"]:
            raise ValueError(
                "This machine has neither onnxruntime nor torch: install one, such as pip install onnxruntime."
            )
        database, queue = Database(settings.database_url), Queue(settings.redis_url)
        database.check()
        queue.check()
        schema.check(database)
        node = TargetNode(name, facts, database, queue, settings)
        node.register()
    except (Unavailable, ValueError, NameTaken) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    node.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
