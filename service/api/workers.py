"""Workers: who is there, what they have, and what they do."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.deps import READ, IdentityDep, SessionDep
from service.api.schemas import WorkerOut, WorkerPage, WorkerState
from service.auth.ownership import visible_jobs
from service.store import nodes
from service.store.models import WorkerNode

router = APIRouter(prefix="/v1", tags=["workers"])


@router.get("/workers", dependencies=[READ])
def list_workers(session: SessionDep, who: IdentityDep) -> WorkerPage:
    """List workers.

    Workers come by name, with what they have. Workers that are silent for long are forgotten.
    """
    running = {owner: job_id for owner, (job_id, _) in nodes.holders(session, visible_jobs(who)).items()}
    rows = nodes.all_workers(session)
    return WorkerPage(workers=[_out(row, is_online, running.get(row.name)) for row, is_online in rows])


def _out(row: WorkerNode, is_online: bool, job_id: str | None) -> WorkerOut:
    state = WorkerState.OFFLINE if not is_online else WorkerState.DRAINING if row.is_draining else WorkerState.ONLINE
    fields = ("name", "started_at", "seen_at", "queues", "labels", "gpus", "memory_bytes", "facts")
    return WorkerOut(**{name: getattr(row, name) for name in fields}, state=state, job_id=job_id)
