"""Mirrors of jobs in a tracker of experiments, if `WINNOW_MIRROR` names one.

A mirror hears what a job finds out and passes it on from a thread of its own. No job waits for it: what its queue
cannot hold is left out, a tracker that fails changes nothing in the job, and the first trouble becomes a warning among
the job's events. PostgreSQL stays the truth; nobody reads a mirror back.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import queue
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from service.settings import Settings, without_password
from service.store import queries
from service.store.models import Job, JobState
from service.store.session import Database

# Entries that wait for a tracker which is slower than its job.
MOST_WAITING = 5000
# How long a run whose row is finished waits for the last entries.
END_SECONDS = 10.0
LOOK_SECONDS = 0.5
# Characters of one fact of a job's description; trackers refuse longer ones.
LONGEST_FACT = 500
# Variables whose values no message repeats.
SECRET = re.compile(r"KEY|TOKEN|PASSWORD|SECRET")
SHORTEST_SECRET = 6


@dataclass(frozen=True, slots=True)
class MirroredRun:
    """Which job a tracker's run shows.

    Attributes:
        project: project of the tracker, in MLflow an experiment.
        facts: the job's description, one string for each of its fields: `training.epochs`.
        folder: where a tracker that is not told of a server keeps its files.
    """

    job_id: str
    name: str
    project: str
    facts: Mapping[str, str]
    folder: Path


class Tracker(Protocol):
    """The run of one job in a tracker. A method may raise any exception and take any time."""

    def numbers(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Finite numbers of one moment, each shown as `group/name`. `step` counts within the group."""

    def document(self, name: str, content: Mapping[str, object]) -> None:
        """A JSON document, which replaces an earlier one of this name."""

    def close(self, state: JobState | None) -> None:
        """Send what waits. `state` is the job's last one; None: its run ends, the job does not."""


class Mirror:
    """Passes entries on to a tracker, one after the other.

    Args:
        name: name of the tracker.
        begin: opens the tracker's run; called from the mirror's thread, because it may be slow.
        say: hears the first trouble, in a sentence.
    """

    def __init__(
        self, name: str, run: MirroredRun, begin: Callable[[MirroredRun], Tracker], say: Callable[[str], None]
    ) -> None:
        self._name, self._run, self._begin, self._say = name, run, begin, say
        self._waiting: queue.Queue[Callable[[Tracker], None]] = queue.Queue(MOST_WAITING)
        self._state: JobState | None = None
        self._closing, self._off = threading.Event(), threading.Event()
        self._troubled, self._overrun = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._pass_on, name="mirror", daemon=True)
        self._thread.start()

    def numbers(self, group: str, step: float, values: Mapping[str, Any]) -> None:
        """Pass on numbers of one moment. What is not a finite number is left out; names have `_` for a space."""
        finite = {name.replace(" ", "_"): float(value) for name, value in values.items() if _is_finite(value)}
        if finite:
            self._put(lambda tracker: tracker.numbers(group.replace(" ", "_"), int(step), finite))

    def document(self, name: str, content: Mapping[str, object]) -> None:
        """Pass on what JSON can say."""
        self._put(lambda tracker: tracker.document(name, content))

    def ended(self, state: JobState) -> None:
        """The job is in this state now, and its run is over."""
        self._state = state

    def close(self) -> None:
        """Pass on what waits, for `END_SECONDS` at most."""
        self._closing.set()
        self._put(lambda _: None)  # wakes the thread
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            self._off.set()
            self._trouble(f"it did not take the last entries within {END_SECONDS:.0f} s")

    def _put(self, entry: Callable[[Tracker], None]) -> None:
        if self._off.is_set():
            return
        try:
            self._waiting.put_nowait(entry)
        except queue.Full:
            self._overrun.set()

    def _pass_on(self) -> None:
        try:
            tracker = self._begin(self._run)
        except (Exception, SystemExit) as error:  # a stranger's code: whatever it raises
            self._off.set()
            self._trouble(reason_of(error))
            return
        while (entry := self._next()) is not None and not self._off.is_set():
            self._try(lambda entry=entry: entry(tracker))  # type: ignore[misc]
            if self._overrun.is_set():
                self._trouble(f"it is slower than the job, and more than {MOST_WAITING:,} entries waited")
        self._try(lambda: tracker.close(self._state))

    def _next(self) -> Callable[[Tracker], None] | None:
        """The next entry; None: the mirror closes, and nothing waits."""
        while True:
            with suppress(queue.Empty):
                return self._waiting.get(timeout=LOOK_SECONDS)
            if self._closing.is_set():
                return None

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (Exception, SystemExit) as error:
            self._trouble(reason_of(error))

    def _trouble(self, why: str) -> None:
        """Say the first trouble; the lock is never given back."""
        if self._troubled.acquire(blocking=False):
            self._say(f"The mirror in {self._name} is incomplete: {why}. The job goes on as without it.")


def mirror_of(settings: Settings, database: Database, job: Job) -> Mirror | None:
    """The mirror of a job; None where no tracker is named."""
    if settings.mirror is None:
        return None

    def begin(run: MirroredRun) -> Tracker:
        opened: Tracker = importlib.import_module(f"service.mirrors.{settings.mirror}").begin(run)
        return opened

    folder = settings.data_dir / "mirrors" / settings.mirror
    run = MirroredRun(job.id, job.name, settings.mirror_project, facts_of(job.spec), folder)
    return Mirror(settings.mirror, run, begin, lambda text: _warn(database, run.job_id, text))


def check(settings: Settings) -> None:
    """See to it that the tracker's package is there.

    Raises:
        ValueError: a tracker is named, and its package is not installed.
    """
    if settings.mirror is None:
        return
    package = importlib.import_module(f"service.mirrors.{settings.mirror}").PACKAGE
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"WINNOW_MIRROR is {settings.mirror}, and {package} is not installed here: "
            f"pip install 'winnow[{settings.mirror}]', or leave the setting out."
        )


def facts_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """A job's description, flat: `training.epochs` -> `5`. Lists are JSON."""
    flat: dict[str, str] = {}
    for name, value in spec.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": text for inner, text in facts_of(value).items()}
        elif value is not None:
            flat[name] = (value if isinstance(value, str) else json.dumps(value))[:LONGEST_FACT]
    return flat


def reason_of(error: BaseException) -> str:
    """The first line of an error without passwords and without the values of secret variables."""
    text = next((line for line in str(error).splitlines() if line.strip()), "") or "no reason given"
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return f"{type(error).__name__}: {without_password(text).rstrip('.')}"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _warn(database: Database, job_id: str, text: str) -> None:
    """A warning among the events of a job, which may be finished. A database that is away hears none."""
    with suppress(Exception), database.transaction() as session:
        if (job := queries.locked_job(session, job_id)) is not None:
            queries.add_event(session, job, "message", {"level": "warning", "text": text})
