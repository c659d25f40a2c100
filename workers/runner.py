"""The runner: a process that does the work of one job or one export, then exits.

Started by the supervisor as `python -m workers.runner job|export|evaluate|healing ID EPOCH`, or forked off the node's
warm process (workers/warm.py). It says how it ended in the row; its exit code only tells the supervisor whether the row
was written:

    0   the row says how it ended (succeeded, failed, paused, cancelled)
    1   it did not get so far: try again
    3   the lease passed to somebody else: nothing to do
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
import torch
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from export.tools import CannotWrite, is_disk_full
from export.verify import VerificationError
from job.paths import PathRefused, check_paths
from job.spec import JobSpec
from job.versions import read_job
from pipeline import environment, exporting, replica, samples, stages
from pipeline.artifacts import ArtifactDamaged, ArtifactStore, DiskFull
from pipeline.exams import exams_of
from pipeline.healing_help import heal_for
from pipeline.materials import decoding_of, prepare_data
from pipeline.reporter import DATABASE_PATIENCE_SECONDS, Interrupted, Reporter, patiently
from pipeline.shared_healing import HelperReporter
from pipeline.shared_search import Share, help_out
from pipeline.workshop import JobFailed, Workshop, make_evaluator
from predictors.cost import macs
from proxyless.strategy import search_by_gradient
from search_space import plugins
from service import fronts
from service.errors import Unavailable
from service.lifeline import die_with_parent
from service.mirror import Mirror, mirror_of
from service.remaining import weights_of
from service.settings import Settings, get_settings
from service.store import healing_shares, leases, queries, records
from service.store.leases import LeaseLost
from service.store.models import (
    Artifact,
    EvaluationRow,
    Export,
    ExportState,
    Finalist,
    HealingShare,
    Job,
    JobState,
    Stage,
)
from service.store.session import Database, first_line
from service.telemetry import Spans, spans_of
from service.upload_store import bring, named_in, upload_store_of
from supernet import distributed
from supernet.distributed import ALONE
from supernet.flat import load_tensors
from supernet.network import Supernet
from workers.files import open_paths
from workers.herald import Herald
from workers.job_log import JobLines
from workers.logs import configure_logging
from workers.reasons import reason_of
from workers.supervisor import worker_name

log = structlog.get_logger()

DONE, TRY_AGAIN, LEASE_LOST = 0, 1, 3
# A job that is told to leave has so long for its checkpoint.
LEAVE_SECONDS = 20


def run_job(database: Database, settings: Settings, job_id: str, epoch: int) -> None:
    """Run a job to its end, and say in its row how it ended."""
    group = distributed.join()
    device = environment.choose_device()
    try:
        bring_uploads(database, settings, job_id)
    except Unavailable as error:
        if group.rank == 0:
            said = f"{error.detail} Resume the job once they can be; nothing stored is lost."
            Reporter(database, job_id, epoch).end(JobState.PAUSED, said)
        return
    if group.rank > 0:
        torch.set_num_threads(environment.shared_threads())
        replica.follow(database, settings, job_id, epoch, device, group)
        return
    job = Reporter(database, job_id, epoch).job()
    with heard(spans_of(settings, "worker"), mirror_of(settings, database, job)) as (spans, mirror):
        weights = weights_of(read_job(job.spec))
        reporter = Reporter(database, job_id, epoch, spans, weights=weights, mirror=mirror)
        with Herald(reporter.where):
            perform(job, reporter, settings, device, group)


def bring_uploads(database: Database, settings: Settings, job_id: str) -> None:
    """See to it that uploads that a job names lie on this machine, if they are kept elsewhere.

    Raises:
        Unavailable: the store of artifacts does not answer, or has them no more.
    """
    store = upload_store_of(settings)
    if store is None:
        return

    def named(session: Session) -> set[str]:
        return named_in(json.dumps(session.scalar(select(Job.spec).where(Job.id == job_id))))

    bring(database, store, settings.uploads_dir, patiently(database, named, DATABASE_PATIENCE_SECONDS))


@contextmanager
def heard(spans: Spans | None, mirror: Mirror | None) -> Iterator[tuple[Spans | None, Mirror | None]]:
    """Those who hear of a job, for as long as it runs; at the end they send what they have not sent."""
    try:
        yield spans, mirror
    except (LeaseLost, OperationalError, InterfaceError):  # the job goes on elsewhere
        raise
    except Exception:
        if mirror is not None:
            mirror.ended(JobState.FAILED)
        raise
    finally:
        if mirror is not None:
            mirror.close()
        if spans is not None:
            spans.close()


def perform(job: Job, reporter: Reporter, settings: Settings, device: torch.device, group: distributed.Group) -> None:
    """Go through the stages of a job, and say in its row how it ended."""
    spec = read_job(job.spec)
    space = spec.supernet_space()
    if group.size > 1:
        num_threads = environment.shared_threads()
        torch.set_num_threads(num_threads)
    else:
        num_threads = environment.fix_threads((job.environment or {}).get("threads"), macs(space, space.largest()))
    reporter.environment({**environment.describe(device, num_threads), "processes": group.size})
    shop = Workshop(
        job_id=job.id,
        spec=spec,
        space=space,
        reporter=reporter,
        artifacts=ArtifactStore.of(settings),
        settings=settings,
        device=device,
        group=group,
    )
    leave = signal.signal(signal.SIGTERM, lambda _number, _frame: _leave(reporter)) if _may_leave(group) else None
    try:
        stages.run(shop, search_by_gradient if spec.gradient is not None else stages.search_supernet)
    except Interrupted as interrupted:
        if interrupted.leaving:
            reporter.give_back()
            return
        ended = {JobState.PAUSING: JobState.PAUSED, JobState.CANCELLING: JobState.CANCELLED}[interrupted.state]
        reporter.end(ended, f"{ended} by request")
    except DiskFull as error:
        reporter.end(JobState.PAUSED, f"{error} Make room, then resume the job; nothing that was stored is lost.")
    except Unavailable as error:
        reporter.end(JobState.PAUSED, f"{error.detail} Resume the job once they can be; nothing stored is lost.")
    except (JobFailed, ArtifactDamaged) as error:
        reporter.end(JobState.FAILED, str(error))
    finally:
        if leave is not None:
            signal.alarm(0)
            signal.signal(signal.SIGTERM, leave)


def _may_leave(group: distributed.Group) -> bool:
    """Whether a SIGTERM can wait for a checkpoint: of one process, whose main thread hears signals."""
    return group.size == 1 and threading.current_thread() is threading.main_thread()


def _leave(reporter: Reporter) -> None:
    """Leave with a checkpoint; whatever takes too long for that ends as it would have without."""
    reporter.leave()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(LEAVE_SECONDS)


def run_helper(database: Database, settings: Settings, job_id: str, _epoch: int) -> None:
    """Take a share of the evaluations of a job that another worker runs."""

    def read(session: Session) -> tuple[JobSpec, dict[str, Any], Artifact | None, Artifact | None]:
        job = session.get(Job, job_id)
        assert job is not None
        files, kept = (queries.artifacts(session, job_id, kind) for kind in ("supernet", samples.KIND))
        spec = read_job(job.spec)
        return spec, dict(job.environment or {}), next(iter(files), None), next(iter(kept), None)

    spec, facts, file, kept = patiently(database, read, DATABASE_PATIENCE_SECONDS)
    if file is None:
        return
    bring_uploads(database, settings, job_id)
    environment.fix_threads(facts.get("threads"), largest_macs=0)
    device, space = environment.choose_device(), spec.supernet_space()
    data = prepare_data(spec, space, device, decoding_of(settings))
    store = ArtifactStore.of(settings)
    try:
        samples.check_same(store, kept, data)
    except samples.OtherData as error:
        log.warning("no help", job=job_id, reason=str(error))
        return
    supernet = Supernet(space).to(device)
    load_tensors(supernet, store.load(file.path, file.sha256))
    evaluator = make_evaluator(spec, supernet, data, exams_of(spec, space, data, settings.tasks_dir))
    owner = f"{worker_name()}/{os.getpid()}"
    help_out(database, job_id, Share(database, settings, job_id, evaluator, owner))


def run_share(database: Database, settings: Settings, share_id: str, epoch: int) -> None:
    """Heal one network of a job that another worker runs."""

    def read(session: Session) -> tuple[str, str, JobSpec, dict[str, Any]]:
        share = session.get(HealingShare, share_id)
        job = None if share is None else session.get(Job, share.job_id)
        if share is None or job is None or share.epoch != epoch:
            raise LeaseLost(f"network {share_id}: epoch {epoch} is over")
        return job.id, share.architecture_id, read_job(job.spec), dict(job.environment or {})

    job_id, name, spec, facts = patiently(database, read, DATABASE_PATIENCE_SECONDS)
    reporter = HelperReporter(database, job_id, share_id, epoch)
    leave = signal.signal(signal.SIGTERM, lambda _number, _frame: _leave(reporter)) if _may_leave(ALONE) else None
    try:
        if not reporter.is_healed(name):
            bring_uploads(database, settings, job_id)
            environment.fix_threads(facts.get("threads"), largest_macs=0)
            device, space = environment.choose_device(), spec.supernet_space()
            store = ArtifactStore.of(settings)
            heal_for(Workshop(job_id, spec, space, reporter, store, settings, device), name, worker_name())
        reporter.done()
    except Interrupted as interrupted:
        log.info("leaving a network", network=name, reason=str(interrupted))
        reporter.give_back()
    except LeaseLost:  # perhaps of the job, which has just been paused: then the claim is still this helper's
        reporter.give_back()
        raise
    except (samples.OtherData, JobFailed, DiskFull, ArtifactDamaged, Unavailable) as error:
        why = error.detail if isinstance(error, Unavailable) else str(error)
        reporter.cannot(f"Worker {worker_name()} cannot help to heal: {why}")
    finally:
        if leave is not None:
            signal.alarm(0)
            signal.signal(signal.SIGTERM, leave)


def run_export(database: Database, settings: Settings, export_id: str, epoch: int) -> None:
    """Write and verify one export, and say in its row how it ended."""

    def order(session: Session) -> exporting.ExportOrder:
        export = session.get(Export, export_id)
        if export is None or export.epoch != epoch:
            raise LeaseLost(f"export {export_id}: epoch {epoch} is over")
        job = session.get(Job, export.job_id)
        assert job is not None
        key = (export.job_id, export.architecture_id)
        finalists = queries.finalists(session, job.id)
        front = []
        if exporting.SHARED in export.formats.split(","):
            rows = [(session.get(EvaluationRow, (job.id, one.architecture_id)), one) for one in finalists]
            front = [(row, one) for row, one in rows if row is not None and one.position is not None]
        return exporting.export_order(
            job,
            session.get(EvaluationRow, key),
            session.get(Finalist, key),
            finalists,
            queries.weights_of(session, job.id, export.architecture_id, export.weights),
            next(iter(queries.artifacts(session, job.id, samples.KIND)), None),
            export.formats,
            fronts.compared_with(session, job),
            records.sharing_of(session, job),
            records.healed_of(session, job.id).get(export.architecture_id),
            export.weights,
            front,
        )

    asked = patiently(database, order, DATABASE_PATIENCE_SECONDS)
    threads = (asked.job.environment or {}).get("threads")
    num_threads = environment.fix_threads(threads, largest_macs=0)
    store = ArtifactStore.of(settings)
    mirror = mirror_of(settings, database, asked.job)
    try:
        bring_uploads(database, settings, asked.job.id)
        check_paths(read_job(asked.job.spec), whole=True)
        bundle = exporting.make_export(asked, store, num_threads, decoding_of(settings))
        store.keep(str(bundle.archive.relative_to(store.root)), bundle.sha256)
        values = {
            "state": ExportState.SUCCEEDED,
            "message": None,
            "folder": str(bundle.folder.relative_to(store.root)),
            "archive": str(bundle.archive.relative_to(store.root)),
            "sha256": bundle.sha256,
            "size_bytes": bundle.size_bytes,
            "report": {**bundle.report, **({"measured": bundle.measured} if bundle.measured else {})},
        }
    except (ArtifactDamaged, VerificationError, exporting.CannotExport, CannotWrite, PathRefused) as error:
        values = {"state": ExportState.FAILED, "message": str(error)}
    except Unavailable as error:
        values = {"state": ExportState.FAILED, "message": f"{error.detail} Export again once they can be."}
    except OSError as error:
        if not is_disk_full(error):
            raise
        values = {"state": ExportState.FAILED, "message": f"No room on the disk: {error}. Make room and export again."}
    patiently(database, lambda s: leases.finish(s, Export, export_id, epoch, values), DATABASE_PATIENCE_SECONDS)
    if mirror is not None:
        named = {"architecture_id": asked.evaluation.architecture_id, "formats": list(asked.formats)}
        mirror.document(f"exports/{export_id}", {**named, **values})
        mirror.close()


def fail(database: Database, kind: str, row_id: str, epoch: int, message: str) -> None:
    """Say in the row that it failed."""

    def write(session: Session) -> None:
        if kind == "healing":
            healing_shares.put_away(session, row_id, epoch, f"Worker {worker_name()} cannot help to heal: {message}")
            return
        if kind == "export":
            leases.finish(session, Export, row_id, epoch, {"state": ExportState.FAILED, "message": message})
        else:
            queries.set_state(session, queries.fenced_job(session, row_id, epoch), JobState.FAILED, message)

    patiently(database, write, DATABASE_PATIENCE_SECONDS)


RUNS: dict[str, Callable[[Database, Settings, str, int], None]] = {
    "job": run_job,
    "export": run_export,
    "evaluate": run_helper,
    "healing": run_share,
}


def main(words: Sequence[str] | None = None) -> int:
    """Run what the words name, without them the command line; the exit code is described above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=tuple(RUNS))
    parser.add_argument("id")
    parser.add_argument("epoch", type=int)
    arguments = parser.parse_args(words)
    if "LOCAL_RANK" in os.environ:
        die_with_parent(
            signal.SIGKILL
        )  # torchrun does not tie its processes to itself: killed, it would leave them running
    settings = get_settings()
    plugins.use_families_dir(settings.families_dir)
    open_paths(settings)
    assert settings.database_url is not None
    database = Database(settings.database_url)
    lines = lines_of(database, arguments)
    if lines is None:
        configure_logging()
        return run(database, settings, arguments)
    configure_logging(lines.tee)
    lines.start()
    try:
        return run(database, settings, arguments)
    finally:
        lines.close()


