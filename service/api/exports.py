"""Exports: an architecture as files that other tools load."""

from __future__ import annotations

import base64
import logging

from fastapi import APIRouter, Request, status
from fastapi.responses import FileResponse

from service import archives, jobs
from service.api.deps import READ, WRITE, DatabaseDep, DepotDep, IdentityDep, QueueDep, SessionDep, SettingsDep
from service.api.schemas import ExportOut, ExportRequest
from service.choosing import choose_for_export
from service.errors import Conflict, NotFound, Unavailable
from service.queue import RUN_EXPORT
from service.store import queries

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", tags=["exports"])


@router.post("/jobs/{job_id}/exports", status_code=status.HTTP_202_ACCEPTED, dependencies=[WRITE])
def request_export(
    job_id: str,
    body: ExportRequest,
    database: DatabaseDep,
    queue: QueueDep,
    settings: SettingsDep,
    depot: DepotDep,
    who: IdentityDep,
) -> ExportOut:
    """Export a network.

    Asking again gives the same export; one that failed, or whose archive is gone or damaged, is made again.
    """
    with database.transaction() as session:
        chosen = None
        if body.architecture_id is None:
            rule = body.rule
            asked = (None, {}) if rule is None else (rule.pick, rule.under)
            chosen = choose_for_export(session, jobs.get(session, job_id), *asked, healed=body.weights != "unhealed")
        architecture_id = body.architecture_id if chosen is None else chosen.architecture_id
        assert architecture_id is not None
        export, waits = jobs.request_export(
            session,
            job_id,
            architecture_id,
            settings.artifacts_dir,
            depot,
            who,
            body.formats or (),
            body.weights,
        )
        answer = ExportOut.of(export, None if chosen is None else chosen.sentence)
    if waits:
        try:
            queue.wake(RUN_EXPORT, export.id)
        except Unavailable as error:
            log.warning("wake-up for export %s not sent, the reaper will send it: %s", export.id, error.detail)
    return answer


@router.get("/jobs/{job_id}/exports", response_description="Exports of the job, newest first", dependencies=[READ])
def list_exports(job_id: str, session: SessionDep) -> list[ExportOut]:
    """List exports of a job.

    They come newest first.
    """
    jobs.get(session, job_id)
    return [ExportOut.of(export) for export in queries.exports_of(session, job_id)]


@router.get("/exports/{export_id}", dependencies=[READ])
def read(export_id: str, session: SessionDep) -> ExportOut:
    """Read an export.

    The answer has its verification report.
    """
    return ExportOut.of(jobs.get_export(session, export_id))


@router.get(
    "/exports/{export_id}/download",
    response_class=FileResponse,
    response_description="The archive of the export",
    dependencies=[READ],
)
def download(
    export_id: str, database: DatabaseDep, settings: SettingsDep, depot: DepotDep, request: Request
) -> FileResponse:
    """Download an export.

    The archive (`.tar.gz`) comes whole, or a `Range` of it. `Repr-Digest` has its digest; with the whole archive,
    `Content-Digest` has it too (RFC 9530).
    """
    with database.transaction() as session:
        export = jobs.get_export(session, export_id)
    if export.archive is None:
        raise Conflict(
            f"There is nothing to download of export {export_id}; its state is {export.state}.", state=export.state
        )
    path = settings.artifacts_dir / export.archive
    brought = depot is not None and export.sha256 is not None and depot.bring(export.archive, export.sha256)
    if not brought and (wrong := archives.wrong_with(path, export.sha256)) is not None:
        raise NotFound(f"The archive of export {export_id} {wrong}; export the architecture again.")
    assert export.sha256 is not None
    digest = f"sha-256=:{base64.b64encode(bytes.fromhex(export.sha256)).decode()}:"
    headers = {"ETag": f'"{export.sha256}"', "Repr-Digest": digest}
    if "range" not in request.headers:
        headers["Content-Digest"] = digest
    return FileResponse(path, media_type="application/gzip", filename=path.name, headers=headers)
