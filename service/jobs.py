"""The verbs of a job: submit, pause, resume, stop, cancel, retry, edit, export. Each runs inside one transaction."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from job.paths import named_uploads
from job.resolve import resolve, resolved_data, resolved_supernet, resolved_training
from job.spec import JobSpec, SupernetSpec
from job.versions import ENGINES_DECIDED, TrainedParts, read_job, read_trained
from plugins.options import Options
from service import verbs
from service.archives import wrong_with
from service.auth.keys import ANYBODY, Identity
from service.auth.ownership import see
from service.auth.quotas import check_bytes, check_quota
from service.checks import check, refuse_closed_paths
from service.depot import Depot
from service.errors import Conflict, InvalidRequest, NotFound
from service.kernels import with_weight_bits
from service.store import queries, records
from service.store.models import EvaluationRow, Export, ExportState, Job, JobState, Verb, Weights

# What an export may be asked to ship of a network that was healed.
WeightsAsked = Literal["best", "healed", "unhealed"]

# The export format that is of a whole front.
WHOLE_FRONT = "supernet"


def new_id() -> str:
    """A fresh id: 12 hexadecimal digits."""
    return secrets.token_hex(6)


def submit(session: Session, spec: JobSpec, idempotency_key: str | None, who: Identity = ANYBODY) -> tuple[Job, bool]:
    """Resolve, check and store a job. Returns it and whether it is new: a repeated key gives the first job back.

    Raises:
        InvalidRequest: the key was used with another body, or the spec asks for the impossible or for files that
            are not open to jobs.
        NotFound: a supernet that is to be reused, or an upload, that `who` does not see.
        QuotaExceeded: whoever asks has used what the key may use.
        Infeasible: no architecture of the space meets a limit.
    """
    if spec.supernet.reuse is not None:
        see(session, who, "supernet_id", spec.supernet.reuse)
    spec = reusing(session, spec)
    if idempotency_key is not None and who.key_id is not None:
        idempotency_key = f"{who.key_id}/{idempotency_key}"
    if idempotency_key is not None and (earlier := queries.job_of_key(session, idempotency_key)):
        return _same_request(earlier, spec), False
    spec = resolve(spec)
    refuse_closed_paths(spec)
    for upload_id in named_uploads(spec):
        see(session, who, "upload_id", upload_id)
    check_quota(session, who, spec)
    check(session, spec)
    return _store(session, spec, idempotency_key, who)


def reusing(session: Session, spec: JobSpec) -> JobSpec:
    """The job with the space, data and training of the supernet that it reuses, if it does.

    Raises:
        NotFound: there is no such supernet.
        InvalidRequest: the job asks for another space, other data or another training.
    """
    if spec.supernet.reuse is None:
        return spec
    row = queries.supernet(session, spec.supernet.reuse, hold=True)
    if row is None:
        raise NotFound(f"There is no supernet {spec.supernet.reuse!r}. GET /v1/supernets lists them.")
    theirs = read_trained(row.version, row.supernet, row.data, row.training)
    engines = theirs.supernet.deployable
    spec = _kept_to(_as_found_by(spec, theirs.supernet), engines)
    mine = _parts(spec, theirs.supernet.family)
    by_recipe = _kept_to(JobSpec.model_validate({"recipe": spec.recipe}), engines)
    defaults = _parts(by_recipe, theirs.supernet.family)
    for part in TrainedParts.model_fields:
        # What the recipe filled in nobody asked for.
        if mine[part] not in (getattr(theirs, part), defaults[part]):
            raise InvalidRequest(
                f"Supernet {row.id} was trained with a {part} part of its own, and this job asks for another one. "
                f"Leave {part} out, or train a supernet of your own.",
                supernet=row.id,
            )
    trained = theirs.model_dump(mode="json")
    trained["supernet"]["reuse"] = row.id
    try:
        return JobSpec.model_validate({**spec.model_dump(mode="json"), **trained})
    except ValidationError as error:
        # Such as accuracy as an objective of a language model.
        raise InvalidRequest("; ".join(str(e["msg"]).removeprefix("Value error, ") for e in error.errors())) from None


def _as_found_by(spec: JobSpec, earlier: SupernetSpec) -> JobSpec:
    """The job with what its checkpoint's folder said earlier: that holds, and rows may be older than the question."""
    if spec.supernet.pretrained is None:
        return spec
    kept = spec.supernet.model_copy(update={"found": earlier.found})
    return spec.model_copy(update={"supernet": kept})


