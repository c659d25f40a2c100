"""Operations: is the process alive, can it work, what does it count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response

from service.api.deps import OPEN, READ, DatabaseDep, QueueDep
from service.api.problems import problem
from service.errors import Unavailable
from service.store import queries
from service.store.models import JOB_STATES

router = APIRouter(tags=["operations"])


@router.get("/healthz", dependencies=[OPEN])
def healthz() -> dict[str, str]:
    """Whether the process answers; asks nobody else."""
    return {"status": "ok"}


@router.get("/readyz", response_model=None, dependencies=[OPEN])
def readyz(database: DatabaseDep, queue: QueueDep) -> dict[str, Any] | Response:
    """Whether PostgreSQL and Redis answer and the schema is current; 503 with the reason if not."""
    from service.store import schema  # Alembic: not needed to start

    missing: dict[str, str] = {}
    checks: dict[str, Callable[[], None]] = {
        "database": database.check,
        "broker": queue.check,
        "schema": lambda: schema.check(database),
    }
    for name, check in checks.items():
        if name == "schema" and "database" in missing:
            continue
        try:
            check()
        except Unavailable as error:
            missing[name] = error.detail
    if missing:
        detail = "; ".join(missing.values())
        return problem(Unavailable.status, Unavailable.slug, Unavailable.title, detail, missing=missing)
    return {"status": "ready", "database": "ok", "broker": "ok"}


@router.get("/metrics", response_class=Response, dependencies=[READ])
def metrics(database: DatabaseDep) -> Response:
    """Number of jobs by state, for Prometheus."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    gauge = Gauge("winnow_jobs", "Number of jobs by state.", ["state"], registry=registry)
    with database.transaction() as session:
        counts = queries.count_jobs(session)
    for state in JOB_STATES:
        gauge.labels(state).set(counts.get(state, 0))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
