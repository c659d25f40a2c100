"""Benches: where files are measured. This machine, or a registered one through rows."""

from __future__ import annotations

import platform
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import structlog
import torch
from sqlalchemy.orm import Session

from export.bundle import sha256_of
from export.measure import describe_machine, measure_many
from export.measure.machine import installed_version
from pipeline.artifacts import ArtifactStore
from pipeline.reporter import Reporter
from pipeline.workshop import JobFailed
from predictors.readings import MeasurementError, Results
from predictors.runtime import Runtime
from predictors.setting import Effort, Setting, Tick
from service.errors import Unavailable
from service.jobs import new_id
from service.queue import RUN_MEASUREMENT, Queue, measuring_queue
from service.settings import Settings
from service.store import measuring
from service.store.models import ExportState, Measurement, Target

log = structlog.get_logger()


def place_facts(runtime: Runtime, machine: Mapping[str, Any]) -> Mapping[str, Any]:
    """What decides how fast a network runs on a machine; numbers of another place are never reused.

    Args:
        machine: facts of it, as a target stores them.
    """
    versions = machine.get("versions", {})
    return {
        **{name: machine.get(name) for name in ("device", "cores", "machine")},
        **({"gpu": machine.get("gpu")} if runtime.device == "cuda" else {}),
        "engine_version": versions.get(runtime.engine),
        "python": versions.get("python"),
    }


class LocalBench:
    """The machine that runs the job."""

    def __init__(self, runtime: Runtime) -> None:
        machine: dict[str, Any] = {**describe_machine()}
        if runtime.device == "cuda" and torch.cuda.is_available():
            machine["gpu"] = torch.cuda.get_device_name()
        version = installed_version(runtime.engine) or "not installed"
        machine["versions"] = {runtime.engine: version, "python": platform.python_version()}
        self.place = place_facts(runtime, machine)

    def measure(
        self, models: Sequence[Path], settings: Sequence[Setting], effort: Effort, tick: Tick
    ) -> list[Results | MeasurementError]:
        """Measure here, in processes of their own."""
        return measure_many(models, settings, effort, tick=tick)


class MemoryStore:
    """Numbers that are remembered for as long as this object lives: for scripts and tests."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], Results] = {}

    def known(self, place: str, kind: str, subjects: Sequence[str]) -> dict[str, Results]:
        """Those of these subjects that were measured in this place."""
        return {s: self.rows[place, kind, s] for s in subjects if (place, kind, s) in self.rows}

    def remember(
        self, place: str, where: Mapping[str, Any], kind: str, subject: str, what: str, results: Results
    ) -> None:
        """Store what was measured."""
        self.rows[place, kind, subject] = results


class RowStore:
    """Numbers that are rows: every later job finds them."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def known(self, place: str, kind: str, subjects: Sequence[str]) -> dict[str, Results]:
        """Those of these subjects that were measured in this place."""
        rows = self._reporter.transact(lambda session: measuring.latencies(session, place, kind, subjects))
        return cast(dict[str, Results], rows)

    def remember(
        self, place: str, where: Mapping[str, Any], kind: str, subject: str, what: str, results: Results
    ) -> None:
        """Store what was measured."""
        row = {
            "place": place,
            "where": dict(where),
            "kind": kind,
            "subject": subject,
            "what": what,
            "results": results,
        }
        self._reporter.transact(lambda session: measuring.remember_latency(session, row))


class RemoteBench:
    """A registered machine: a request is a row, a wake-up tells the target, its results come back in the row.

    The networks lie as one archive in the artifacts folder; a target that does not share the folder fetches them
    over the API.

    Args:
        wait_minutes: how long the target may be offline.
    """

    def __init__(
        self,
        target: Target,
        runtime: Runtime,
        wait_minutes: float,
        reporter: Reporter,
        artifacts: ArtifactStore,
        settings: Settings,
    ) -> None:
        self._name, self._wait_minutes, self._poll_seconds = target.name, wait_minutes, settings.poll_seconds
        self._reporter, self._artifacts = reporter, artifacts
        self.place = place_facts(runtime, target.facts)
        assert settings.redis_url is not None
        self._queue = Queue(settings.redis_url)
        reporter.transact(lambda session: measuring.give_up_requests(session, reporter.job_id))

    def measure(
        self, models: Sequence[Path], settings: Sequence[Setting], effort: Effort, tick: Tick
    ) -> list[Results | MeasurementError]:
        """Ask the target and wait for its answer.

        Raises:
            JobFailed: the target is offline for too long, or its machine cannot do it.
        """
        row = self._request(models, settings, effort)
        try:
            finished = self._wait(row.id, tick)
        finally:
            self._artifacts.remove(row.path, row.sha256)
        if finished.state == "failed":
            raise JobFailed(f"Target {self._name} could not measure: {finished.message}")
        return [
            MeasurementError(one["refused"], one["operator"]) if "refused" in one else one["results"]
            for one in finished.results or []
        ]

    def _request(self, models: Sequence[Path], settings: Sequence[Setting], effort: Effort) -> Measurement:
        measurement_id = new_id()
        path = Path("measure") / f"{measurement_id}.tar"
        full = self._artifacts.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        names = []
        with tarfile.open(full, "w") as tar:
            for i, model in enumerate(models):
                names.append(f"{i}/{model.name}")
                tar.add(model, arcname=names[-1])
        digest = sha256_of(full)
        row = {
            "id": measurement_id,
            "target": self._name,
            "job_id": self._reporter.job_id,
            "request": {
                "models": names,
                "settings": [setting.as_dict() for setting in settings],
                "effort": asdict(effort),
            },
            "path": str(path),
            "sha256": digest,
            "size_bytes": full.stat().st_size,
        }
        self._artifacts.keep(str(path), digest)
        self._reporter.transact(lambda session: session.merge(Measurement(**row)))
        self._wake(measurement_id)
        return Measurement(**row)

    def _wake(self, measurement_id: str) -> None:
        try:
            self._queue.wake(RUN_MEASUREMENT, measurement_id, measuring_queue(self._name))
        except Unavailable as error:
            log.warning("wake-up not sent, the reaper will send it", reason=error.detail)

    def _wait(self, measurement_id: str, tick: Tick) -> Measurement:
        """Until the row is finished. While the target is offline the job says that it waits."""
        offline_since: float | None = None
        told = False
        try:
            while True:
                tick()
                row, is_online = self._reporter.transact(lambda session: self._look(session, measurement_id))
                if row.state in (ExportState.SUCCEEDED, ExportState.FAILED):
                    return row
                if is_online:
                    offline_since = None
                    if told:
                        self._reporter.waits(None)
                        told = False
                else:
                    offline_since = offline_since or time.monotonic()
                    if time.monotonic() - offline_since > 60 * self._wait_minutes:
                        raise JobFailed(
                            f"Target {self._name} was offline for {self._wait_minutes:g} minutes "
                            "(hardware.wait_minutes). Start it with `winnow measure --name "
                            f"{self._name}` on its machine, then submit the job again: what was measured is kept."
                        )
                    if not told:
                        self._reporter.waits(
                            f"Waits for target {self._name}, which is offline. Start it with "
                            f"`winnow measure --name {self._name}` on its machine."
                        )
                        told = True
                time.sleep(self._poll_seconds)
        finally:
            if told:
                self._reporter.waits(None)

    def _look(self, session: Session, measurement_id: str) -> tuple[Measurement, bool]:
        row = session.get(Measurement, measurement_id)
        if row is None or measuring.target(session, self._name) is None:
            raise JobFailed(f"Target {self._name} was removed while the job was waiting for it.")
        return row, measuring.online(session, self._name)
