"""Why a job waits, in a sentence: for which worker, behind whom, for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from job.versions import outline
from service.queue import QUEUES, RUN_JOB
from service.store import nodes
from service.store.leases import waiting_since
from service.store.models import ACTIVE_STATES, Job, JobState, WorkerNode, among_ids

TRAIN = QUEUES[RUN_JOB]
# Jobs that are named as those which hold all slots.
NAMED = 3
# A worker takes up what waits within this time.
SOON_SECONDS = 10.0


def why(session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    """Why jobs wait, by id; those that do not are left out."""
    given = {job.id: job for job in jobs if job.state in ACTIVE_STATES and job.deleted_at is None}
    if not given:
        return {}
    rows = session.execute(_waiting(), {"ids": list(given)})
    waiting = {job_id: (given[job_id], max(0.0, float(since))) for job_id, since in rows}
    if not waiting:
        return {}
    workers, places = nodes.online(session, TRAIN), nodes.places(session, list(waiting))
    holders = nodes.holders(session)
    return {
        job_id: _machines(session, job, since)
        or _sentence(job, since, workers, holders, places.get(job_id, len(places)))
        for job_id, (job, since) in waiting.items()
    }


@cache
def _waiting() -> Select[str, float]:
    """Those of some jobs that wait, and seconds since when: statements take longer to build than to answer."""
    seconds = func.extract("epoch", func.now() - waiting_since(Job))
    return select(Job.id, seconds).where(among_ids(Job.id), *nodes.waiting_jobs())


def _machines(session: Session, job: Job, seconds: float) -> str | None:
    """Which machines a training on several lacks; None where it lacks none."""
    stored = outline(job.spec)
    if stored.reuse is not None or stored.hosts == 1:
        return None
    lacking = sorted(set(range(1, stored.hosts)) - nodes.joined(session, job.id))
    if not lacking:
        return None
    ranks = ", ".join(map(str, lacking[:NAMED])) + (f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else "")
    return (
        f"It trains on {stored.hosts} machines and takes no worker until all are there: "
        f"run `winnow join {job.id} --rank N` for N = {ranks}. It has waited for {duration(seconds)}."
    )


def _sentence(
    job: Job, seconds: float, workers: Sequence[WorkerNode], holders: Mapping[str, tuple[str, str]], place: int
) -> str:
    began = "" if job.state == JobState.QUEUED and job.started_at is None else "Its worker went away. "
    since = f"It has waited for {duration(seconds)}."
    if not workers:
        return f"{began}No worker is there; `winnow worker` starts one. {since}"
    able = [worker for worker in workers if nodes.meets(job, worker)]
    if not able:
        return f"{began}No worker has what it needs ({_needs(job)}); there are {len(workers)}. {since}"
    busy = [holders[worker.name] for worker in able if worker.name in holders]
    if len(busy) < len(able):
        if seconds < SOON_SECONDS:
            return f"{began}A worker takes it up within seconds."
        return f"{began}A worker is free and has not taken it up yet. {since} Place {place} in the queue."
    named = ", ".join(f"{job_id} ({name})" for job_id, name in busy[:NAMED])
    more = f" and {len(busy) - NAMED} more" if len(busy) > NAMED else ""
    many = "The worker is" if len(able) == 1 else f"All {len(able)} workers are"
    return f"{began}{many} busy with {named}{more}. Place {place} in the queue. {since}"


def _needs(job: Job) -> str:
    needs = [f"gpus {job.needs_gpus}"] if job.needs_gpus else []
    needs += [f"memory {job.needs_memory_gb:g} GB"] if job.needs_memory_gb else []
    return ", ".join([*needs, *(f"label {label}" for label in job.needs_labels)])


def duration(seconds: float) -> str:
    """Seconds as people say them, roughly."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