def lines_of(database: Database, arguments: argparse.Namespace) -> JobLines | None:
    """The log of the job that a run works for, as rows; None of one that has no log in the job."""
    if arguments.kind == "job":
        return JobLines(database, arguments.id, arguments.epoch)
    if arguments.kind != "healing":
        return None
    structlog.contextvars.bind_contextvars(worker=worker_name(), stage=str(Stage.HEAL))
    query = select(Job.id, Job.epoch).join(HealingShare).where(HealingShare.id == arguments.id)
    row = patiently(database, lambda s: s.execute(query).one_or_none(), DATABASE_PATIENCE_SECONDS)
    return None if row is None else JobLines(database, *row)


def run(database: Database, settings: Settings, arguments: argparse.Namespace) -> int:
    """Run it, and say how that ended."""
    try:
        RUNS[arguments.kind](database, settings, arguments.id, arguments.epoch)
    except (OperationalError, InterfaceError) as error:
        log.error("stopping: the database is away for too long", reason=first_line(error))
        return TRY_AGAIN
    except LeaseLost as error:
        log.warning("stopping: the lease is somebody else's", reason=str(error))
        return LEASE_LOST
    except Exception as error:
        # A mistake of ours, in a user's own family or in an installed plug-in, deterministic more often than not: told,
        # not tried again.
        log.error("the run failed", traceback=traceback.format_exc())
        if arguments.kind == "evaluate":
            return DONE  # the job's own runner will meet the same, and say so
        fail(database, arguments.kind, arguments.id, arguments.epoch, reason_of(error))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