def _kept_to(spec: JobSpec, engines: tuple[str, ...] | None) -> JobSpec:
    """The job with a space kept to these engines, unless it names its own."""
    if spec.supernet.deployable is not None:
        return spec
    kept = spec.supernet.model_copy(update={"deployable": engines})
    return spec.model_copy(update={"supernet": kept})


def _parts(spec: JobSpec, family: str) -> dict[str, Options]:
    """What a job says of a supernet of this family, as it is compared with the parts of a trained one."""
    return {
        "supernet": resolved_supernet(spec.supernet.model_copy(update={"reuse": None})),
        "data": resolved_data(spec.data),
        "training": resolved_training(spec.training, family),
    }


def _store(session: Session, asked: JobSpec, idempotency_key: str | None, who: Identity) -> tuple[Job, bool]:
    spec = with_weight_bits(session, asked)
    row = {
        "id": new_id(),
        "owner_id": who.key_id,
        "name": spec.title,
        "recipe": spec.recipe.value,
        "spec": spec.model_dump(mode="json"),
        "idempotency_key": idempotency_key,
        "request_sha256": _digest(asked),
        "labels": list(spec.labels),
        "notes": spec.notes,
        "priority": spec.priority,
        "needs_gpus": spec.needs.gpus,
        "needs_memory_gb": spec.needs.memory_gb,
        "needs_labels": list(spec.needs.labels),
        "state": JobState.QUEUED,
        "progress": 0.0,
        "stage_progress": 0.0,
        "epoch": 0,
        "attempts": 0,
        "event_seq": 1,
    }
    job = session.scalars(_insertion(), row).one_or_none()
    if job is None:  # the same key arrived twice at the same moment
        assert idempotency_key is not None
        earlier = session.scalars(select(Job).where(Job.idempotency_key == idempotency_key)).one()
        return _same_request(earlier, asked), False
    queries.tell_new(session, job)
    return job, True


@cache
def _insertion() -> ReturningInsert[Job]:
    """The statement that stores a job unless its key is taken, which takes longer to build than to answer."""
    from sqlalchemy.dialects.postgresql import insert  # slow to import, not needed to start

    return insert(Job).on_conflict_do_nothing(index_elements=["idempotency_key"]).returning(Job)


def _digest(spec: JobSpec) -> str:
    """Digest of what a resolved job means."""
    return hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _same_request(job: Job, spec: JobSpec) -> Job:
    if job.request_sha256 == _digest(resolve(spec)):
        return job
    earlier = read_job(job.spec)  # rows of an older version have the digest of another form of the job
    if job.spec.get("version", 1) < ENGINES_DECIDED:
        spec = _kept_to(spec, ())
    spec = resolve(_as_found_by(spec, earlier.supernet))
    if spec.quantization is not None and earlier.quantization is not None and spec.quantization.weight_bits is None:
        kept = spec.quantization.model_copy(update={"weight_bits": earlier.quantization.weight_bits})
        spec = spec.model_copy(update={"quantization": kept})
    if spec != earlier:
        raise InvalidRequest(
            f"This Idempotency-Key belongs to job {job.id}, which was submitted with another body. "
            "Send a new key for a new job, or the same body to get that job back.",
            job_id=job.id,
        )
    return job


def get(session: Session, job_id: str, *, lock: bool = False) -> Job:
    """A job by its id.

    Raises:
        NotFound: there is none.
    """
    job = queries.locked_job(session, job_id) if lock else session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id!r}. GET /v1/jobs lists them.")
    return job


def evaluation_of(session: Session, job_id: str, architecture_id: str) -> EvaluationRow:
    """A network that a job has evaluated.

    Raises:
        NotFound: the job has not evaluated it.
    """
    row = session.get(EvaluationRow, (job_id, architecture_id))
    if row is None:
        raise NotFound(
            f"Job {job_id} has not evaluated an architecture {architecture_id!r}. "
            f"GET /v1/jobs/{job_id}/front lists its best ones."
        )
    return row


def cancel(session: Session, job_id: str, who: Identity = ANYBODY) -> Job:
    """Cancel a job: at once if no worker holds it, otherwise its worker stops within seconds.

    Cancelling a cancelled job changes nothing.

    Raises:
        Conflict: the job has succeeded or failed.
    """
    job = get(session, job_id, lock=True)
    if job.deleted_at is None and job.state in (JobState.CANCELLED, JobState.CANCELLING):
        return job
    verbs.permit(job, Verb.CANCEL)
    verbs.tell(session, job, Verb.CANCEL, who)
    held = session.scalar(select(Job.lease_until > func.now()).where(Job.id == job_id))
    queries.set_state(session, job, JobState.CANCELLING if held else JobState.CANCELLED, "cancelled by request")
    return job


