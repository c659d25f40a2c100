"""Jobs as runs of Weights & Biases. Its own variables say where (`WANDB_BASE_URL`, `WANDB_API_KEY`, `WANDB_ENTITY`);
without a key a run is kept in a folder, and `wandb sync` sends it later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from service.mirror import MirroredRun
from service.store.models import JobState

if TYPE_CHECKING:
    import wandb

PACKAGE = "wandb"


class Run:
    """One run of Weights & Biases. Each group of numbers has steps of its own, so none is refused as too old."""

    def __init__(self, opened: wandb.Run) -> None:
        self._run = opened
        self._groups: set[str] = set()

    def numbers(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """See `service.mirror.Tracker`."""
        if group not in self._groups:
            self._groups.add(group)
            self._run.define_metric(f"{group}/*", step_metric=f"{group}/step")
        self._run.log({f"{group}/step": step, **{f"{group}/{name}": value for name, value in values.items()}})

    def document(self, name: str, content: Mapping[str, object]) -> None:
        """See `service.mirror.Tracker`."""
        self._run.summary.update({name: content})

    def close(self, state: JobState | None) -> None:
        """See `service.mirror.Tracker`."""
        import wandb

        self._run.finish(exit_code=int(state == JobState.FAILED))
        wandb.teardown()  # its service writes the last entries when it ends


def begin(run: MirroredRun) -> Run:
    """The run of a job, whose id is the job's; an earlier run of the job may have opened it."""
    import wandb

    offline = "WANDB_API_KEY" not in os.environ and "WANDB_MODE" not in os.environ
    run.folder.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(
        silent=True, console="off", disable_git=True, save_code=False, x_disable_meta=True, x_disable_stats=True
    )
    opened = wandb.init(
        project=run.project,
        name=run.name,
        id=run.job_id,
        config=dict(run.facts),
        dir=os.environ.get("WANDB_DIR", str(run.folder)),
        mode="offline" if offline else None,
        resume=None if offline else "allow",
        settings=quiet,
    )
    return Run(opened)
