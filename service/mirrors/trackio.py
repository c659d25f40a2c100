"""Jobs as runs of Trackio, in files of this machine or in a Space that `TRACKIO_SPACE_ID` names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from service.mirror import MirroredRun
from service.store.models import JobState

if TYPE_CHECKING:
    import trackio

PACKAGE = "trackio"


class Run:
    """One run of Trackio."""

    def __init__(self, opened: trackio.Run) -> None:
        self._run = opened

    def numbers(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """See `service.mirror.Tracker`."""
        self._run.log({f"{group}/step": step, **{f"{group}/{name}": value for name, value in values.items()}})

    def document(self, name: str, content: Mapping[str, object]) -> None:
        """See `service.mirror.Tracker`."""
        self._run.log({name: content})

    def close(self, state: JobState | None) -> None:
        """See `service.mirror.Tracker`."""
        self._run.finish()


def begin(run: MirroredRun) -> Run:
    """The run of a job, named by its id; an earlier run of the job may have opened it."""
    os.environ.setdefault("TRACKIO_DIR", str(run.folder))  # read when the package is imported
    import trackio

    opened = trackio.init(
        project=run.project,
        name=run.job_id,
        config={"name": run.name, **run.facts},
        resume="allow",
        embed=False,
    )
    return Run(opened)