def pause(session: Session, job_id: str, who: Identity = ANYBODY) -> Job:
    """Checkpoint a job and free its device.

    Raises:
        Conflict: the job is finished, being stopped or being cancelled.
    """
    job = get(session, job_id, lock=True)
    if job.state in (JobState.PAUSED, JobState.PAUSING):
        return job
    verbs.permit(job, Verb.PAUSE)
    verbs.tell(session, job, Verb.PAUSE, who)
    held = session.scalar(select(Job.lease_until > func.now()).where(Job.id == job_id))
    queries.set_state(session, job, JobState.PAUSING if held else JobState.PAUSED, "paused by request")
    return job


def resume(session: Session, job_id: str, who: Identity = ANYBODY) -> Job:
    """Continue a paused job where it stopped.

    Raises:
        Conflict: the job is not paused.
    """
    job = get(session, job_id, lock=True)
    if job.state == JobState.QUEUED:
        return job
    verbs.permit(job, Verb.RESUME)
    verbs.tell(session, job, Verb.RESUME, who)
    queries.set_state(session, job, JobState.QUEUED, None)
    return job


def stop(session: Session, job_id: str, who: Identity = ANYBODY) -> Job:
    """End a job's search now and keep what it has found: the front so far is measured, and the job succeeds.

    Stopping a job that is being stopped changes nothing. A paused one needs a worker for that, as any other.

    Raises:
        Conflict: the job is finished, being paused or being cancelled, or has evaluated nothing yet.
    """
    job = get(session, job_id, lock=True)
    if job.state == JobState.STOPPING:
        return job
    verbs.permit(job, Verb.STOP)
    if not queries.evaluations(session, job_id, limit=1):
        verbs.refuse(
            job,
            f"Job {job.id} has not evaluated a network yet, so there is no front to keep. "
            "Pause it to go on later, or cancel it.",
        )
    verbs.tell(session, job, Verb.STOP, who)
    queries.set_state(
        session, job, JobState.STOPPING, "Stopped by request: the networks of the front so far are measured."
    )
    return job


def retry(session: Session, job_id: str, who: Identity = ANYBODY) -> Job:
    """Let a job that failed, or was cancelled, go on from what is stored of it.

    Raises:
        Conflict: it has neither failed nor been cancelled.
        QuotaExceeded: whoever asks has used what the key may use.
    """
    job = get(session, job_id, lock=True)
    verbs.permit(job, Verb.RETRY)
    check_quota(session, who, read_job(job.spec))
    verbs.tell(session, job, Verb.RETRY, who)
    queries.reopen(session, job)
    return job


@dataclass(frozen=True, slots=True)
class Edits:
    """What may be changed of a job at any time; None: as it is."""

    name: str | None = None
    labels: tuple[str, ...] | None = None
    notes: str | None = None
    priority: int | None = None


def edit(session: Session, job_id: str, edits: Edits, who: Identity = ANYBODY) -> Job:
    """Change a job's name, labels, notes or priority."""
    job = get(session, job_id, lock=True)
    given: dict[str, Any] = {name: value for name, value in asdict(edits).items() if value is not None}
    if "labels" in given:
        given["labels"] = list(given["labels"])
    changed = {name: value for name, value in given.items() if getattr(job, name) != value}
    for name, value in changed.items():
        setattr(job, name, value)
    if changed:
        verbs.tell(session, job, "edit", who, fields=sorted(changed))
    return job


def share(session: Session, job_id: str, who: Identity, shared: bool) -> Job:
    """Let the keys of one's group look at a job, or no longer.

    Raises:
        InvalidRequest: the key has no group.
    """
    job = get(session, job_id, lock=True)
    if shared and who.group is None:
        raise InvalidRequest("Your key has no group to share with. `winnow keys create --group NAME` makes one in it.")
    group = who.group if shared else None
    if job.shared_with != group:
        job.shared_with = group
        verbs.tell(session, job, "share" if shared else "unshare", who)
    return job


