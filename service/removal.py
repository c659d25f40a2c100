"""Jobs that go: marked first, and after a time of grace removed with their rows and files.

Files that other jobs use stay: the supernet of a job is there until the last job that searches it is gone. What is to
be removed is written down beside the artifacts before the rows go, so that a process that dies in between leaves
nothing behind: the next look finishes it.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service import jobs, verbs
from service.auth.keys import ANYBODY, Identity
from service.depot import depot_of
from service.errors import Unavailable
from service.settings import Settings
from service.store import queries
from service.store.intervals import interval
from service.store.models import Artifact, Export, Job, Measurement, TrainedSupernet, Verb
from service.store.session import Database

log = logging.getLogger(__name__)

# Lists of files whose rows are gone, one per job.
DOOMED = "removed"
# In such a list, before the digest of what leaves the store of objects.
OBJECT = "object:"
# Jobs that are removed in one look, so that no look takes long.
AT_ONCE = 20


def delete(session: Session, job_id: str, who: Identity = ANYBODY) -> Job:
    """Mark a finished job to be removed; deleting it again changes nothing.

    Raises:
        Conflict: it is not finished.
    """
    job = jobs.get(session, job_id, lock=True)
    if job.deleted_at is not None:
        return job
    verbs.permit(job, Verb.DELETE)
    verbs.tell(session, job, Verb.DELETE, who)
    job.deleted_at = session.scalar(select(func.now()))
    return job


def restore(session: Session, job_id: str, who: Identity = ANYBODY) -> Job:
    """Keep a job that waits for its removal.

    Raises:
        Conflict: it was not deleted.
    """
    job = jobs.get(session, job_id, lock=True)
    verbs.permit(job, Verb.RESTORE)
    job.deleted_at = None
    verbs.tell(session, job, Verb.RESTORE, who)
    return job


def purge(database: Database, settings: Settings) -> int:
    """Remove the jobs whose time of grace is over; how many. Any number of processes may do it at once."""
    _finish(database, settings)
    grace = interval(settings.delete_grace_seconds)
    for number in range(AT_ONCE):
        with database.transaction() as session:
            query = select(Job).where(Job.deleted_at < func.now() - grace).order_by(Job.deleted_at).limit(1)
            job = session.scalars(query.with_for_update(skip_locked=True)).one_or_none()
            if job is None:
                return number
            job_id, doomed = job.id, _unshared_files(session, job)
            digests = _digests(session, job_id, doomed)
            session.delete(job)
            session.flush()
            unnamed = sorted(digests - queries.named_digests(session, digests))
            doomed += [f"{OBJECT}{digest}" for digest in unnamed]
            _write_down(settings, job_id, doomed)
        try:
            _remove(database, settings, job_id, doomed)
        except Unavailable as error:  # the list stays, and is finished once the store answers
            log.warning("objects of removed job %s stay: %s", job_id, error.detail)
        log.info("job %s and %d of its files are removed", job_id, len(doomed))
    return AT_ONCE


def _unshared_files(session: Session, job: Job) -> list[str]:
    """What of a job's files nobody else uses, relative to the artifacts folder. The row of its supernet goes with it
    where no other job searches it."""
    reuse = Job.spec["supernet"]["reuse"].as_string()
    kept: set[str] = set()
    doomed = {f"checkpoints/{job.id}", f"exports/{job.id}"}
    doomed.update(session.scalars(select(Artifact.path).where(Artifact.job_id == job.id)))
    doomed.update(session.scalars(select(Measurement.path).where(Measurement.job_id == job.id)))
    doomed.update(path for path in session.scalars(select(Export.folder).where(Export.job_id == job.id)) if path)
    named = session.scalar(select(reuse).where(Job.id == job.id))
    query = select(TrainedSupernet).where(
        or_(TrainedSupernet.job_id == job.id, TrainedSupernet.path.in_(doomed), TrainedSupernet.id == named)
    )
    # Locked, so that no job begins to reuse it meanwhile.
    for supernet in session.scalars(query.order_by(TrainedSupernet.id).with_for_update()):
        users = select(func.count()).select_from(Job).where(Job.id != job.id, reuse == supernet.id)
        trained_by_other = supernet.job_id is not None and supernet.job_id != job.id
        if trained_by_other or session.scalar(users):
            kept.add(supernet.path)
        else:
            doomed.add(supernet.path)
            session.delete(supernet)
    others = select(Artifact.path).where(Artifact.job_id != job.id, Artifact.path.in_(doomed))
    kept.update(session.scalars(others))
    return sorted(doomed - kept)


def _digests(session: Session, job_id: str, doomed: list[str]) -> set[str]:
    """Digests of the files that go."""
    found: set[str] = set()
    for table in (Artifact, Measurement):
        found.update(session.scalars(select(table.sha256).where(table.job_id == job_id, table.path.in_(doomed))))
    found.update(d for d in session.scalars(select(Export.sha256).where(Export.job_id == job_id)) if d is not None)
    return found


def _list_of(settings: Settings, job_id: str) -> Path:
    return settings.artifacts_dir / DOOMED / f"{job_id}.json"


def _write_down(settings: Settings, job_id: str, doomed: list[str]) -> None:
    path = _list_of(settings, job_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(doomed))
    draft.rename(path)


def _finish(database: Database, settings: Settings) -> None:
    """Finish what a process that died has begun: lists of jobs whose rows are gone."""
    for path in sorted(settings.artifacts_dir.glob(f"{DOOMED}/*.json")):
        with database.transaction() as session:
            is_there = session.scalar(select(Job.id).where(Job.id == path.stem)) is not None
        if is_there:  # another process is at it, or its rows stayed: the next removal writes the list anew
            continue
        try:
            _remove(database, settings, path.stem, json.loads(path.read_text()))
        except Unavailable as error:
            log.warning("objects of removed job %s stay: %s", path.stem, error.detail)
        except (OSError, ValueError) as error:
            log.warning("files of removed job %s stay: %s", path.stem, error)


def _remove(database: Database, settings: Settings, job_id: str, doomed: list[str]) -> None:
    """Remove files, then objects that still no row names, and then the list.

    Raises:
        Unavailable: the store of objects does not answer. Nobody waits for it: workers tidy between their heartbeats.
    """
    root, depot = settings.artifacts_dir.resolve(), depot_of(settings, patience=0)
    digests = [name.removeprefix(OBJECT) for name in doomed if name.startswith(OBJECT)]
    for name in doomed:
        if name.startswith(OBJECT):
            continue
        path = root / name
        if not path.resolve().is_relative_to(root):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    (settings.data_dir / "logs" / f"job-{job_id}.log").unlink(missing_ok=True)
    if depot is not None:
        for digest in digests:
            # The list may be old, and another job has made the same file since.
            with database.transaction() as session:
                is_named = bool(queries.named_digests(session, {digest}))
            if not is_named:
                depot.discard(digest)
    _list_of(settings, job_id).unlink(missing_ok=True)
