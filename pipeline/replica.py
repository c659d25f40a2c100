"""A training's other processes: they make the steps that process 0 orders, and report nothing.

Process 0 is a runner like any other; it alone writes rows and files. torchrun starts all of them with the
same command, and this is what those of a higher rank do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import structlog
import torch
from sqlalchemy.orm import Session

from job.spec import JobSpec
from job.versions import read_job
from pipeline.artifacts import ArtifactStore, DiskFull
from pipeline.environment import local_processes
from pipeline.materials import decoding_of, fresh_supernet, make_trainer, prepare_data
from pipeline.reporter import DATABASE_PATIENCE_SECONDS, patiently
from service.settings import Settings
from service.store.models import WORKING_STATES, Artifact, Job
from service.store.session import Database
from supernet.distributed import CUT, GATHER, RESTORE, STEP, TRY, Group, Orders
from supernet.memory import OutOfMemory, fits
from supernet.trainer import NonFiniteLoss, Trainer

log = structlog.get_logger()


class RunOver(Exception):
    """The run of the job that this process belongs to goes on no more."""


def follow(database: Database, settings: Settings, job_id: str, epoch: int, device: torch.device, group: Group) -> None:
    """Train along until process 0 says that it is over, or is gone."""

    def read(session: Session) -> JobSpec:
        job = session.get(Job, job_id)
        assert job is not None
        return read_job(job.spec)

    spec = patiently(database, read, DATABASE_PATIENCE_SECONDS)
    space = spec.supernet.space()
    goes_on = _goes_on(database, settings, job_id, epoch)
    try:
        data = prepare_data(spec, space, device, decoding_of(settings, local_processes(), progress=goes_on))
    except (RunOver, DiskFull) as error:  # process 0 meets a full disk as well, and says so
        log.warning("leaving", reason=str(error))
        return
    artifacts = ArtifactStore.of(settings)

    def fresh() -> Trainer:
        return make_trainer(spec, fresh_supernet(spec, space, data, device), data, group)

    def load(artifact_id: int) -> tuple[dict[str, torch.Tensor], int]:
        path, sha256, step = patiently(database, _artifact(artifact_id), DATABASE_PATIENCE_SECONDS)
        return artifacts.load(path, sha256), step

    obey(Orders(group, device), fresh, load)


def obey(
    orders: Orders, fresh: Callable[[], Trainer], load: Callable[[int], tuple[dict[str, torch.Tensor], int]]
) -> Trainer:
    """Do what process 0 orders until it says that the training is over, or is gone; the training as it was left.

    Args:
        load: a stored checkpoint's tensors and its number of steps, by the artifact's id.
    """
    trainer = fresh()
    while True:
        try:
            what, number, rate_factor = orders.hear()
        except RuntimeError as error:
            log.warning("process 0 is gone", reason=str(error).split("\n")[0])
            return trainer
        if what == STEP:
            with suppress(NonFiniteLoss, OutOfMemory):  # every process saw it; process 0 decides what to do about it
                trainer.step()
        elif what == RESTORE:
            if number:
                trainer.restore(*load(number))
            else:
                trainer = fresh()
            trainer.rate_factor = rate_factor or trainer.rate_factor
        elif what == CUT:
            trainer.micro_batches = number
        elif what == TRY:
            fits(trainer, number)
        elif what == GATHER:
            _ = trainer.tensors() if number else trainer.result
        else:
            return trainer


def _goes_on(database: Database, settings: Settings, job_id: str, epoch: int) -> Callable[[float], None]:
    """Hears of progress, and raises `RunOver` soon after the job is to be paused or cancelled, or has another run."""
    looked = time.monotonic()

    def look(_done: float) -> None:
        nonlocal looked
        if time.monotonic() - looked < settings.poll_seconds:
            return
        looked = time.monotonic()

        def read(session: Session) -> bool:
            job = session.get(Job, job_id)
            return job is not None and job.epoch == epoch and job.state in WORKING_STATES

        if not patiently(database, read, DATABASE_PATIENCE_SECONDS):
            raise RunOver(f"job {job_id} is not running, or not in its run {epoch}")

    return look


def _artifact(artifact_id: int) -> Callable[[Session], tuple[str, str, int]]:
    def read(session: Session) -> tuple[str, str, int]:
        row = session.get(Artifact, artifact_id)
        assert row is not None
        return row.path, row.sha256, row.step

    return read