def request_export(
    session: Session,
    job_id: str,
    architecture_id: str,
    artifacts_dir: Path | None = None,
    depot: Depot | None = None,
    who: Identity = ANYBODY,
    formats: Sequence[str] = (),
    weights: WeightsAsked = "best",
) -> tuple[Export, bool]:
    """Ask for an architecture of a job as files. Returns the export and whether a worker must be woken.

    Asking again gives the same export. One that failed, or whose archive is gone or damaged, is made again.

    Args:
        artifacts_dir: where archives lie; None: they are not looked at.
        depot: where they are kept besides.
        formats: to write, each in a folder of its own; empty: what an export has that names none.
        weights: weights of a network that was healed: the better ones, or those that are named.

    Raises:
        NotFound: the job has not evaluated that architecture.
        InvalidRequest: a format that is not there, or that the network cannot have.
        Conflict: the job has no trained supernet yet, or has not healed the network and healed weights are asked for.
        QuotaExceeded: whoever asks has used what the key may use.
    """
    from sqlalchemy.dialects.postgresql import insert  # slow to import, not needed to start

    job = get(session, job_id)
    evaluation = evaluation_of(session, job_id, architecture_id)
    if queries.weights_of(session, job_id, architecture_id) is None:
        raise Conflict(
            f"Job {job_id} has no trained supernet yet; it has one once its training has ended.", state=job.state
        )
    chosen = ",".join(_formats(job, evaluation, formats))
    which = _weights(session, job, architecture_id, weights)
    if which == Weights.HEALED and WHOLE_FRONT in chosen.split(","):
        raise InvalidRequest(
            f"A file of the whole supernet ({WHOLE_FRONT}) has the weights that the front was measured with, and those "
            f"of {architecture_id} were healed. Ask for weights 'unhealed', or leave {WHOLE_FRONT} out."
        )
    check_bytes(session, who)
    session.execute(
        insert(Export)
        .values(
            id=new_id(),
            job_id=job_id,
            architecture_id=architecture_id,
            formats=chosen,
            weights=which,
            state=ExportState.QUEUED,
            epoch=0,
            attempts=0,
        )
        .on_conflict_do_nothing(index_elements=["job_id", "architecture_id", "formats", "weights"])
    )
    export = session.scalars(
        select(Export)
        .where(Export.job_id == job_id, Export.architecture_id == architecture_id, Export.formats == chosen)
        .where(Export.weights == which)
        .with_for_update()
    ).one()
    lost = (
        export.state == ExportState.SUCCEEDED
        and artifacts_dir is not None
        and export.archive is not None
        and wrong_with(artifacts_dir / export.archive, export.sha256) is not None
        and (depot is None or export.sha256 is None or not depot.has(export.sha256))
    )
    if lost:
        export.folder = export.archive = export.sha256 = export.size_bytes = export.finished_at = None
    if lost or export.state == ExportState.FAILED:
        export.state, export.message, export.attempts = ExportState.QUEUED, None, 0
        export.queued_at = session.scalar(select(func.now())) or export.queued_at
    return export, export.state == ExportState.QUEUED


def _weights(session: Session, job: Job, architecture_id: str, asked: WeightsAsked) -> Weights:
    """Which weights of a network are shipped: of those that are there the better ones, or the ones that are named.

    Raises:
        Conflict: healed ones are asked for, and there are none.
    """
    healed = records.healed_of(session, job.id).get(architecture_id)
    if asked == "healed" and (healed is None or healed.after is None):
        why = "has not healed it" if healed is None else f"could not heal it: {healed.refused}"
        raise Conflict(f"Network {architecture_id} has no healed weights: job {job.id} {why}.", state=job.state)
    if asked == "healed" or (asked == "best" and healed is not None and healed.better):
        return Weights.HEALED
    return Weights.UNHEALED


def _formats(job: Job, evaluation: EvaluationRow, names: Sequence[str]) -> tuple[str, ...]:
    """The formats that somebody names, checked against the network.

    Raises:
        InvalidRequest: one is not there, or the network cannot have it.
    """
    if not names:
        return ()
    from job.formats import subject_of, wanted  # families and their layers: not needed to start

    spec = read_job(job.spec)
    space = spec.space()
    try:
        layers = space.layers(space.architecture(**evaluation.values))
    except ValueError as error:
        raise Conflict(f"The space of this job has changed since this network was evaluated. {error}") from None
    try:
        return wanted(names, subject_of(spec, space.name, layers))
    except ValueError as error:
        raise InvalidRequest(str(error)) from None


def get_export(session: Session, export_id: str) -> Export:
    """An export by its id.

    Raises:
        NotFound: there is none.
    """
    export = session.get(Export, export_id)
    if export is None:
        raise NotFound(f"There is no export {export_id!r}. GET /v1/jobs/JOB/exports lists those of a job.")
    return export
