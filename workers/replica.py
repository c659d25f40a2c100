"""A training's other processes: they make the steps that process 0 orders, and report nothing.

Process 0 is a runner like any other; it alone writes rows and files. torchrun starts all of them with the
same command, and this is what those of a higher rank do.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import torch
from sqlalchemy.orm import Session

from search.spec import JobSpec
from service.settings import Settings
from service.store.models import Artifact, Job
from service.store.session import Database
from supernet.distributed import RESTORE, STEP, Group, Orders
from supernet.trainer import NonFiniteLoss, Trainer
from workers.artifacts import ArtifactStore
from workers.materials import fresh_supernet, make_trainer, prepare_data
from workers.reporter import DATABASE_PATIENCE_SECONDS, patiently

log = structlog.get_logger()


def follow(database: Database, settings: Settings, job_id: str, device: torch.device, group: Group) -> None:
    """Train along until process 0 says that it is over, or is gone."""

    def read(session: Session) -> JobSpec:
        job = session.get(Job, job_id)
        assert job is not None
        return JobSpec.model_validate(job.spec)

    spec = patiently(database, read, DATABASE_PATIENCE_SECONDS)
    space = spec.supernet.space()
    data = prepare_data(spec, space, device)
    artifacts = ArtifactStore(settings.artifacts_dir)

    def fresh() -> Trainer:
        return make_trainer(spec, fresh_supernet(spec, space, data, device), data, group)

    trainer, orders = fresh(), Orders(group, device)
    while True:
        try:
            what, checkpoint, rate_factor = orders.hear()
        except RuntimeError as error:
            log.warning("process 0 is gone", reason=str(error).split("\n")[0])
            return
        if what == STEP:
            try:
                trainer.step()
            except NonFiniteLoss:
                continue  # every process saw it; process 0 decides where to go back to
        elif what == RESTORE:
            if checkpoint:
                row = patiently(database, _artifact(checkpoint), DATABASE_PATIENCE_SECONDS)
                trainer.restore(artifacts.load(*row[:2]), row[2])
            else:
                trainer = fresh()
            trainer.rate_factor = rate_factor or trainer.rate_factor
        else:
            return


def _artifact(artifact_id: int) -> Callable[[Session], tuple[str, str, int]]:
    def read(session: Session) -> tuple[str, str, int]:
        row = session.get(Artifact, artifact_id)
        assert row is not None
        return row.path, row.sha256, row.step

    return read
