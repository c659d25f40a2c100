"""The Celery app of a worker slot: `celery -A workers.celery_app worker`. Imports no torch."""

from __future__ import annotations

from service.queue import QUEUES, RUN_EVALUATE, RUN_EXPORT, RUN_JOB, RUN_MEASUREMENT, make_celery
from service.settings import get_settings
from service.store.models import WorkerNode
from service.store.session import Database
from workers.facts import node_facts
from workers.logs import configure_logging
from workers.supervisor import Kind, Supervisor, worker_name

settings = get_settings()
if settings.database_url is None or settings.redis_url is None:
    raise SystemExit("A worker needs WINNOW_DATABASE_URL and WINNOW_REDIS_URL; `winnow up` sets both.")
app = make_celery(settings.redis_url)


def _supervise(kind: Kind, row_id: str) -> None:
    """One task: a fresh connection pool, because a pool must not cross a fork."""
    configure_logging()
    assert settings.database_url is not None
    database = Database(settings.database_url)
    try:
        Supervisor(database, settings, worker_name()).run(kind, row_id)
    finally:
        database.close()


@app.task(name=RUN_JOB)
def run_job(_job_id: str, **_later: object) -> None:
    """Run the jobs that wait for this worker. The one of the wake-up is among them, not always the first."""
    configure_logging()
    assert settings.database_url is not None
    database = Database(settings.database_url)
    has = node_facts(settings, (QUEUES[RUN_JOB],))
    worker = WorkerNode(
        name=worker_name(), gpus=has.gpus, memory_bytes=has.memory_bytes, labels=list(has.labels), queues=[]
    )
    try:
        Supervisor(database, settings, worker.name).serve(worker)
    finally:
        database.close()


@app.task(name=RUN_EVALUATE)
def run_evaluate(job_id: str, **_later: object) -> None:
    """Help with the evaluations of a job."""
    configure_logging()
    assert settings.database_url is not None
    database = Database(settings.database_url)
    try:
        Supervisor(database, settings, worker_name()).help_out(job_id)
    finally:
        database.close()


@app.task(name=RUN_EXPORT)
def run_export(export_id: str, **_later: object) -> None:
    """Make an export, unless somebody else does."""
    _supervise("export", export_id)


@app.task(name=RUN_MEASUREMENT)
def run_measurement(measurement_id: str, **_later: object) -> None:
    """Measure on this target, unless somebody else does."""
    _supervise("measurement", measurement_id)
